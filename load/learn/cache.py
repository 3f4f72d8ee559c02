"""Results that need not be computed again: kept as long as the code that made them is the same."""

import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from load.learn.cell import Answer, Cell

_ROOT: Final = Path(__file__).parents[2]
# All that a repetition's numbers follow from, but numpy and scipy themselves.
_CODE: Final = ("bandits", "router/control", "router/config", "serving/cost.py", "load/simulate", "load/learn")
# Of the table's own modules only those that compute.
_TABLE: Final = ("cell.py", "judge.py", "cache.py", "work.py", "report.py", "__main__.py", "__init__.py")
# Results of code that is gone are kept this often, for going back and forth between two versions.
_KEPT: Final = 4


def code_hash() -> str:
    """Return what tells this code from any other."""
    digest = hashlib.sha256()
    for path in sorted(_files()):
        digest.update(f"{path.relative_to(_ROOT)}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _files() -> Iterable[Path]:
    for name in _CODE:
        place = _ROOT / name
        for path in [place] if place.is_file() else place.rglob("*.py"):
            is_table = path.parent.name == "learn" and (path.name in _TABLE or path.name.startswith("rows_"))
            if not is_table:
                yield path


class Cache:
    """A folder of lines, one a repetition. Mutable: the folder; what was read of it is kept in memory."""

    def __init__(self, folder: Path, code: str) -> None:
        self._folder = folder / code
        self._folder.mkdir(parents=True, exist_ok=True)
        self._known: dict[str, dict[int, Answer]] = {}
        others = sorted((path for path in folder.iterdir() if path != self._folder), key=lambda p: p.stat().st_mtime)
        for path in others[: -_KEPT or None]:
            shutil.rmtree(path, ignore_errors=True)

    def answers(self, cell: Cell) -> dict[int, Answer]:
        """Return what is known of a cell, by the repetition's number; the dictionary is the cache's own."""
        if cell.key not in self._known:
            self._known[cell.key] = dict(self._read(cell))
        return self._known[cell.key]

    def _read(self, cell: Cell) -> Iterable[tuple[int, Answer]]:
        path = self._folder / f"{cell.key}.jsonl"
        for line in path.read_text().splitlines() if path.exists() else []:
            try:
                entry = json.loads(line)
            except ValueError:
                # The last line of a run that was killed while it wrote: its repetition is made again.
                continue
            yield int(entry["number"]), entry["answer"]

    def add(self, cell: Cell, number: int, answer: Answer, seconds: float) -> None:
        """Keep the answer of a repetition, and what it took, at once."""
        self.answers(cell)[number] = answer
        with (self._folder / f"{cell.key}.jsonl").open("a") as file:
            file.write(json.dumps({"number": number, "seconds": round(seconds, 3), "answer": answer}) + "\n")

"""The largest batch that a backend takes, read out of its own words. Pure."""

import re
from typing import Final

from serving.upstream import Servable

# As many as an experiment may have arms.
_KEPT: Final = 64
# batching_session.cc: "Task size 65 is larger than maximum input batch size 64".
_REFUSAL: Final = re.compile(r"ask size \d+ is larger than maximum input batch size (\d{1,9})\b")


class Caps:
    """The largest batch that a backend takes of each servable, as it said itself. Mutable: the latest are kept."""

    def __init__(self) -> None:
        self._rows: dict[Servable, int] = {}

    def of(self, servable: Servable) -> int | None:
        """Return its largest batch; None while it has refused none."""
        return self._rows.get(servable)

    def learn(self, servable: Servable, message: str) -> bool:
        """Read a refusal; whether it was one, of a smaller batch than was known."""
        rows = cap_in(message)
        if rows is None or rows >= self._rows.get(servable, rows + 1):
            return False
        self._rows.pop(servable, None)
        self._rows[servable] = rows
        if len(self._rows) > _KEPT:
            del self._rows[next(iter(self._rows))]
        return True


def cap_in(message: str) -> int | None:
    """Read the backend's largest batch out of its refusal of a larger one; None when it says something else."""
    found = _REFUSAL.search(message)
    return int(found[1]) or None if found else None

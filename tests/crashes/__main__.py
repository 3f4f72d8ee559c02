"""`python -m tests.crashes`: 10,000 simulated crash points, of the spool and of SQLite; exit code 1 if a law is broken.

`--first SEED --points N` chooses others.
"""

import argparse
import itertools
import logging
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.crashes import spool_points, sqlite_points

# Half of them each.
_POINTS = 5_000
_PER_STORY = 1_000


def main() -> int:
    """Crash, and say what was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--points", type=int, default=_POINTS, help="crashes of each kind, at least")
    options = parser.parse_args()
    logging.disable()  # Each torn file would be a line.
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, crashes in (
            ("spool", _of_spool(options.first, options.points)),
            ("sqlite", _of_sqlite(Path(folder), options.first, options.points)),
        ):
            count = 0
            for what, wrong in crashes:
                count += 1
                if wrong:
                    failed += 1
                    sys.stdout.write(f"{name}: {what}: {wrong}\n")
            sys.stdout.write(f"{name}: {count} crash points\n")
    return 1 if failed else 0


def _of_spool(first: int, points: int) -> Iterator[tuple[str, str]]:
    count = 0
    for seed in itertools.count(first):
        for crash in spool_points.broken(seed):
            count += 1
            yield crash
        if count >= points:
            return


def _of_sqlite(folder: Path, first: int, points: int) -> Iterator[tuple[str, str]]:
    for number in range(-(-points // _PER_STORY)):
        yield from sqlite_points.broken(folder / str(number), first + number, _PER_STORY)


if __name__ == "__main__":
    sys.exit(main())

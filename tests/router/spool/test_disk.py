"""A spool's file is its process's from its first moment, and of what a dead one left only one gets hold."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from router.spool.disk import LocalDisk

ROUNDS = 300


@pytest.fixture
def looking(tmp_path: Path) -> Iterator[list[int]]:
    """Somebody who adopts whatever lies in the folder, all the time; yields what was adopted, by its size."""
    disk, adopted, is_over = LocalDisk(), list[int](), threading.Event()

    def look() -> None:
        while not is_over.is_set():
            for path in disk.files(tmp_path, ".spool"):
                descriptor = disk.adopt(path)
                if descriptor is not None:
                    adopted.append(disk.size(descriptor))
                    disk.close(descriptor)

    others = [threading.Thread(target=look) for _ in range(2)]
    for one in others:
        one.start()
    yield adopted
    is_over.set()
    for one in others:
        one.join()


def test_file_of_a_process_that_starts_is_never_taken_from_it(tmp_path: Path, looking: list[int]) -> None:
    disk = LocalDisk()
    for number in range(ROUNDS):
        path = tmp_path / f"{number}.spool"
        # It raised BlockingIOError where somebody had locked the file between its making and our lock.
        descriptor = disk.create(path)
        disk.remove(path)
        disk.close(descriptor)

    assert looking == []
    assert list(tmp_path.iterdir()) == []


class Vanishing(os.PathLike[str]):
    """A path whose file is removed by the one who had it just after it was opened."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __fspath__(self) -> str:
        return str(self._path)

    def stat(self) -> os.stat_result:
        """Look for it; nothing is there any more."""
        self._path.unlink()
        return self._path.stat()


def test_file_that_was_emptied_and_removed_meanwhile_is_not_adopted(tmp_path: Path) -> None:
    disk, path = LocalDisk(), tmp_path / "left.spool"
    disk.close(disk.create(path))
    before = len(os.listdir("/proc/self/fd"))

    adopted = disk.adopt(cast("Path", Vanishing(path)))

    assert adopted is None
    assert len(os.listdir("/proc/self/fd")) == before


def test_only_one_of_many_gets_what_was_left(tmp_path: Path) -> None:
    disk, path = LocalDisk(), tmp_path / "left.spool"
    disk.close(disk.create(path))

    found = [disk.adopt(path) for _ in range(3)]

    assert [one is not None for one in found] == [True, False, False]
    disk.close(found[0] or 0)


def test_file_is_its_owners_alone(tmp_path: Path) -> None:
    disk, path = LocalDisk(), tmp_path / "a.spool"
    disk.close(disk.create(path))

    assert path.stat().st_mode & 0o777 == 0o600

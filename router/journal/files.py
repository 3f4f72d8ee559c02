"""A folder of journal files that never grows beyond its bound: appending, beginning a new file, deleting the oldest.

Several processes share the folder, each with files of its own. A file is locked while it is written, so that another
process never deletes it; the lock goes with the process, however that ends.
"""

import fcntl
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

# The bound is kept by deleting whole files: with this many, the oldest 1 % goes at a time. But a file smaller than
# 64 KiB could be too small for the lines of a moment.
_FILES: Final = 128
_FILE_BYTES_MIN: Final = 2**16
# Processes that die young leave small files; so many are still listed in milliseconds.
_FILES_MAX: Final = 1024
# When it was begun (unix ms), which process, its how many: nothing else in the folder is ours to delete.
_FILE_NAME: Final = re.compile(r"[0-9]{14}-.+-[0-9]+\.jsonl")


class Files:
    """The files of one process in the folder. Mutable: the file being written, and how many there were.

    Every method may raise OSError; the next call then begins a new file. Nothing is forced to the disk: the last second
    before a power cut may be lost, and a line may end in the middle of it.
    """

    def __init__(self, folder: Path, name: str, max_bytes: int, unix_now: Callable[[], float]) -> None:
        self._folder = folder
        self._name = name
        self._max_bytes = max_bytes
        self._file_bytes = max(max_bytes // _FILES, _FILE_BYTES_MIN)
        self._unix_now = unix_now
        self._descriptor: int | None = None
        self._path = folder
        self._size_bytes = 0
        self._begun = 0

    def append(self, lines: bytes, head: bytes) -> None:
        """Write whole lines, after `head` if a file has to be begun for them. ValueError if no file could hold both."""
        if len(head) + len(lines) > self._file_bytes:
            raise ValueError(f"{len(head) + len(lines)} bytes of lines; a file holds {self._file_bytes}")
        if not self.has_room(len(lines)):
            self.close()
            self._begin()
            lines = head + lines
        assert self._descriptor is not None  # noqa: S101 begun above
        try:
            rest = memoryview(lines)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            self._give_up()
            raise
        self._size_bytes += len(lines)

    def has_room(self, size_bytes: int) -> bool:
        """Say whether so much can be written without a new file."""
        return (
            self._descriptor is not None
            and self._size_bytes + size_bytes <= self._file_bytes
            # Somebody may have cleared the folder: what were written then would never be seen.
            and os.fstat(self._descriptor).st_nlink > 0
        )

    def close(self) -> None:
        """End the file being written, if there is one; an empty one is removed."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        try:
            if not self._size_bytes:
                self._path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)

    def _give_up(self) -> None:
        """Cut off what was half written, as far as the disk lets us, and end the file."""
        assert self._descriptor is not None  # noqa: S101 something was being written
        try:
            os.ftruncate(self._descriptor, self._size_bytes)
        finally:
            self.close()

    def _begin(self) -> None:
        self._folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        with _locked(self._folder):
            self._make_room()
            self._begun += 1
            # By name the files are in the order in which they were begun.
            path = self._folder / f"{int(self._unix_now() * 1e3):014d}-{self._name}-{self._begun}.jsonl"
            # 0600, as the store: it holds what customers do.
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        self._descriptor, self._path, self._size_bytes = descriptor, path, 0

    def _make_room(self) -> None:
        """Delete the oldest files until a new one fits; OSError if those that others are writing leave no room."""
        found = [(path, path.stat().st_size, _is_being_written(path)) for path in journal_files(self._folder)]
        # What others are writing may still grow to a whole file.
        taken = sum(max(size, self._file_bytes) if is_written else size for _, size, is_written in found)
        count = len(found)
        for path, size, is_written in found:
            if taken + self._file_bytes <= self._max_bytes and count < _FILES_MAX:
                return
            if not is_written:
                path.unlink()
                taken -= size
                count -= 1
        if taken + self._file_bytes > self._max_bytes or count >= _FILES_MAX:
            raise OSError(f"{self._folder} has no room: {count} files of other processes take {taken} bytes")


def journal_files(folder: Path) -> list[Path]:
    """Return the journal's files, oldest first; OSError if there is no such folder."""
    return sorted(folder / entry.name for entry in os.scandir(folder) if _FILE_NAME.fullmatch(entry.name))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes from counting and deleting while we do."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _is_being_written(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)

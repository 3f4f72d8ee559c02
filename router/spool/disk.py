"""What a spool asks of its disk: files that only grow, are synced, and are cut back; each under a lock of its process.

It stands apart so that what a crash leaves of it can be tried: at every byte and with everything lost that was not synced.
"""

import contextlib
import fcntl
import os
from pathlib import Path
from typing import Final, Protocol

_OURS_ALONE: Final = 0o600


class Disk(Protocol):
    """Every method raises OSError where the disk does. Files are known by their descriptors."""

    def make_folder(self, folder: Path) -> None:
        """Make a folder, and those above it, unless they are there."""

    def create(self, path: Path) -> int:
        """Make a file that was not there, lock it, and see to it that it is still there after a crash."""

    def adopt(self, path: Path) -> int | None:
        """Open and lock a file; None if somebody alive has it, or it is gone."""

    def size(self, descriptor: int) -> int:
        """Return how long a file is."""

    def append(self, descriptor: int, content: bytes) -> None:
        """Write at the end of a file."""

    def sync(self, descriptor: int) -> None:
        """Return when all that was written is on the disk."""

    def cut(self, descriptor: int, size: int) -> None:
        """Drop all of a file behind `size`; a crash may bring it back until the next `sync`."""

    def read(self, descriptor: int, at: int, count: int) -> bytes:
        """Return so many bytes, or fewer at the end."""

    def files(self, folder: Path, suffix: str) -> list[Path]:
        """Return a folder's files with this suffix, sorted."""

    def remove(self, path: Path) -> None:
        """Remove a file if it is there."""

    def close(self, descriptor: int) -> None:
        """Let go of a file, and of its lock."""

    def note(self, path: Path, content: bytes) -> None:
        """Add to a file that nobody locks, and sync it."""


class LocalDisk:
    """The disk of this machine."""

    def make_folder(self, folder: Path) -> None:
        """Make a folder that is its owner's alone."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def create(self, path: Path) -> int:
        """Make a file, lock it, and sync its folder.

        It gets its name with the lock on it: under its name and unlocked, it would be a dead process's for whoever looks.
        """
        unnamed = path.with_name(f".{path.name}.new")
        descriptor = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, _OURS_ALONE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            unnamed.rename(path)
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except BaseException:
            unnamed.unlink(missing_ok=True)
            os.close(descriptor)
            raise
        return descriptor

    def adopt(self, path: Path) -> int | None:
        """Open and lock a file. The kernel frees the lock of a process that dies."""
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Whoever had it may have emptied and removed it since it was opened: then it is nobody's to read again.
                if os.path.samestat(os.fstat(descriptor), path.stat()):
                    return descriptor
            except OSError:
                pass
            os.close(descriptor)
        return None

    def size(self, descriptor: int) -> int:
        """Return how long a file is."""
        return os.fstat(descriptor).st_size

    def append(self, descriptor: int, content: bytes) -> None:
        """Write all of it; the system may take less at a time."""
        written = 0
        while written < len(content):
            written += os.write(descriptor, content[written:])

    def sync(self, descriptor: int) -> None:
        """Sync what was written; of the rest only the length matters."""
        os.fdatasync(descriptor)

    def cut(self, descriptor: int, size: int) -> None:
        """Drop all behind `size`."""
        os.ftruncate(descriptor, size)

    def read(self, descriptor: int, at: int, count: int) -> bytes:
        """Read from a place."""
        return os.pread(descriptor, count, at)

    def files(self, folder: Path, suffix: str) -> list[Path]:
        """List a folder."""
        return sorted(folder.glob(f"*{suffix}"))

    def remove(self, path: Path) -> None:
        """Remove a file if it is there."""
        path.unlink(missing_ok=True)

    def close(self, descriptor: int) -> None:
        """Close a file; its lock goes with it."""
        os.close(descriptor)

    def note(self, path: Path, content: bytes) -> None:
        """Append to a file and sync it."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, _OURS_ALONE)
        try:
            self.append(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

"""A disk in memory whose processes may be killed and whose machine may lose power: what a spool is tried on.

What was written is there for whoever reads; what was synced is there after a power cut. Of what came after the last sync a
file system keeps the beginning: so many whole operations, and of the next one some bytes, perhaps as zeros or as garbage
where only the new length was written down.
"""

import errno
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path


@dataclass(slots=True)
class _File:
    """Mutable: the bytes as they are read, as they were synced, what was done since; who locks it."""

    content: bytes = b""
    synced: bytes = b""
    since: tuple[bytes | int, ...] = ()  # written, or cut back to a length
    owner: object | None = None

    def do(self, operation: bytes | int) -> None:
        self.content = _after(self.content, operation)
        self.since += (operation,)

    def survivor(self, rng: random.Random) -> bytes:
        """Return what a power cut may leave."""
        kept = rng.randint(0, len(self.since))
        content = self.synced
        for operation in self.since[:kept]:
            content = _after(content, operation)
        torn = self.since[kept] if kept < len(self.since) else b""
        if isinstance(torn, bytes) and torn:
            whole = rng.randint(0, len(torn))
            rest = len(torn) - whole
            tail = rng.choice((b"", bytes(rest), rng.randbytes(rest)))
            content += torn[:whole] + tail
        return content


def _after(content: bytes, operation: bytes | int) -> bytes:
    return content[:operation] if isinstance(operation, int) else content + operation


@dataclass(slots=True)
class Machine:
    """The files of one machine, by path. Mutable: all of them, and those removed since power was there last."""

    files: dict[Path, _File] = field(default_factory=dict)
    removed: dict[Path, _File] = field(default_factory=dict)

    def copy(self) -> "Machine":
        """Another one in the same state."""
        return Machine(
            {path: replace(file) for path, file in self.files.items()},
            {path: replace(file) for path, file in self.removed.items()},
        )

    def make(self, path: Path, owner: object | None = None) -> None:
        """Make an empty file."""
        self.files[path] = _File(owner=owner)

    def free(self, owner: object) -> None:
        """End a process: its locks go, its files stay."""
        for file in self.files.values():
            if file.owner is owner:
                file.owner = None

    def cut_power(self, rng: random.Random) -> None:
        """End all processes, and lose some of what was not synced. A file that was removed may be back."""
        back = {path: file for path, file in self.removed.items() if rng.random() < 0.5 and path not in self.files}
        left = {path: file.survivor(rng) for path, file in {**self.files, **back}.items()}
        self.files = {path: _File(content, content) for path, content in left.items()}
        self.removed = {}


# Asked before each operation on the disk: what is done, to which file, and with what; may raise OSError.
Before = Callable[[str, Path, bytes], None]


class SimulatedDisk:
    """One process's way to its machine's disk. Mutable: its descriptors, and whether it is dead."""

    def __init__(self, machine: Machine, before: Before = lambda _what, _path, _content: None) -> None:
        self._machine = machine
        self._before = before
        self._open: dict[int, Path] = {}
        self._next = 3
        self.is_dead = False

    def die(self) -> None:
        """Be killed: nothing more is done, and all locks are free."""
        self.is_dead = True
        self._machine.free(self)

    def make_folder(self, folder: Path) -> None:
        """There is room for any folder."""
        self._begin("folder", folder)

    def create(self, path: Path) -> int:
        """Make a file and lock it."""
        self._begin("create", path)
        self._machine.make(path, self)
        return self._opened(path)

    def adopt(self, path: Path) -> int | None:
        """Lock a file that nobody has."""
        self._begin("adopt", path)
        file = self._machine.files.get(path)
        if file is None or file.owner is not None:
            return None
        file.owner = self
        return self._opened(path)

    def size(self, descriptor: int) -> int:
        """Return how long a file is."""
        return len(self._file(descriptor).content)

    def append(self, descriptor: int, content: bytes) -> None:
        """Write at the end."""
        self._begin("append", self._open[descriptor], content)
        self._file(descriptor).do(content)

    def sync(self, descriptor: int) -> None:
        """Make all that was written safe."""
        self._begin("sync", self._open[descriptor])
        file = self._file(descriptor)
        file.synced, file.since = file.content, ()

    def cut(self, descriptor: int, size: int) -> None:
        """Drop what is behind `size`."""
        self._begin("cut", self._open[descriptor], size.to_bytes(8))
        self._file(descriptor).do(size)

    def read(self, descriptor: int, at: int, count: int) -> bytes:
        """Return some bytes."""
        return self._file(descriptor).content[at : at + count]

    def files(self, folder: Path, suffix: str) -> list[Path]:
        """List a folder."""
        return sorted(path for path in self._machine.files if path.parent == folder and path.suffix == suffix)

    def remove(self, path: Path) -> None:
        """Remove a file."""
        self._begin("remove", path)
        file = self._machine.files.pop(path, None)
        if file is not None:
            file.owner = None
            self._machine.removed[path] = file

    def close(self, descriptor: int) -> None:
        """Let go of a file and its lock."""
        file = self._machine.files.get(self._open.pop(descriptor))
        if file is not None and file.owner is self:
            file.owner = None

    def note(self, path: Path, content: bytes) -> None:
        """Add to a file and sync it."""
        self._begin("note", path, content)
        file = self._machine.files.setdefault(path, _File())
        file.do(content)
        file.synced, file.since = file.content, ()

    def _begin(self, what: str, path: Path, content: bytes = b"") -> None:
        if self.is_dead:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._before(what, path, content)

    def _opened(self, path: Path) -> int:
        self._next += 1
        self._open[self._next] = path
        return self._next

    def _file(self, descriptor: int) -> _File:
        return self._machine.files[self._open[descriptor]]

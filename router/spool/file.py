"""The file of a spool: appended to and synced in groups, read from the start, emptied when all of it is in the store.

Each process writes one of its own, under a lock that the kernel frees when it dies. What dead ones left is adopted by
whoever is alive. All of it happens on the spool's thread.
"""

import contextlib
import json
import logging
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from router.spool.disk import Disk, LocalDisk
from router.spool.entries import Parcel, Spooled, read_frame
from router.store import StoreUnavailable, StoreUnopenable
from router.store.lane import Job

log = logging.getLogger(__name__)

_SUFFIX: Final = ".spool"
_OVERDUE: Final = "overdue.jsonl"


class SpoolFull(StoreUnavailable):
    """There is no room for more, or what is there has waited for too long."""


class _Held:
    """One file under our lock. Mutable: how far it is read, and how many of its bytes are whole frames that were promised,
    as far as we know."""

    __slots__ = ("_disk", "at", "descriptor", "path", "size")

    def __init__(self, disk: Disk, path: Path, descriptor: int) -> None:
        self._disk = disk
        self.path = path
        self.descriptor = descriptor
        self.size = disk.size(descriptor)
        self.at = 0

    def read(self, rewards_max: int) -> Parcel | None:
        """Return the next frames, until they have so many rewards; None if none is whole."""
        found: Parcel | None = None
        at = self.at
        while at < self.size and (found is None or len(found.entries) < rewards_max):
            frame = read_frame(lambda place, count: self._disk.read(self.descriptor, place, count), at)
            if frame is None:
                break
            at = frame.next_at
            found = frame if found is None else Parcel(found.taken_at, found.entries + frame.entries, at)
        return found


class SpoolFiles:
    """A lane's worker. Mutable: our own file, and those of dead processes that were adopted; whether more may be in ours than
    was promised."""

    def __init__(self, folder: Path, bytes_max: int, disk: Disk | None = None) -> None:
        self._folder = folder
        self._bytes_max = bytes_max
        self._disk = disk or LocalDisk()
        self._is_torn = False
        self._own: _Held | None = None
        self._adopted: list[_Held] = []
        self._pending: list[bytes] = []

    def open(self) -> None:
        """Make the folder and our file in it. Raises StoreUnopenable."""
        try:
            self._disk.make_folder(self._folder)
            path = self._folder / f"{secrets.token_hex(8)}{_SUFFIX}"
            self._own = _Held(self._disk, path, self._disk.create(path))
        except OSError as error:
            raise StoreUnopenable(
                f"can't spool rewards in {self._folder} ({error.strerror}): let this user write there, name another "
                "folder in `spool.folder`, or write `durability: strict` for no spool"
            ) from None

    def perform(self, group: Sequence[Job["SpoolFiles", object]]) -> None:
        """Do the calls; what they append is written and synced once for all of them."""
        self._pending.clear()
        for job in group:
            try:
                job.perform(self)
            except OSError as error:
                job.outcome = self._refusal(error)
        if not self._pending:
            return
        pending, self._pending = b"".join(self._pending), []
        own = self._require_own()
        try:
            self._mend(own)
            self._is_torn = True
            self._disk.append(own.descriptor, pending)
            self._disk.sync(own.descriptor)
            self._is_torn = False
        except OSError as error:
            # What half of it is there was promised to nobody.
            with contextlib.suppress(OSError):
                self._mend(own)
            for job in group:
                job.outcome = self._refusal(error)
            return
        own.size += len(pending)

    def _refusal(self, error: OSError) -> StoreUnavailable:
        return StoreUnavailable(f"can't spool rewards in {self._folder}: {error.strerror}")

    def _mend(self, own: _Held) -> None:
        """Cut off what was written and not promised: what came behind it would never be read."""
        if self._is_torn:
            self._disk.cut(own.descriptor, own.size)
            self._is_torn = False

    def append(self, frame: bytes) -> None:
        """Have a frame written with this group. Raises SpoolFull."""
        size = self._require_own().size + sum(map(len, self._pending)) + len(frame)
        if size > self._bytes_max:
            raise SpoolFull(f"the spool is full: {self._bytes_max} bytes of rewards wait for the store")
        self._pending.append(frame)

    def oldest(self, rewards_max: int) -> Parcel | None:
        """Return the frames that are next to go to the store; None when none waits."""
        for held in (*self._adopted, self._require_own()):
            if (parcel := held.read(rewards_max)) is not None:
                return parcel
            if held.size > held.at:
                # A process was killed while it wrote this; nobody was told that it is safe.
                log.warning("the end of a spool file was torn", extra={"file": str(held.path)})
            self._empty(held)
        return None

    def done(self, parcel: Parcel) -> None:
        """The oldest frame is in the store; a file of which all is there is emptied, or goes."""
        held = next(held for held in (*self._adopted, self._require_own()) if held.size > held.at)
        held.at = parcel.next_at
        if held.at >= held.size:
            self._empty(held)

    def set_aside(self, entries: Sequence[Spooled]) -> None:
        """Keep what can't be counted any more where a person finds it."""
        lines = [
            json.dumps(
                {
                    "epoch": entry.reward.cell.epoch,
                    "arm": entry.reward.cell.arm,
                    "block": entry.reward.cell.block,
                    "nonce": entry.reward.nonce.hex(),
                    "event": entry.reward.event,
                    "value": entry.reward.value,
                    "fields": dict(entry.reward.fields),
                }
            )
            for entry in entries
        ]
        self._disk.note(self._folder / _OVERDUE, "".join(f"{line}\n" for line in lines).encode())

    def adopt(self) -> int:
        """Take the files of processes that are dead; return how many bytes wait in all."""
        held_paths = {held.path for held in (*self._adopted, self._require_own())}
        for path in self._disk.files(self._folder, _SUFFIX):
            if path not in held_paths and (descriptor := self._disk.adopt(path)) is not None:
                self._adopted.append(_Held(self._disk, path, descriptor))
        return sum(held.size - held.at for held in (*self._adopted, self._require_own()))

    def close(self) -> None:
        """Leave what waits for the next process, and no empty file."""
        for held in [*self._adopted, *([self._own] if self._own else [])]:
            if held.at >= held.size:
                self._disk.remove(held.path)
            self._disk.close(held.descriptor)
        self._own, self._adopted = None, []

    def _empty(self, held: _Held) -> None:
        if held is self._own:
            self._disk.cut(held.descriptor, 0)
            held.at = held.size = 0
            return
        self._disk.remove(held.path)
        self._disk.close(held.descriptor)
        self._adopted.remove(held)

    def _require_own(self) -> _Held:
        assert self._own is not None  # noqa: S101 - the lane performs only after open
        return self._own

"""The `publish` folder of a backend: where uploads are unpacked, and appear whole under their version's number.

Everything here blocks, and is called in threads. Uploads are unpacked in a folder of their own below
`.turpin-uploads`, which no model server looks into, and renamed on the same filesystem when they are on disk.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from router.deploy.refusals import NoRoom, VersionTaken, VersionUnfit
from turpin import package as packages
from turpin.package import File, PackageRefused, Sealed
from turpin.packing import MODEL_FILE
from turpin.tar import ArchiveRefused, Begin, Limits, Reader

UPLOADS: Final = ".turpin-uploads"
_FOLDER_MODE: Final = 0o755
_FILE_MODE: Final = 0o644  # Model servers often run as another user.


class Staging:
    """One upload on its way. Mutable: the file being written, and what was written. Call `discard` at the end, always."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        """Make the folder; it is locked while this process lives, so that nobody sweeps it away."""
        folder.mkdir(mode=0o700)
        self.folder = folder
        self._lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._root = folder / "version"
        self._root.mkdir(mode=_FOLDER_MODE)
        self._reader = Reader(limits)
        self._file = -1
        self._path = ""
        self._left = 0
        self._size_bytes = 0
        self._hash = hashlib.sha256()
        self._files: list[File] = []

    def feed(self, chunk: bytes) -> None:
        """Write what the next bytes of the archive hold; VersionUnfit when they are not to be taken, NoRoom."""
        try:
            for event in self._reader.feed(chunk):
                if isinstance(event, Begin):
                    self._begin(event)
                else:
                    _write(self._file, event.content)
                    self._hash.update(event.content)
                    self._left -= len(event.content)
                if self._left == 0:
                    self._end()
        except ArchiveRefused as error:
            raise VersionUnfit(str(error)) from error
        except OSError as error:
            raise _named(error) from error

    def finish(self, digest: str | None) -> Sealed:
        """Check the whole against its package, and `digest` if the sender named one; all of it is on disk afterwards."""
        try:
            self._reader.end()
            beside = {file.path: file for file in self._files}
            if beside.pop(packages.NAME, None) is None:
                raise VersionUnfit(f"there is no {packages.NAME} in the archive: `turpin deploy` writes one")
            if MODEL_FILE not in beside:
                raise VersionUnfit(f"this is no SavedModel: there is no {MODEL_FILE} at the top of the archive")
            sealed = packages.verify((self._root / packages.NAME).read_bytes(), beside.values())
            for folder, _, _ in os.walk(self._root, topdown=False):
                _sync(Path(folder))
        except (ArchiveRefused, PackageRefused) as error:
            raise VersionUnfit(str(error)) from error
        except OSError as error:
            raise _named(error) from error
        if digest is not None and digest != sealed.digest:
            raise VersionUnfit(f"the archive's digest is {sealed.digest}, and was said to be {digest}")
        return sealed

    def move(self, target: Path) -> None:
        """Rename the version's folder to `target`, which must not exist."""
        os.rename(self._root, target)

    def discard(self) -> None:
        """Remove what is left, and let go."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        if self._lock >= 0:
            shutil.rmtree(self.folder, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1

    def _begin(self, begin: Begin) -> None:
        path = self._root / begin.path
        for folder in reversed(path.relative_to(self._root).parents):
            with contextlib.suppress(FileExistsError):
                (self._root / folder).mkdir(mode=_FOLDER_MODE)
        if begin.path == packages.NAME and begin.size_bytes > packages.PACKAGE_BYTES_MAX:
            raise VersionUnfit(f"{packages.NAME} has {begin.size_bytes} bytes; at most {packages.PACKAGE_BYTES_MAX}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = os.open(path, flags, _FILE_MODE)
        self._path, self._left, self._size_bytes = begin.path, begin.size_bytes, begin.size_bytes
        self._hash = hashlib.sha256()

    def _end(self) -> None:
        os.fchmod(self._file, _FILE_MODE)
        os.fsync(self._file)
        os.close(self._file)
        self._file = -1
        self._files.append(File(self._path, self._size_bytes, self._hash.hexdigest()))


class Place:
    """A backend's `publish` folder: versions lie in it as `model/number`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def begin(self, limits: Limits) -> Staging:
        """Make room for an upload, and sweep away those whose process died. NoRoom when the folder can't be written."""
        try:
            # Alone: between the making of a folder and its lock nobody may sweep.
            with self._alone() as uploads:
                _sweep(uploads)
                return Staging(uploads / secrets.token_hex(8), limits)
        except OSError as error:
            raise _named(error) from error

    def sweep(self) -> None:
        """Remove the uploads that nobody holds any more: the kernel let go of their locks with their process."""
        with contextlib.suppress(OSError), self._alone() as uploads:
            _sweep(uploads)

    def sealed(self, model: str, version: int) -> str | None:
        """Return the digest of a version that is there, "" when it has no package, None when there is none."""
        folder = self.root / model / str(version)
        if not os.path.lexists(folder):
            return None
        try:
            with (folder / packages.NAME).open("rb") as file:
                line = file.readline(100).decode("latin-1")
        except OSError:
            return ""
        return line.removeprefix("digest: ").strip() if line.startswith("digest: ") else ""

    def publish(self, staging: Staging, model: str, version: int) -> None:
        """Let the version appear, whole, under its number; VersionTaken when that exists already. On disk afterwards."""
        parent = self.root / model
        try:
            with contextlib.suppress(FileExistsError):
                parent.mkdir(mode=_FOLDER_MODE)
                _sync(self.root)
            with self._alone():
                if os.path.lexists(parent / str(version)):
                    raise VersionTaken(model, version)
                staging.move(parent / str(version))
                _sync(parent)
        except OSError as error:
            raise _named(error) from error

    def withdraw(self, model: str, version: int, digest: str) -> None:
        """Remove a version that we published, if it is still that one; nothing else is ever removed here."""
        if not digest or self.sealed(model, version) != digest:
            return
        with self._alone() as uploads:
            # Away in one step: no model server may see half of it.
            gone = uploads / secrets.token_hex(8)
            os.rename(self.root / model / str(version), gone)
        shutil.rmtree(gone, ignore_errors=True)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[Path]:
        """Hold the lock among all gateways that publish here: it is for short work. Return the folder of uploads."""
        uploads = self.root / UPLOADS
        uploads.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(uploads, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield uploads
        finally:
            os.close(descriptor)


def _sweep(uploads: Path) -> None:
    for folder in uploads.iterdir():
        if folder.is_dir() and not folder.is_symlink():
            _remove_if_left(folder)


def _remove_if_left(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)


def _write(descriptor: int, content: memoryview) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _named(error: OSError) -> NoRoom:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return NoRoom("the disk of the publish folder is full")
    return NoRoom(f"the publish folder can't be written: {error.strerror}")

"""A folder with a SavedModel, made into one archive: the same bytes wherever and whenever it is packed."""

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from turpin import package as packages
from turpin import tar
from turpin.package import File, Package, PackageRefused, Sealed
from turpin.paths import Names, PathRefused
from turpin.signatures import SignaturesUnreadable, signatures

MODEL_FILE: Final = "saved_model.pb"
_CHUNK: Final = 1 << 20


class ModelRefused(ValueError):
    """A folder that can't be deployed; the text says why."""


@dataclass(frozen=True, slots=True)
class Archive:
    """A version ready to be sent: its package, and how large its archive is."""

    folder: Path
    sealed: Sealed
    size_bytes: int

    def chunks(self) -> Iterator[bytes]:
        """Yield the archive's bytes; ModelRefused when a file changed since it was sealed."""
        yield from _entry(packages.NAME, [self.sealed.content], len(self.sealed.content))
        for file in self.sealed.files:
            yield from _entry(file.path, _content(self.folder / file.path, file), file.size_bytes)
        yield tar.END


def pack(folder: Path, package: Package | None = None) -> Archive:
    """Read a SavedModel's folder and seal it; ModelRefused or PackageRefused when it can't be deployed.

    A `turpin-package.yaml` in the folder that is sealed must fit the files; one that is not is taken as written by hand.
    `package` takes the place of either. Signatures that nobody gave are read from the model. Nothing is written.
    """
    files = tuple(_files(folder))
    if MODEL_FILE not in {file.path for file in files}:
        raise ModelRefused(f"{folder} is no SavedModel: there is no {MODEL_FILE} in it")
    try:
        sealed = _sealed(folder, package, files)
        size = sum(_packed(file.path, file.size_bytes) for file in sealed.files)
        return Archive(folder, sealed, size + _packed(packages.NAME, len(sealed.content)) + len(tar.END))
    except (PathRefused, SignaturesUnreadable) as error:
        raise ModelRefused(f"{folder}: {error}") from error


def seal(folder: Path, package: Package | None = None) -> Sealed:
    """Write the sealed package into a version's folder, as `pack` would send it, and return it."""
    sealed = pack(folder, package).sealed
    (folder / packages.NAME).write_bytes(sealed.content)
    return sealed


def verify(folder: Path) -> Sealed:
    """Check a version's folder against the package in it; PackageRefused or ModelRefused says what differs."""
    try:
        content = (folder / packages.NAME).read_bytes()
    except OSError as error:
        raise PackageRefused(f"{folder} has no {packages.NAME}: {error.strerror}") from error
    return packages.verify(content, _files(folder))


def _sealed(folder: Path, package: Package | None, files: tuple[File, ...]) -> Sealed:
    beside = folder / packages.NAME
    if package is None and beside.is_file():
        content = beside.read_bytes()
        if content.startswith(b"digest:"):
            return packages.verify(content, files)
        package = packages.written(content)
    package = package or Package()
    if not package.signatures:
        package = replace(package, signatures=signatures((folder / MODEL_FILE).read_bytes()))
    return packages.seal(package, files)


def _files(folder: Path) -> Iterator[File]:
    """Yield the files below a folder but the package, hashed; ModelRefused for what is neither file nor folder."""
    names = Names()
    if not folder.is_dir():
        raise ModelRefused(f"{folder} is no folder")
    for root, folders, files in os.walk(folder, onerror=_unreadable):
        folders.sort()
        for name in sorted([*files, *folders]):
            whole = Path(root, name)
            path = whole.relative_to(folder).as_posix()
            mode = whole.lstat().st_mode
            if stat.S_ISDIR(mode) or path == packages.NAME:
                continue
            if not stat.S_ISREG(mode):
                kind = "a symbolic link" if stat.S_ISLNK(mode) else "no plain file"
                raise ModelRefused(f"{whole} is {kind}: copy what is meant in its place")
            try:
                names.add(path, is_file=True)
            except PathRefused as error:
                raise ModelRefused(f"{folder}: {error}") from error
            with whole.open("rb") as opened:
                digest = hashlib.file_digest(opened, "sha256").hexdigest()
            yield File(path, whole.stat().st_size, digest)


def _unreadable(error: OSError) -> None:
    raise ModelRefused(f"can't read {error.filename}: {error.strerror}") from error


def _packed(path: str, size_bytes: int) -> int:
    return len(tar.header(path, size_bytes)) + size_bytes + len(tar.padding(size_bytes))


def _entry(path: str, content: Iterator[bytes] | list[bytes], size_bytes: int) -> Iterator[bytes]:
    yield tar.header(path, size_bytes)
    yield from content
    yield tar.padding(size_bytes)


def _content(path: Path, file: File) -> Iterator[bytes]:
    digest, left = hashlib.sha256(), file.size_bytes
    with path.open("rb") as opened:
        while left and (chunk := opened.read(min(_CHUNK, left))):
            digest.update(chunk)
            left -= len(chunk)
            yield chunk
    if left or digest.hexdigest() != file.sha256:
        raise ModelRefused(f"{path} changed while it was being sent: try again when nobody writes to it")

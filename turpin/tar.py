"""Tar archives of plain files, and nothing else: written alike everywhere, and read by a parser that trusts nobody.

Of the format (POSIX.1-1988 ustar) only files and folders are known. Links, devices, sparse files, headers of pax and
whatever else tar can hold are refused by name, so that what is unpacked is as large as what was sent.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from turpin.paths import Names, PathRefused

BLOCK: Final = 512
# Twelve octal digits, less the byte that ends them; larger files are written in base 256, as GNU tar does.
_OCTAL_MAX: Final = 8**11
# tar fills its last record of 10 KiB with zeros; some writers take larger records.
_TAIL_MAX: Final = 1 << 20
_REFUSED: Final = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a named pipe",
    b"7": "a contiguous file",
    b"S": "a sparse file",
    b"L": "a GNU header for a long name",
    b"K": "a GNU header for a long link",
    b"M": "a part of a file of another volume",
    b"x": "a pax header",
    b"g": "a pax header",
}
_COMPRESSED: Final = {
    b"\x1f\x8b": "gzip",
    b"PK": "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
_OCTAL: Final = re.compile(rb" *([0-7]{1,12})[ \0]*")


class ArchiveRefused(ValueError):
    """An archive that is not taken; the text says what is wrong, what was seen and what would be right."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much an archive may hold: bytes of all files together, and entries."""

    size_max_bytes: int
    entries_max: int


@dataclass(frozen=True, slots=True)
class Begin:
    """A file begins; exactly `size_bytes` of Data follow."""

    path: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Data:
    """The next bytes of the file that began last."""

    content: memoryview


def header(path: str, size_bytes: int) -> bytes:
    """Return the block before a file: owner 0, mode 0644, time 0, so that equal files give equal archives."""
    prefix, name = _split(path.encode())
    if size_bytes < _OCTAL_MAX:
        size = b"%011o\0" % size_bytes
    else:
        size = b"\x80" + size_bytes.to_bytes(11, "big")
    fields = [
        name.ljust(100, b"\0"),
        b"0000644\0",
        b"0000000\0" * 2,
        size,
        b"%011o\0" % 0,
        b" " * 8,
        b"0".ljust(101, b"\0"),
        b"ustar\x0000",
        bytes(80),
        prefix.ljust(155, b"\0"),
    ]
    block = b"".join(fields).ljust(BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def padding(size_bytes: int) -> bytes:
    """Return the zeros that fill the last block of a file."""
    return bytes(-size_bytes % BLOCK)


END: Final = bytes(2 * BLOCK)
"""What an archive ends with."""


class Reader:
    """Reads an archive as it arrives, in pieces of any size. Mutable: where in it we are, and what was seen."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._names = Names()
        self._buffer = bytearray()
        self._left = 0  # bytes of the file under way
        self._skip = 0  # zeros that fill its last block
        self._entries = self._bytes = self._zeros = self._tail = 0
        self._is_first = True

    def feed(self, chunk: bytes) -> Iterator[Begin | Data]:
        """Yield what `chunk` holds; ArchiveRefused as soon as something is wrong. The iterator must be used up."""
        view = memoryview(chunk)
        while view:
            if self._left:
                content, view = view[: self._left], view[self._left :]
                self._left -= len(content)
                yield Data(content)
            elif self._skip:
                taken = min(self._skip, len(view))
                self._skip, view = self._skip - taken, view[taken:]
            elif self._zeros == 2:
                self._pass_tail(view)
                return
            else:
                taken = BLOCK - len(self._buffer)
                self._buffer += view[:taken]
                view = view[taken:]
                if len(self._buffer) == BLOCK:
                    block = bytes(self._buffer)
                    self._buffer.clear()
                    begun = self._block(block)
                    if begun is not None:
                        yield begun

    def end(self) -> None:
        """Say that nothing more comes; ArchiveRefused when something should have."""
        if self._is_first and not self._buffer and not self._zeros:
            raise ArchiveRefused("the archive is empty")
        if self._left or self._skip or self._zeros < 2 or self._buffer:
            raise ArchiveRefused("the archive ends in the middle: it must end with two blocks of zeros")

    def _pass_tail(self, view: memoryview) -> None:
        self._tail += len(view)
        if self._tail > _TAIL_MAX or any(view):
            raise ArchiveRefused("something follows the archive's end")

    def _block(self, block: bytes) -> Begin | None:
        """Read a header; return the file that begins, None for a folder or the end."""
        if self._is_first:
            self._is_first = False
            for opening, kind in _COMPRESSED.items():
                if block.startswith(opening):
                    raise ArchiveRefused(f"the archive is compressed ({kind}): send a plain tar")
        if not any(block):
            self._zeros += 1
            return None
        if self._zeros:
            raise ArchiveRefused("a block of zeros stands inside the archive")
        _check_sum(block)
        self._entries += 1
        if self._entries > self._limits.entries_max:
            raise ArchiveRefused(f"the archive has more than {self._limits.entries_max} entries")
        return self._entry(_name(block), block[156:157], _number(block[124:136], "size"))

    def _entry(self, path: str, kind: bytes, size_bytes: int) -> Begin | None:
        if kind not in (b"0", b"\0", b"5"):
            what = _REFUSED.get(kind, f"of the unknown type {kind.decode('latin-1')!a}")
            raise ArchiveRefused(f"{path!a} is {what}: only plain files and folders are taken (tar --format=ustar)")
        is_file = kind != b"5"
        if not is_file:
            if size_bytes:
                raise ArchiveRefused(f"the folder {path!a} claims {size_bytes} bytes")
            path = path.rstrip("/") or "."
        path = path.removeprefix("./")
        if path == "." and not is_file:
            return None
        try:
            self._names.add(path, is_file=is_file)
        except PathRefused as error:
            raise ArchiveRefused(str(error)) from error
        if not is_file:
            return None
        self._bytes += size_bytes
        if self._bytes > self._limits.size_max_bytes:
            raise ArchiveRefused(
                f"the files are larger than {self._limits.size_max_bytes} bytes together: {path!a} has {size_bytes}"
            )
        self._left, self._skip = size_bytes, -size_bytes % BLOCK
        return Begin(path, size_bytes)


def _split(path: bytes) -> tuple[bytes, bytes]:
    """Return (prefix, name) as ustar keeps long paths; PathRefused when there is no `/` to part it at."""
    if len(path) <= 100:
        return b"", path
    cut = path.find(b"/", len(path) - 101)
    if cut < 1 or cut > 155 or cut == len(path) - 1:
        raise PathRefused(f"tar can't keep the path {path.decode()!a}: a name must have at most 100 bytes")
    return path[:cut], path[cut + 1 :]


def _check_sum(block: bytes) -> None:
    if block[257:263] not in (b"ustar\0", b"ustar "):
        raise ArchiveRefused("this is no tar archive: a header without `ustar` was met")
    wanted = _number(block[148:156], "checksum")
    if wanted != sum(block) - sum(block[148:156]) + 8 * ord(" "):
        raise ArchiveRefused("a header of the archive is damaged: its checksum is wrong")


def _name(block: bytes) -> str:
    name, prefix = _text(block[:100]), _text(block[345:500])
    if prefix and block[257:263] == b"ustar ":
        # GNU tar keeps times and parts of sparse files there.
        raise ArchiveRefused(f"{name!a} has a header of GNU tar: make the archive with tar --format=ustar")
    return f"{prefix}/{name}" if prefix else name


def _text(field: bytes) -> str:
    content, _, rest = field.partition(b"\0")
    if any(rest):
        raise ArchiveRefused("a name in the archive goes on behind its end")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise ArchiveRefused(f"a name in the archive is no UTF-8: {content!r}") from None


def _number(field: bytes, what: str) -> int:
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    found = _OCTAL.fullmatch(field)
    if found is None:
        raise ArchiveRefused(f"the {what} in a header of the archive is no number: {field!r}")
    return int(found[1], 8)

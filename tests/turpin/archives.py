"""Archives as anybody could send them, made by Python's own tarfile."""

import io
import tarfile
from collections.abc import Iterable

from turpin import tar

LIMITS = tar.Limits(size_max_bytes=1 << 20, entries_max=20)

Entry = tuple[tarfile.TarInfo, bytes]


def file(path: str, content: bytes = b"x", **changes: object) -> Entry:
    """An entry; `changes` are set on its header."""
    info = tarfile.TarInfo(path)
    info.size = len(content)
    for name, value in changes.items():
        setattr(info, name, value)
    return info, content


def link(path: str, target: str, kind: bytes) -> Entry:
    return file(path, b"", type=kind, linkname=target)


def archive(entries: Iterable[Entry], form: int = tarfile.USTAR_FORMAT) -> bytes:
    """The entries in one archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as opened:
        for info, content in entries:
            opened.addfile(info, io.BytesIO(content))
    return out.getvalue()

"""The names that files of a SavedModel may have, wherever they come from and wherever they go.

The same rules hold where a folder is packed and where an upload is unpacked, so what can be sent can be stored.
"""

import unicodedata
from typing import Final

# ustar keeps 100 + 155 bytes; the longest name in a SavedModel of TensorFlow's own making has 40.
PATH_BYTES_MAX: Final = 255
# SavedModels are two folders deep; assets may bring some of their own.
DEPTH_MAX: Final = 16


class PathRefused(ValueError):
    """A name that no file of a SavedModel may have; the text says why."""


def check_path(path: str) -> None:
    """Raise PathRefused unless `path` is relative, stays inside, and means the same on every system."""
    shown = ascii(path)
    if not path or len(path.encode("utf-8", "surrogateescape")) > PATH_BYTES_MAX:
        raise PathRefused(f"a path must have 1 to {PATH_BYTES_MAX} bytes, got {shown}")
    if path.startswith("/"):
        raise PathRefused(f"a path must be relative, got {shown}")
    if "\\" in path or not path.isprintable():
        raise PathRefused(f"a path must not hold backslashes or characters that can't be printed, got {shown}")
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise PathRefused(f"a path must have no empty parts, `.` or `..`, got {shown}")
    if len(parts) > DEPTH_MAX:
        raise PathRefused(f"a path must be at most {DEPTH_MAX} folders deep, got {shown}")


class Names:
    """The names seen so far in one tree. Mutable: they grow, and those that would meet on some system are refused."""

    def __init__(self) -> None:
        # By what a system that ignores case and composition would call it: the name as written, and whether it is a file.
        self._seen: dict[str, tuple[str, bool]] = {}

    def add(self, path: str, *, is_file: bool) -> None:
        """Take a name in; PathRefused when it is there already, in any spelling, or lies inside a file."""
        check_path(path)
        parts = path.split("/")
        for depth in range(1, len(parts)):
            self._folder("/".join(parts[:depth]), path)
        if not is_file:
            self._folder(path, path)
            return
        folded = _folded(path)
        if folded in self._seen:
            written, _ = self._seen[folded]
            how = "is there twice" if written == path else f"and {written!a} are the same name on some systems"
            raise PathRefused(f"{path!a} {how}")
        self._seen[folded] = (path, True)

    def _folder(self, path: str, of: str) -> None:
        written, is_file = self._seen.setdefault(_folded(path), (path, False))
        if is_file:
            raise PathRefused(f"{of!a} lies inside {written!a}, which is a file")
        if written != path:
            raise PathRefused(f"{path!a} and {written!a} are the same name on some systems")


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())

"""The token of a gateway on this machine: made at its first start, in a file that only its owner reads."""

import contextlib
import ipaddress
import os
import re
import stat
from pathlib import Path
from typing import Final

from turpin.errors import TurpinError
from turpin.transport import Call, Url, send

SUFFIX: Final = ".admin-token"
# The prefix lets scanners for secrets recognise it; 32 random bytes are beyond guessing.
TOKEN: Final = re.compile(r"turpin_[A-Za-z0-9_-]{43}")
_TIMEOUT_S: Final = 5.0


def find_token(url: Url, environ_token: str) -> str:
    """Return the token to use when none was given: the environment's, else that of a gateway on loopback, else none."""
    if environ_token or not _is_loopback(url.host):
        return environ_token
    with contextlib.suppress(TurpinError):
        version = send(url, Call("GET", "/admin/v1/version"), token="", timeout_s=_TIMEOUT_S).document
        if isinstance(version, dict):
            return read_token(Path(str(version.get("token_file", ""))))
    return ""


def read_token(path: Path) -> str:
    """Return the token in a file of a gateway's, empty when there is none that this user may read.

    A gateway told us of the file, so nothing but such a token is ever taken from it.
    """
    if not path.name.endswith(SUFFIX):
        return ""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)) as file:
            is_plain = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            found = TOKEN.fullmatch(file.read(100).strip()) if is_plain else None
    except (OSError, ValueError):
        return ""
    return found[0] if found else ""


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

"""The admin token of a gateway without configured ones: made at the first start, in a file that only its owner reads."""

import os
import secrets
import stat
import tempfile
from pathlib import Path

from router.keys import made_once
from turpin.token import SUFFIX, TOKEN


def made_token(store: str) -> tuple[str, Path]:
    """Return the token and its file: beside the SQLite file, where it stays; else one for this process, in the user's
    own folder for such things. OSError if it can't be made or read."""
    fresh = f"turpin_{secrets.token_urlsafe(32)}"
    if store.startswith("sqlite:"):
        path = Path("/" + store.partition(":")[2].lstrip("/") + SUFFIX)
    else:
        path = _own_folder() / f"{os.getpid()}{SUFFIX}"
        # A process with our number that is gone left it.
        path.unlink(missing_ok=True)
    try:
        made = made_once(path, fresh.encode() + b"\n").decode(errors="replace").strip()
    except OSError as error:
        raise OSError(f"can't make or read {path}, the token of the admin API: {error.strerror}") from error
    if not TOKEN.fullmatch(made):
        raise OSError(f"{path} must hold a token that begins with turpin_; restore it or remove it")
    return made, path


def _own_folder() -> Path:
    """Return a folder that is this user's alone; OSError when somebody else made it first."""
    parent = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    folder = Path(parent) / f"turpin-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise OSError(f"{folder} must be a folder that only this user can read: remove it")
    return folder

"""The keys that sign decisions: from the configuration, else made once beside the SQLite file, else random."""

import os
import secrets
from pathlib import Path
from typing import Final

from router.config import Config

_SECRET_BYTES: Final = 32
_MADE_ID: Final = "made"


def decision_keys(config: Config) -> tuple[tuple[str, bytes], ...]:
    """Return (id, secret) pairs, the signing one first.

    Without `decision_keys` a secret is made in a file of mode 0600 beside the SQLite file, so that tokens outlive a
    restart; with `memory:` it lives as long as the process. OSError if the file can't be made or read.
    """
    written = config.keys()
    if written:
        return written
    if not config.store.startswith("sqlite:"):
        return ((_MADE_ID, secrets.token_bytes(_SECRET_BYTES)),)
    path = Path("/" + config.store.partition(":")[2].lstrip("/") + ".key")
    try:
        secret = made_once(path, secrets.token_bytes(_SECRET_BYTES))
    except OSError as error:
        raise OSError(f"can't make or read {path}, the key that signs decisions: {error.strerror}") from error
    if len(secret) != _SECRET_BYTES:
        raise OSError(f"{path} must hold a key of {_SECRET_BYTES} bytes, it has {len(secret)}: restore it or remove it")
    return ((_MADE_ID, secret),)


def made_once(path: Path, fresh_content: bytes) -> bytes:
    """Return what the file holds, after making it (mode 0600) if nobody has yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(fresh_content)
            os.fsync(file.fileno())
        # A link appears whole or not at all, and never replaces the secret another process made first.
        os.link(fresh, path)
    except FileExistsError:
        pass
    finally:
        fresh.unlink(missing_ok=True)
    return path.read_bytes()

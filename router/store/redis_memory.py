"""What a gateway remembers of its Redis on its own disk: the generation and the beat that it knew last.

A process that starts knows nothing of the store that it is to find. With what earlier ones left it tells an empty or
older store from a new one, as a process that runs does (redis_lineage.py).
"""

import asyncio
import dataclasses
import hashlib
import json
import logging
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from router.store.redis_lineage import Beat, Known, Lineage

log = logging.getLogger(__name__)

# Half of what a failover may lose: of a store that is older by more it is always known.
_REMEMBER_S: Final = 5.0
# A disk that never answers must not keep a leader from leading.
_WRITE_S: Final = 1.0


class StoreMemory:
    """The file of one store's address. Mutable: the lineage that is remembered, what of it is on the disk, when to write
    again, and whether it was said that nothing can be written."""

    def __init__(self, folder: Path, shown: str, now: Callable[[], float] = time.monotonic) -> None:
        # By address: whoever writes another one into the configuration means another store.
        digest = hashlib.sha256(shown.encode()).hexdigest()[:16]
        self.path = folder / f"store-{digest}.json"
        self._lineage: Lineage | None = None
        self._kept: Known | None = None
        self._now = now
        self._keep_at = 0.0
        self._is_warned = False

    async def recall(self) -> Known | None:
        """Return the generation and the beat that were known last; None if there is nothing that can be read."""
        try:
            return await asyncio.to_thread(self._read)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning(
                "what was known of the store can't be read: an empty or older one would not be noticed now",
                extra={"file": str(self.path), "reason": str(error)},
            )
            return None

    async def follow(self, lineage: Lineage) -> None:
        """Remember this lineage from now on."""
        self._lineage = lineage
        await self.keep()

    async def keep_now_and_then(self) -> None:
        """Keep what is known if that was not done for a while; to be called more often."""
        if self._now() >= self._keep_at:
            await self.keep()

    async def keep(self) -> None:
        """Have on the disk what is known now; a store that is refused is not."""
        self._keep_at = self._now() + _REMEMBER_S
        lineage = self._lineage
        if lineage is None or (found := Known(lineage.generation, lineage.last)) == self._kept:
            return
        try:
            async with asyncio.timeout(_WRITE_S):
                await asyncio.to_thread(self._write, found)
        except OSError as error:
            if not self._is_warned:
                log.warning(
                    "can't remember which store is known: after a restart an empty or older one would not be noticed",
                    extra={"file": str(self.path), "reason": error.strerror or f"not done within {_WRITE_S} s"},
                )
            self._is_warned = True
            return
        self._kept, self._is_warned = found, False

    def _read(self) -> Known:
        found = json.loads(self.path.read_bytes())
        return Known(
            str(found["generation"]), Beat(int(found["beats"]), float(found["beat_at"]), int(found.get("losses", 0)))
        )

    def _write(self, found: Known) -> None:
        """Put a synced file in the old one's place: whoever reads finds the one or the other."""
        folder = self.path.parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Workers and other gateways may write at the same time.
        new = folder / f"{self.path.name}.{secrets.token_hex(4)}"
        known = {"generation": found.generation, **dataclasses.asdict(found.beat)}
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(json.dumps(known).encode())
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.path)
        except OSError:
            new.unlink(missing_ok=True)
            raise
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(held)
        finally:
            os.close(held)

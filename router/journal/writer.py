"""Takes decisions and rewards off the request's path and writes them: a bounded queue, and one thread that empties it.

A request pays for one append to the queue. Whatever is wrong with the disk, lines are dropped and counted, and nothing
else happens.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from router.config import Config
from router.decisions import Decision, Keyring
from router.journal.files import Files
from router.journal.scribe import Decided, Item, Rewarded, Scribe
from router.metrics import Metrics
from router.snapshot import Snapshot
from router.store import Reward

log = logging.getLogger(__name__)

# The thread looks this often. Waking it for each line would cost the request more than the line.
_LOOK_S: Final = 0.25
# Ten times what one worker can decide in between; a few megabytes.
_QUEUE_MAX: Final = 16_384
# The thread holds the interpreter for this many lines, a fifth of a millisecond, before a write lets requests go on.
_GROUP_LINES: Final = 32
# Lines of 64 arms with long names are twenty times as long; the smallest file takes four such groups.
_GROUP_BYTES: Final = 2**14
# A disk that hangs for longer at the end is left behind with the thread, which is a daemon.
_CLOSE_S: Final = 2.0


class Journal:
    """The journal of one process. Mutable: its queue, which the event loop fills and the thread empties."""

    def __init__(
        self,
        folder: Path,
        *,
        name: str,
        sample: float,
        max_bytes: int,
        keys: Keyring,
        metrics: Metrics,
        unix_now: Callable[[], float],
    ) -> None:
        """`name` tells this process's files from others'; `sample` is the share of decisions that is kept."""
        self._folder = folder
        self._scribe = Scribe(keys, sample)
        self._files = Files(folder, name, max_bytes, unix_now)
        self._overflowed = metrics.journal_dropped.labels("queue_full")
        self._not_written = metrics.journal_dropped.labels("not_written")
        self._queue: deque[Item] = deque()
        self._is_well = True
        self._closing = threading.Event()
        # A daemon: a disk that never answers must not keep the process from ending.
        self._thread = threading.Thread(target=self._live, name="journal", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    async def close(self) -> None:
        """Write what is queued and end the thread."""
        self._closing.set()
        await asyncio.to_thread(self._thread.join, _CLOSE_S)

    def decided(self, decision: Decision, snapshot: Snapshot, cost_pico_usd: int, unit: bytes) -> None:
        """Note a decision that was answered, and the unit if that was drawn; never waits, never raises."""
        self._put(Decided(decision, snapshot, cost_pico_usd, unit))

    def rewarded(self, reward: Reward, experiment: str, now: float, delay_s: float) -> None:
        """Note a reward that was recorded; never waits, never raises."""
        self._put(Rewarded(reward, experiment, now, delay_s))

    def _put(self, item: Item) -> None:
        if len(self._queue) < _QUEUE_MAX:
            self._queue.append(item)
        else:
            self._overflowed.inc()

    def _live(self) -> None:
        while not self._closing.wait(_LOOK_S):
            self.write()
        self.write()
        try:
            self._files.close()
        except OSError as error:
            log.warning("journal not closed", extra={"folder": str(self._folder), "reason": str(error)})

    def write(self) -> None:
        """Write what is queued; on the thread only. After a failure the rest is dropped: the next look tries again."""
        left, is_written = len(self._queue), True
        while left:
            taken, texts = self._take(left)
            left -= taken
            is_written = is_written and self._append(b"".join(texts))
            if not is_written:
                self._not_written.inc(len(texts))

    def _take(self, most: int) -> tuple[int, list[bytes]]:
        """Take a group off the queue; return how many that were, and the lines of those that are in the sample."""
        taken, size = 0, 0
        texts = []
        while taken < min(most, _GROUP_LINES) and size < _GROUP_BYTES:
            taken += 1
            try:
                text = self._scribe.text(self._queue.popleft())
            except Exception:  # Bulkhead: one line's unforeseen fault must not end the journal.
                log.exception("journal line dropped", extra={"folder": str(self._folder)})
                self._not_written.inc()
                continue
            if text:
                texts.append(text)
                size += len(text)
        return taken, texts

    def _append(self, text: bytes) -> bool:
        """Write lines, and say whether they were written; the first failure and the first success after it are logged."""
        if not text:
            return True
        facts = {"folder": str(self._folder)}
        news = self._scribe.take_news()
        try:
            # A file that is begun for them has the news in its head.
            is_begun = not self._files.has_room(len(news) + len(text))
            self._files.append(text if is_begun else news + text, self._scribe.head)
        except (OSError, ValueError) as error:
            if self._is_well:
                log.warning("journal not written: its lines are dropped", extra={**facts, "reason": str(error)})
            self._is_well = False
            return False
        if not self._is_well:
            log.info("journal written again", extra=facts)
        self._is_well = True
        return True


def journal_of(
    config: Config, *, name: str, keys: Keyring, metrics: Metrics, unix_now: Callable[[], float]
) -> Journal | None:
    """Return the journal of a process as configured, not yet started; None if none is to be kept."""
    settings, folder = config.journal, journal_folder(config)
    if folder is None or not settings.sample:
        return None
    return Journal(
        folder,
        name=name,
        sample=settings.sample,
        max_bytes=settings.max_bytes,
        keys=keys,
        metrics=metrics,
        unix_now=unix_now,
    )


def journal_folder(config: Config) -> Path | None:
    """Return where the journal goes: as configured, else beside the SQLite file; None where nothing says where."""
    if config.journal.folder is not None:
        return Path(config.journal.folder)
    if not config.store.startswith("sqlite:"):
        return None
    return Path("/" + config.store.partition(":")[2].lstrip("/") + ".journal")

"""A worker's traffic with the store: counts and a heartbeat go there every 250 ms, newer snapshots come back.

While the store is away both wait; nothing that answers requests waits with them.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import structlog

from router import heartbeat, snapshot
from router.heartbeat import Heartbeat
from router.labels import Labels
from router.ledger import Ledger
from router.routes import Live, Routes
from router.store import Store, StoreError
from router.trials import Trials

log = structlog.get_logger(__name__)

# Design §2: a lag up to 1 s costs no regret that could be measured (bandit-science.md §7).
SYNC_S: Final = 0.25
# A dead leader's lease runs out within 3 s, and its successor publishes in its first turn; three times as much hangs.
_PUBLISHED_S: Final = 10.0
_PUBLISHED_LOOK_S: Final = 0.02


class StoreSync:
    """Mutable: whether the store is away, the number of heartbeats, how long the last exchange took. What it brings and takes is its callers' routes, labels, ledger and trials."""

    def __init__(
        self,
        store: Store,
        name: str,
        *,
        routes: Routes,
        labels: Labels,
        ledger: Ledger,
        trials: Trials,
        beat: Callable[[list[Live]], Heartbeat],
        unix_now: Callable[[], float],
    ) -> None:
        """`name`: new at every start of a process; `beat` says what the leader is to know now."""
        self._store = store
        self._name = name
        self._routes = routes
        self._labels = labels
        self._ledger = ledger
        self._trials = trials
        self._beat = beat
        self._unix_now = unix_now
        self._is_away = False
        self._beats = 0
        self._took_s = 0.0

    async def await_experiments(self, names: Sequence[str], stop: asyncio.Event) -> None:
        """Wait until these are published: undecided, their requests would go to whatever version is the latest.

        A leader of another configuration never does; then it is better to serve than to wait.
        """
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + _PUBLISHED_S
        while True:
            await self.read()
            known = {live.snapshot.name for live in self._routes.by_model.values()}
            missing = [name for name in names if name not in known]
            if not missing or stop.is_set():
                return
            if loop.time() > give_up_at:
                log.warning("experiments not published: their requests pass through undecided", experiments=missing)
                return
            await asyncio.sleep(_PUBLISHED_LOOK_S)

    async def exchange(self) -> bool:
        """Flush and read once; False when the store is away."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        is_done = await self._flush(is_last=False) and await self.read()
        # One that was given up says nothing of how long the others take.
        if is_done:
            self._took_s = loop.time() - began
        return is_done

    async def finish(self) -> None:
        """Bring the last counts to the store, and no heartbeat, if nothing waits in the spool: nobody is to wait for this
        process any more."""
        # Twice: the first may be the parcel whose answer was still awaited when `exchange` was cancelled.
        if await self._flush(is_last=True):
            await self._flush(is_last=True)

    async def read(self) -> bool:
        """Take up the newest snapshots and labels; False when the store is away."""
        try:
            published = await self._store.snapshots()
            self._labels.update(await self._store.backends())
        except StoreError as error:
            self._note(away=str(error))
            return False
        self._note(away="")
        for name, (_, raw) in published.items():
            try:
                self._routes.update(snapshot.decode(raw))
            except msgspec.ValidationError as error:
                log.error("snapshot not readable: is this gateway older than the leader?", name=name, reason=str(error))
        self._routes.keep(published)
        return True

    async def _flush(self, *, is_last: bool) -> bool:
        lives = list(self._routes.by_model.values())
        told = self._beat(lives)
        # Rewards that it leaves behind in its spool are to be missed until another worker of its machine has found them.
        beat = b"" if is_last and not told.is_spooling else heartbeat.encode(self._numbered(told))
        try:
            await self._count_trials()
            parcel = self._ledger.parcel()
            await self._store.flush(self._name, parcel.sequence, parcel.deltas, beat, self._unix_now())
        except StoreError as error:
            # Also where it refuses us, or can add no more: whatever a store does, predictions go on.
            self._note(away=str(error))
            return False
        self._ledger.confirm(parcel)
        return True

    def _numbered(self, beat: Heartbeat) -> Heartbeat:
        self._beats += 1
        return msgspec.structs.replace(beat, number=self._beats, exchange_s=round(self._took_s, 3))

    async def _count_trials(self) -> None:
        """Tell the store of units that are new here; those it knew are counted with what is not learned from."""
        while trials := self._trials.waiting():
            results = await self._store.add_rewards(trials)
            for cell in self._trials.settle(trials, results):
                self._ledger.add(cell, unlearned_decisions=1)

    def _note(self, *, away: str) -> None:
        """Log when the store goes away, and when it is back; not each time it is asked in vain."""
        if bool(away) == self._is_away:
            return
        self._is_away = bool(away)
        if away:
            log.warning("store unavailable: predictions go on with the last snapshot, counts wait", reason=away)
        else:
            log.info("store back")

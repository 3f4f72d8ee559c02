"""Keeps the bills of all model servers, beside the leader: sees what is loaded, hears the workers, counts the money."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
import structlog

from router import heartbeat, snapshot
from router.control.bill_book import BillBook
from router.control.bills import Bills, Loaded, Place
from router.control.feeds import Feeds
from router.metrics import OTHER, Metrics
from router.store import Store, StoreError
from serving import fleet
from serving.fleet import Sight
from serving.upstream import Upstream

log = structlog.get_logger(__name__)

_LOOK_S: Final = 1.0
# A leader that is killed takes so much with it. One row a backend is written each time.
_KEEP_S: Final = 10.0
# A gateway silent for longer is gone.
_SILENT_S: Final = 10.0
_PICO: Final = 1e-12


class Accounts:
    """The bills since the store has known any, as `/admin/v1/costs` shows them. Mutable: they grow each second."""

    def __init__(
        self,
        *,
        store: Store,
        upstreams: Mapping[str, tuple[Upstream, ...]],
        sights: Callable[[str], Sequence[Sight | None]],
        feeds: Feeds,
        metrics: Metrics,
        unix_now: Callable[[], float],
        fence: Callable[[], int | None],
    ) -> None:
        """`sights` returns what each replica of a backend said last, None for one without an answer. Of all gateways on a
        store only the one that leads, whose lease has this `fence`, counts idle time in its metrics and keeps the bills.
        """
        self._store, self._upstreams, self._feeds, self._metrics = store, upstreams, feeds, metrics
        self._sights = sights
        self._unix_now, self._fence = unix_now, fence
        self._loaded: dict[Place, frozenset[Loaded]] = {}
        self._arms: dict[tuple[str, Loaded], tuple[str, str]] = {}
        self._told_pico: dict[tuple[str, Loaded], int] = {}
        self._is_read, self._kept_at = False, 0.0
        self.bills = Bills()
        self._book = BillBook(store, self.bills, fence, unix_now())

    async def run(self) -> None:
        """Look and count for ever; while the store is away the workers' counts wait."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                if not self._is_read:
                    await self._resume()
                await self._read_arms()
                self._look()
                raw = await self._store.heartbeats(self._unix_now(), _SILENT_S)
                beats = {gateway: heartbeat.decode(one) for gateway, one in raw.items() if one}
                replicas = {gateway: beat.replicas for gateway, beat in beats.items()}
                self.bills.observe(loop.time(), replicas, self._loaded, self._feeds.prices_usd_per_hour())
                self.bills.observe_egress({gateway: beat.egress for gateway, beat in beats.items()})
                self._tell_idle()
                if loop.time() - self._kept_at >= _KEEP_S:
                    self._kept_at = loop.time()
                    await self._keep()
            except StoreError:
                # The leader says it.
                pass
            except Exception:  # Bulkhead: no bill is worth a gateway.
                log.exception("accounts failed")
            await asyncio.sleep(_LOOK_S)

    async def _resume(self) -> None:
        """Go on from the bills that are kept; what they have in idle money was told by another process."""
        await self._book.read()
        self._all_told()
        self._is_read = True

    async def _keep(self) -> None:
        """Keep the bills. What is folded, or taken over from another leader, is no news for the metrics."""
        self.bills.fold(self._loaded)
        try:
            await self._book.write(sorted(self.bills.time_ns))
        finally:
            self._all_told()

    def _all_told(self) -> None:
        self._told_pico = {key: bill.idle_pico_usd for key, bill in self.bills.of.items()}

    def view(self) -> dict[str, Any]:
        """Return all bills as plain JSON values: dollars and seconds since `since` (unix s)."""
        bills = self.bills
        return {
            "since": self._book.since,
            "backends": [
                {
                    "backend": backend,
                    "replica_s": bills.time_ns[backend] * 1e-9,
                    "usd": bills.time_pico_usd[backend] * _PICO,
                }
                for backend in sorted(bills.time_ns)
            ],
            "versions": [dict(self._row(backend, loaded)) for backend, loaded in sorted(bills.of)],
        }

    def _row(self, backend: str, loaded: Loaded) -> Iterator[tuple[str, Any]]:
        bill, (experiment, arm) = self.bills.of[backend, loaded], self._arms.get((backend, loaded), ("", ""))
        model, version = loaded
        yield from (("backend", backend), ("model", model), ("version", int(version) if version.isdigit() else None))
        yield from (("experiment", experiment or None), ("arm", arm or None))
        yield from (("busy_s", bill.busy_ns * 1e-9), ("idle_s", bill.idle_ns * 1e-9))
        yield from (("busy_usd", bill.busy_pico_usd * _PICO), ("idle_usd", bill.idle_pico_usd * _PICO))
        yield "egress_usd", bill.egress_pico_usd * _PICO

    async def _read_arms(self) -> None:
        """Know which versions are arms."""
        # Put in place when all of them are read: meanwhile the bills are looked at.
        arms: dict[tuple[str, Loaded], tuple[str, str]] = {}
        for name, (_, raw) in (await self._store.snapshots()).items():
            try:
                published = snapshot.decode(raw)
            except msgspec.MsgspecError:
                continue
            for arm in published.arms:
                arms[arm.backend, (arm.model, str(arm.version))] = (name, arm.name)
        self._arms = arms

    def _look(self) -> None:
        """See what each replica has loaded; of one that gives no answer, what was known stays."""
        loaded: dict[Place, frozenset[Loaded]] = {}
        for backend, upstreams in self._upstreams.items():
            for upstream, sight in zip(upstreams, self._sights(backend), strict=True):
                place = (backend, upstream.address)
                loaded[place] = self._loaded.get(place, frozenset()) if sight is None else _loaded(sight)
        self._loaded = loaded

    def _tell_idle(self) -> None:
        """Count idle money in the metrics; what is no arm of an experiment is folded together."""
        for key, bill in self.bills.of.items():
            more = bill.idle_pico_usd - self._told_pico.get(key, 0)
            self._told_pico[key] = bill.idle_pico_usd
            if more > 0 and self._fence() is not None:
                experiment, arm = self._arms.get(key, ("", OTHER))
                self._metrics.cost_usd.labels(experiment, arm, "idle").inc(more * _PICO)


def _loaded(sight: Sight) -> frozenset[Loaded]:
    return frozenset(
        (model, str(version)) for model, statuses in sight.statuses.items() for version in fleet.available(statuses)
    )

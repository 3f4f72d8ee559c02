"""Keeps the bills of all model servers, beside the leader: looks what is loaded, hears the workers, counts the money."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec
import structlog

from router import heartbeat, snapshot
from router.config.settings import Backend
from router.control.bills import Bills, Loaded, Place
from router.control.feeds import Feeds
from router.metrics import OTHER, Metrics
from router.store import Store, StoreError
from serving import fleet
from serving.upstream import Upstream

log = structlog.get_logger(__name__)

_LOOK_S: Final = 1.0
# What is loaded changes by the minute at most, and each look is a call per model and replica.
_LOADED_S: Final = 5.0
_CALL_S: Final = 2.0
# A gateway silent for longer is gone.
_SILENT_S: Final = 10.0
_PICO: Final = 1e-12


class Accounts:
    """The bills since this process began, as `/admin/v1/costs` shows them. Mutable: they grow each second."""

    def __init__(
        self,
        *,
        store: Store,
        backends: Mapping[str, Backend],
        upstreams: Mapping[str, tuple[Upstream, ...]],
        feeds: Feeds,
        metrics: Metrics,
        unix_now: Callable[[], float],
        is_leading: Callable[[], bool],
    ) -> None:
        """Of all gateways on a store only the one that leads counts idle time in its metrics."""
        self._store, self._upstreams, self._feeds, self._metrics = store, upstreams, feeds, metrics
        self._unix_now, self._is_leading = unix_now, is_leading
        self._models = {name: set(backend.models) for name, backend in backends.items()}
        self._loaded: dict[Place, frozenset[Loaded]] = {}
        self._arms: dict[tuple[str, Loaded], tuple[str, str]] = {}
        self._told_pico: dict[tuple[str, Loaded], int] = {}
        self._began_at = unix_now()
        self.bills = Bills()

    async def run(self) -> None:
        """Look and count for ever; while the store is away the workers' counts wait."""
        loop = asyncio.get_running_loop()
        looked_at, looked_for = -_LOADED_S, 0
        while True:
            try:
                await self._read_arms()
                models = sum(len(known) for known in self._models.values())
                # At once when an experiment has brought new models: else their idle time would be nobody's till then.
                if loop.time() - looked_at >= _LOADED_S or models != looked_for:
                    looked_at, looked_for = loop.time(), models
                    await self._look()
                raw = await self._store.heartbeats(self._unix_now(), _SILENT_S)
                beats = {gateway: heartbeat.decode(one).replicas for gateway, one in raw.items() if one}
                self.bills.observe(loop.time(), beats, self._loaded, self._feeds.prices_usd_per_hour())
                self._tell_idle()
            except StoreError:
                # The leader says it.
                pass
            except Exception:  # Bulkhead: no bill is worth a gateway.
                log.exception("accounts failed")
            await asyncio.sleep(_LOOK_S)

    def view(self) -> dict[str, Any]:
        """Return all bills as plain JSON values: dollars and seconds since `since` (unix s)."""
        bills = self.bills
        return {
            "since": self._began_at,
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

    async def _read_arms(self) -> None:
        """Know which versions are arms, and of which models to ask."""
        self._arms = {}
        for name, (_, raw) in (await self._store.snapshots()).items():
            try:
                published = snapshot.decode(raw)
            except msgspec.MsgspecError:
                continue
            for arm in published.arms:
                self._arms[arm.backend, (arm.model, str(arm.version))] = (name, arm.name)
                if arm.backend in self._models:
                    self._models[arm.backend].add(arm.model)

    async def _look(self) -> None:
        """See what each replica has loaded; of one that gives no answer, what was known stays."""
        loaded: dict[Place, frozenset[Loaded]] = {}
        for backend, upstreams in list(self._upstreams.items()):
            found: dict[Place, set[Loaded]] = {}
            for model in sorted(self._models[backend]):
                surveyed = await fleet.survey(upstreams, model, _CALL_S)
                for upstream, statuses in zip(upstreams, surveyed, strict=True):
                    place = (backend, upstream.address)
                    versions = found.setdefault(place, set())
                    if statuses is not None:
                        versions |= {(model, str(version)) for version in fleet.available(statuses)}
                    else:
                        versions |= {one for one in self._loaded.get(place, ()) if one[0] == model}
            for upstream in upstreams:
                place = (backend, upstream.address)
                loaded[place] = frozenset(found.get(place, ()))
        self._loaded = loaded

    def _tell_idle(self) -> None:
        """Count idle money in the metrics; what is no arm of an experiment is folded together."""
        for key, bill in self.bills.of.items():
            more = bill.idle_pico_usd - self._told_pico.get(key, 0)
            self._told_pico[key] = bill.idle_pico_usd
            if more and self._is_leading():
                experiment, arm = self._arms.get(key, ("", OTHER))
                self._metrics.cost_usd.labels(experiment, arm, "idle").inc(more * _PICO)

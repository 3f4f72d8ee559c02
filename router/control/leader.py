"""The leader: of all gateways on one store, the one that learns, steps the lives of experiments and controls model servers.

Once a second, for each experiment: read sums and heartbeats, compute (beside the loop), save the dossier, publish the
snapshot, begin what the life asks for. Every write carries the fencing epoch of the lease.
"""

import asyncio
import math
import secrets
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import structlog

from bandits.life import Event
from router import snapshot
from router.config import Config
from router.control import dossier as dossiers
from router.control.dossier import ArmCost, Dossier
from router.control.feeds import Feeds
from router.control.freed import alone_on
from router.control.hearing import Hearing, beats_of, decoded
from router.control.learner import Refreshed, refresh
from router.control.lifecycle import Lifecycle
from router.control.model_servers import ModelServers
from router.control.noticed import noticed
from router.control.rota import Rota
from router.control.seen import Seen
from router.control.shadows import ShadowBook
from router.control.shelf import Shelf, told
from router.heartbeat import Heartbeat
from router.store import CALL_TIMEOUT_S, Fenced, RevisionConflict, Store, StoreError, StoreUnavailable
from serving.upstream import Servable, Upstream

log = structlog.get_logger(__name__)

# A leader that dies is followed after this long; a pause of the process (5 GC runs, a busy machine) must not cost it.
LEASE_S: Final = 3.0
# A gateway silent for longer is taken for dead, and its requests in flight with it: 40 missed flushes.
GATEWAY_SILENT_S: Final = 10.0
# After an outage of the store a gateway is heard again within this: one call that still runs out of time, and a flush.
GATEWAY_HEARD_S: Final = CALL_TIMEOUT_S + 1.0
# People change an experiment now and then; one that changes again and again within a second is a runaway script.
_REFRESH_TRIES: Final = 4


class Leader:
    """The learner's loop. Mutable: the fence it holds, the shelf of its dossiers, since when all gateways are heard and the store is back."""

    def __init__(
        self,
        config: Config,
        *,
        store: Store,
        upstreams: Mapping[str, tuple[Upstream, ...]],
        unix_now: Callable[[], float],
        feeds: Feeds | None = None,
    ) -> None:
        """`feeds` are followed by whoever made them; without any, prices are those of the configuration."""
        self._config = config
        self._feeds = feeds or Feeds(config.backends, now=asyncio.get_running_loop().time)
        self._store = store
        self._upstreams = upstreams
        self._unix_now = unix_now
        self._owner = f"leader-{secrets.token_hex(8)}"
        self._fence: int | None = None
        self._shelf = Shelf(config, store)
        self._uses: Mapping[Servable, list[str]] = {}
        self._replicas = {backend: len(its) for backend, its in upstreams.items()}
        self._rota = Rota(min((one.policy.refresh for one in config.experiments), default=1.0))
        # Backends that some live worker does not reach.
        self._away: frozenset[str] = frozenset()
        self._hearing = Hearing()
        self._unheard: list[str] = []
        # In loop time: from then on the heartbeats are complete.
        self._heard_at = 0.0
        self._back_since = -math.inf  # when the store was last found away: spools are emptied soon after
        self._lifecycle: Lifecycle | None = None
        self.shadows = ShadowBook(unix_now())
        self.servers = ModelServers(
            backends=config.backends,
            upstreams=upstreams,
            store=store,
            arms=[Servable(arm.backend, arm.model, arm.version) for one in config.experiments for arm in one.arms],
        )

    @property
    def fence(self) -> int | None:
        """The fencing epoch of the lease this process held at its last turn; None when it held none."""
        return self._fence

    async def run(self) -> None:
        """Lead whenever the lease can be had, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._lifecycle = Lifecycle(
                servers=self.servers,
                upstreams=self._upstreams,
                tasks=tasks,
                unix_now=self._unix_now,
                users=self._shelf.users,
                is_away=lambda backend: backend in self._away,
            )
            tasks.create_task(self.servers.run(self.confirmed), name="model servers")
            try:
                await self._lead()
            finally:
                await self._give_up()

    async def _lead(self) -> None:
        loop = asyncio.get_running_loop()
        next_at = loop.time()
        is_store_away = False
        while True:
            try:
                await self._turn()
                if is_store_away:
                    log.info("store back: learning goes on")
                is_store_away = False
            except (Fenced, RevisionConflict) as error:
                self._step_down(str(error))
            except StoreUnavailable as error:
                if not is_store_away:
                    log.warning("store unavailable: learning and retiring wait", reason=str(error))
                is_store_away = True
                self._back_since = loop.time()
                self._heard_at = loop.time() + GATEWAY_HEARD_S
            except StoreError:
                log.exception("the store refused what the leader wrote")
            except Exception:  # Bulkhead: one turn nobody foresaw must not end the control process.
                log.exception("a turn of the leader failed")
            # A turn that took long is not made up for.
            next_at = max(next_at + self._rota.period_s, loop.time())
            await asyncio.sleep(next_at - loop.time())

    async def _turn(self) -> None:
        assert self._lifecycle is not None  # noqa: S101 set before the first turn
        fence = await self._store.lease(self._owner, self._unix_now(), LEASE_S)
        if fence is None:
            self._step_down("the lease is another's")
            await self.servers.desired.read()
        elif fence != self._fence:
            await self._take_over(fence)
        await self._shelf.take_up()
        # Whoever leads: each gateway shows its operators all that is in use.
        self.servers.watch(self._shelf.arms(lambda life: True))
        if fence is None:
            return
        heard = decoded(await self._store.heartbeats(self._unix_now(), GATEWAY_SILENT_S))
        self.shadows.hear(
            {gateway: beat.shadows for gateway, beat in heard.items()},
            [one.document.epoch for one in self._shelf.dossiers.values()],
        )
        self._unheard = self._hearing.unheard(heard, asyncio.get_running_loop().time())
        beats = list(heard.values())
        self._away = frozenset(name for beat in beats for name in beat.away)
        self._uses = self._shelf.uses()
        loop = asyncio.get_running_loop()
        began = loop.time()
        for name in self._rota.order({name: one.revision for name, one in self._shelf.dossiers.items()}):
            if self._rota.may_wait(name, began, loop.time()) and not self._lifecycle.has_events(name):
                continue
            try:
                await self._refresh(name, beats, fence)
            except StoreError:
                raise
            except Exception:  # Bulkhead: one experiment's fault must not stop the others.
                log.exception("refresh failed", experiment=name)

    def _step_down(self, reason: str) -> None:
        """Leave to another what is under way, and say so once."""
        if self._fence is None:
            return
        log.warning("another gateway leads now", reason=reason)
        if self._lifecycle is not None:
            self._lifecycle.drop()
        self._fence = None

    async def confirmed(self) -> int | None:
        """Ask the store whether we still lead; return our fence. Without the lease a server must not be touched."""
        if self._fence is None:
            return None
        fence = await self._store.lease(self._owner, self._unix_now(), LEASE_S)
        return fence if fence == self._fence else None

    async def _take_over(self, fence: int) -> None:
        """Begin to lead: read what the store knows, and seed the experiments it does not know."""
        self._heard_at = asyncio.get_running_loop().time() + GATEWAY_HEARD_S
        await self._shelf.fill(fence, self._unix_now())
        for dossier in self._shelf.dossiers.values():
            self._feeds.remember({name: held.usd_per_hour for name, held in dossier.document.prices.items()})
        await self.servers.desired.take_over(
            fence,
            needed=self._shelf.arms(lambda life: life.state not in ("pending", "retired") and not life.is_unloading),
            retired=self._shelf.arms(lambda life: life.state == "retired"),
        )
        self._fence = fence
        log.info("leading", fence=fence, experiments=sorted(self._shelf.dossiers))

    async def _refresh(self, name: str, beats: list[Heartbeat], fence: int) -> None:
        """Let one experiment go on; what a person changes meanwhile is taken up, and the refresh made again on it."""
        assert self._lifecycle is not None  # noqa: S101 set before the first turn
        events: list[Event] = [
            *self._lifecycle.take_events(name),
            *noticed(self._shelf.dossiers[name], self.servers, self._unix_now()),
        ]
        calibrated = self._lifecycle.costs.pop(name, {})
        epoch = self._shelf.dossiers[name].document.epoch
        for is_last in (False,) * (_REFRESH_TRIES - 1) + (True,):
            try:
                await self._go_on(self._shelf.dossiers[name], beats, events, calibrated, fence)
            except RevisionConflict:
                if is_last:
                    raise
                await self._shelf.take_up()
                if name not in self._shelf.dossiers or self._shelf.dossiers[name].document.epoch != epoch:
                    return
            else:
                return

    async def _go_on(
        self,
        dossier: Dossier,
        beats: list[Heartbeat],
        events: list[Event],
        calibrated: Mapping[str, ArmCost],
        fence: int,
    ) -> None:
        assert self._lifecycle is not None  # noqa: S101 set before the first turn
        name, epoch = dossier.name, dossier.document.epoch
        caches = self._shelf.caches(epoch)
        changed = await self._store.sums_since(epoch, caches.tally.stamp)
        seen = Seen(
            cells=changed.cells,
            beats=beats_of(beats, epoch, len(dossier.spec.arms)),
            prices_usd_per_hour=self._feeds.prices_usd_per_hour(),
            price_warnings=self._feeds.warnings(),
            calibrated=calibrated,
            capacities_rps={key: one.capacity_rps for key, one in self._config.backends.items() if one.capacity_rps},
            events=events,
            is_complete=asyncio.get_running_loop().time() >= self._heard_at,
            is_spooling=self._is_spooling(beats),
            alone_on=alone_on(dossier, self._uses, self.servers.desired.of, self._replicas),
            shadowing=self.shadows.of(name, epoch, self._unix_now()),
        )
        # Past what workers hold, too: of a store that was set back they would take nothing up that is numbered below.
        version = max([self._shelf.versions.get(name, 0), *(beat.version for beat in seen.beats)]) + 1
        done = await asyncio.to_thread(
            refresh,
            dossier,
            seen,
            version=version,
            now=self._unix_now(),
            **caches._asdict(),
            fresh_epoch=secrets.randbits(64),
        )
        # Not before they are in the tally: what it missed would never be read again.
        caches.tally.stamp = changed.stamp
        saved = await self._save(dossier, done, fence)
        # The number is used up now: without an answer it may be out, and another snapshot under it would be passed over.
        self._shelf.versions[name] = version
        await self._store.publish(name, version, snapshot.encode(done.snapshot), fence)
        self._shelf.dossiers[name] = saved
        if saved.document.epoch != epoch:
            self._shelf.forget(epoch)
        self._lifecycle.pursue(saved, done.commands)
        is_quiet = not (changed.cells or events or done.notes or done.commands)
        self._rota.refreshed(name, saved.revision, asyncio.get_running_loop().time(), is_quiet=is_quiet)

    def _is_spooling(self, beats: list[Heartbeat]) -> bool:
        """Whether rewards wait in a spool, as far as can be known: what an unheard gateway has acknowledged nobody knows."""
        is_back = asyncio.get_running_loop().time() < self._back_since + GATEWAY_HEARD_S
        return is_back or bool(self._unheard) or any(beat.is_spooling for beat in beats)

    async def _save(self, before: Dossier, done: Refreshed, fence: int) -> Dossier:
        document = done.dossier.document
        revision = done.dossier.revision
        # Not at every refresh: an assessment is made anew a second later, and a long experiment's blocks fill pages.
        if document.essence() != before.document.essence() or done.notes:
            entries = told(before.name, done.notes)
            revision = await self._store.save_experiment(
                before.name, dossiers.encode(document), revision, fence, entries
            )
        return msgspec.structs.replace(done.dossier, revision=revision)

    async def _give_up(self) -> None:
        try:
            await self._store.release(self._owner)
        except StoreError as error:
            log.warning("the lease was not given back; it runs out by itself", reason=str(error))

"""The model servers as the control process sees them: looked at every second, told what to serve when they don't.

A managed backend's whole config is sent to a replica whenever that replica does not serve what is wanted: after a change,
a restart, somebody else's reload, or when it joins. An observed backend is only looked at.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

import structlog

from router.config.settings import Backend
from router.control.desired import DesiredConfigs, base_path
from router.control.replica import Replica, view_of
from router.store import Store, StoreError
from serving import fleet, wire
from serving.errors import DeadlineExceeded, FailedPrecondition, ServingError
from serving.fleet import Sight
from serving.reconcile import Pace, drift, encoded, next_config, without_failed
from serving.upstream import Servable, Upstream

log = structlog.get_logger(__name__)

# Design §11. TF Serving itself looks at its files every second.
_LOOK_S: Final = 1.0
# While something is awaited.
_LOOK_CLOSELY_S: Final = 0.25
_LOOK_HURRIED_S: Final = 0.05
# One answer of a status or metadata call on a healthy server takes milliseconds.
_CALL_S: Final = 5.0
# A reload waits for models that are new to the server, without a limit of its own; 30-60 s are apt (tf-serving.md §5).
_RELOAD_S: Final = 30.0


class ModelServers:
    """Looks after all backends. Mutable: what is known of each replica, and what is watched closely."""

    def __init__(
        self,
        *,
        backends: Mapping[str, Backend],
        upstreams: Mapping[str, tuple[Upstream, ...]],
        store: Store,
        arms: Iterable[Servable] = (),
    ) -> None:
        """`arms` are looked at from the start; others when they are asked for."""
        self.desired = DesiredConfigs(backends, store)
        self._backends = backends
        self._upstreams = upstreams
        self._replicas: dict[str, dict[str, Replica]] = {name: {} for name in backends}
        self._arms = set(arms)
        self._looks = dict.fromkeys(backends, 0)
        self._is_looking = dict.fromkeys(backends, False)
        self._closely = dict.fromkeys(backends, 0)
        self._looked = {name: asyncio.Condition() for name in backends}
        self._hurry = {name: asyncio.Event() for name in backends}
        self._confirm: Callable[[], Awaitable[int | None]] = _nobody

    async def run(self, confirm: Callable[[], Awaitable[int | None]]) -> None:
        """Look after the backends until cancelled. `confirm` asks the store whether we lead, and returns our fence."""
        self._confirm = confirm
        async with asyncio.TaskGroup() as tasks:
            for name in self._backends:
                tasks.create_task(self._attend(name, tasks), name=f"attend {name}")

    def is_managed(self, backend: str) -> bool:
        """Say whether Turpin owns what this backend serves."""
        return self._backends[backend].control == "managed"

    def watch(self, arms: Iterable[Servable]) -> None:
        """Look at these arms too, their signatures included."""
        self._arms |= set(arms)

    def sights(self, backend: str) -> list[Sight | None]:
        """Return what each replica said last, None for one without an answer."""
        known = self._replicas[backend]
        return [known[one.address].sight if one.address in known else None for one in self._upstreams[backend]]

    def statuses(self, backend: str, model: str) -> list[fleet.Statuses | None]:
        """Return what each replica said of one model."""
        return [None if sight is None else sight.of(model) for sight in self.sights(backend)]

    def signatures(self, backend: str, model: str, version: int) -> set[bytes]:
        """Return the different signatures that replicas have of a version, serialised; empty while none is known."""
        seen = [one.signatures.get((model, version)) for one in self.sights(backend) if one is not None]
        return {one for one in seen if one is not None}

    def troubles(self, backend: str) -> str:
        """Say what replicas answered to a reload, or that they answer nothing; empty when there is nothing to say."""
        return " | ".join(
            f"{address}: {one.silence or one.problem}"
            for address, one in self._replicas[backend].items()
            if one.silence or one.problem
        )

    @contextlib.asynccontextmanager
    async def closely(self, backend: str) -> AsyncIterator[Callable[[], Awaitable[None]]]:
        """Look more often, and yield what waits for the next look that has not begun yet."""
        self._closely[backend] += 1
        self._hurry[backend].set()
        try:
            yield lambda: self._next_look(backend)
        finally:
            self._closely[backend] -= 1

    async def load(self, target: Servable) -> None:
        """Want a version on every replica of a managed backend; of an observed one nothing is asked."""
        self.watch([target])
        if not self.is_managed(target.backend) or target.version is None:
            return
        version, path = target.version, base_path(self._backends[target.backend], target.model)
        ready = await self._available(target)
        await self.desired.change(
            target.backend,
            await self._confirm(),
            lambda now: now.loading(target.model, version, available=ready, base_path=path),
        )
        for replica in self._replicas[target.backend].values():
            # What failed before is tried at once, since it is asked for anew.
            replica.pace = replace(replica.pace, sent_at=float("-inf"))
        self._hurry[target.backend].set()

    async def retire(self, target: Servable, label_to: int | None) -> None:
        """Want a version of a managed backend no more, and its labels moved to another."""
        assert target.version is not None  # noqa: S101 an arm always names its version
        version, ready = target.version, await self._available(target)
        await self.desired.change(
            target.backend,
            await self._confirm(),
            lambda now: now.retiring(target.model, version, available=ready, label_to=label_to),
        )
        self._hurry[target.backend].set()

    async def _available(self, target: Servable) -> frozenset[int]:
        """Return the versions of the model that any replica has loaded, if what is wanted depends on it;
        FailedPrecondition unless all replicas have answered."""
        desired = self.desired.of(target.backend)
        if desired is None or desired.versions(target.model) is not None:
            return frozenset()
        await self._next_look(target.backend)
        statuses = self.statuses(target.backend, target.model)
        if not statuses or None in statuses:
            raise FailedPrecondition(f"not every replica of {target.backend} answers: nothing is changed there")
        return frozenset().union(*(fleet.available(one) for one in statuses if one is not None))

    async def _next_look(self, backend: str) -> None:
        """Wait until a look that begins from now on has ended."""
        wanted = self._looks[backend] + (2 if self._is_looking[backend] else 1)
        self._hurry[backend].set()
        async with self._looked[backend]:
            await self._looked[backend].wait_for(lambda: self._looks[backend] >= wanted)

    async def _attend(self, name: str, tasks: asyncio.TaskGroup) -> None:
        while True:
            self._hurry[name].clear()
            self._is_looking[name] = True
            try:
                await self._look(name)
                await self._tend(name, tasks)
            except StoreError as error:
                log.warning("model servers left as they are: the store is away", backend=name, reason=str(error))
            except Exception:  # Bulkhead: one backend's fault must not end the control process.
                log.exception("looking after a backend failed", backend=name)
            self._looks[name] += 1
            self._is_looking[name] = False
            async with self._looked[name]:
                self._looked[name].notify_all()
            pause_s = _LOOK_CLOSELY_S if self._closely[name] else _LOOK_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._hurry[name].wait()
            if self._hurry[name].is_set():
                # However hurried, no server is asked without a pause.
                await asyncio.sleep(_LOOK_HURRIED_S)

    async def _look(self, name: str) -> None:
        """Ask all replicas at once."""
        desired, upstreams = self.desired.of(name), self._upstreams[name]
        known = self._replicas[name]
        self._replicas[name] = known = {one.address: known.get(one.address, Replica()) for one in upstreams}
        arms = {(one.model, one.version) for one in self._arms if one.backend == name and one.version is not None}
        models = {model for model, _ in arms} | set(self._backends[name].models)
        labels = {}
        if desired is not None:
            models, labels = models | set(desired.models()), desired.labels()
        async with asyncio.TaskGroup() as tasks:
            asked = {
                one.address: tasks.create_task(
                    fleet.look(one, models, _CALL_S, labels=labels, versions=arms), name=f"look at {one.address}"
                )
                for one in upstreams
            }
        for address, task in asked.items():
            seen = task.result()
            if isinstance(seen, Sight):
                known[address].sight, known[address].silence = seen, ""
            else:
                known[address].sight, known[address].silence = None, seen.message

    async def _tend(self, name: str, tasks: asyncio.TaskGroup) -> None:
        """Send the whole config to each replica that does not serve what is wanted, if we lead."""
        desired = self.desired.of(name)
        if desired is None:
            return
        wanted = desired.config()
        for upstream in self._upstreams[name]:
            replica = self._replicas[name].get(upstream.address)
            if replica is None or replica.sight is None or replica.is_reloading:
                continue
            before, replica.drift = replica.drift, drift(wanted, replica.sight)
            if not replica.drift:
                replica.pace, replica.problem = Pace(), ""
                continue
            config = next_config(wanted, replica.sight)
            body, now = encoded(config), asyncio.get_running_loop().time()
            # Asked right before each reload: of two leaders only one may send.
            if not replica.pace.is_due(body, now) or await self._confirm() is None:
                continue
            if replica.drift != before:
                log.info("replica differs", backend=name, replica=upstream.address, how=list(replica.drift))
            if body == replica.pace.sent and replica.pace.tries % 2:
                config = without_failed(config, replica.sight)
            replica.pace, replica.is_reloading = replica.pace.after(body, now), True
            tasks.create_task(self._reload(name, upstream, replica, config), name=f"reload {upstream.address}")

    async def _reload(self, name: str, upstream: Upstream, replica: Replica, config: wire.Message) -> None:
        try:
            await fleet.reload(upstream, config, _RELOAD_S)
            replica.problem = ""
        except DeadlineExceeded:
            # Unknown, not failed: the server waits for new models without a limit. Its status will tell.
            replica.problem = f"a reload did not answer within {_RELOAD_S:g} s, and is sent again"
        except (ServingError, ValueError) as error:
            replica.problem = f"a reload was refused: {error}"
        except Exception:  # Bulkhead: what nobody foresaw must not end the control process.
            log.exception("reload failed", backend=name, replica=upstream.address)
            replica.problem = "a reload failed; the log says more"
        finally:
            replica.is_reloading = False
        if replica.problem:
            log.warning("reload failed", backend=name, replica=upstream.address, reason=replica.problem)
        self._hurry[name].set()

    def view(self) -> list[dict[str, Any]]:
        """Return what is known of all backends, for operators."""
        return [
            view_of(name, settings.control, self.desired.of(name), self.desired.revision(name), self._replicas[name])
            for name, settings in self._backends.items()
        ]


async def _nobody() -> int | None:
    """Before anybody leads."""
    return None

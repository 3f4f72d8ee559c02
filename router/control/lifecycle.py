"""Carries out what the life of an experiment asks for on the model servers: warm arms, unload arms.

Commands are level-triggered: what is asked for and not yet under way is begun, what is no longer asked for is dropped; each
ends in an event for the state machine. A crash at any point only means that it is asked for again.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any, Final

import structlog

from bandits.life import ArmFailed, ArmWarmed, Command, Event, Try, Unload, Unloaded, UnloadRefused, Warm
from router.control.dossier import ArmCost, Dossier
from router.control.guards import call_max_s
from router.control.loading import loaded, said_of
from router.control.model_servers import ModelServers
from router.control.trial import try_arm
from router.store import StoreError
from serving import fleet, wire
from serving.calibrate import calibrate
from serving.cost import Line
from serving.errors import FailedPrecondition, ServingError
from serving.mixing import mixing
from serving.upstream import Servable, Upstream

log = structlog.get_logger(__name__)

_UNLOAD_S: Final = 60.0
# One call of a trial on a healthy server takes milliseconds.
_CALL_S: Final = 5.0
# Between two tries of something that failed.
_RETRY_S: Final = 5.0
# Calibration of a handful of arms takes seconds; a backend that hangs must not hold an experiment for ever.
_CALIBRATE_S: Final = 60.0
# A worker that began before its model server asks for it again every 0.5 s, and connects within 1 s; its heartbeat and our
# turn take another second. One that still does not reach it then is no reason to keep all others waiting.
_REACHED_S: Final = 5.0
_REACHED_LOOK_S: Final = 0.05
# Up to where a GPU's line bends little; the latency limit stops slower arms earlier.
_CALIBRATION_SIZES: Final = (1, 2, 4, 8, 16, 32, 64)

# The names of other experiments that need a servable.
Users = Callable[[str, Servable], Sequence[str]]


class Lifecycle:
    """The shell around `bandits.experiment`. Mutable: what is under way, the events that came of it, measured costs."""

    def __init__(
        self,
        *,
        servers: ModelServers,
        upstreams: Mapping[str, tuple[Upstream, ...]],
        tasks: asyncio.TaskGroup,
        unix_now: Callable[[], float],
        users: Users = lambda _experiment, _target: (),
        is_away: Callable[[str], bool] = lambda _backend: False,
    ) -> None:
        """`users` says which experiments, but for the one named, need a servable; `is_away` whether any live worker has no
        replica of a backend that takes calls.
        """
        self._servers = servers
        self._upstreams = upstreams
        self._tasks = tasks
        self._unix_now = unix_now
        self._users = users
        self._is_away = is_away
        self._under_way: dict[tuple[str, Command], asyncio.Task[None]] = {}
        self._events: dict[str, list[Event]] = {}
        self.costs: dict[str, dict[str, ArmCost]] = {}

    def take_events(self, name: str) -> list[Event]:
        """Return what has happened to this experiment since the last call."""
        return self._events.pop(name, [])

    def has_events(self, name: str) -> bool:
        """Whether something has happened to this experiment that nobody has taken yet."""
        return name in self._events or name in self.costs

    def pursue(self, dossier: Dossier, commands: Sequence[Command]) -> None:
        """Begin what is asked for and not yet under way; arms that warm together are calibrated together."""
        for (name, command), task in list(self._under_way.items()):
            # Restored while it was being unloaded, say. Work for several arms goes on while any of them is asked for.
            is_wanted = any(
                (dossier.name, one) in self._under_way and self._under_way[dossier.name, one] is task
                for one in commands
            )
            if name == dossier.name and command not in commands and not is_wanted:
                task.cancel()
        new = [command for command in commands if (dossier.name, command) not in self._under_way]
        warm = tuple(command for command in new if isinstance(command, Warm))
        if warm:
            self._begin(dossier, warm, self._warm(dossier, tuple(command.arm for command in warm)))
        for command in new:
            if isinstance(command, Unload):
                self._begin(dossier, (command,), self._unload(dossier, command.arm))
            elif isinstance(command, Try):
                self._begin(dossier, (command,), self._try(dossier, command.arm))

    def drop(self) -> None:
        """End all that is under way: another gateway leads now, and goes on with it."""
        for task in self._under_way.values():
            task.cancel()

    def _begin(
        self, dossier: Dossier, commands: Sequence[Warm | Try | Unload], work: Coroutine[Any, Any, None]
    ) -> None:
        keys = [(dossier.name, command) for command in commands]

        async def run() -> None:
            try:
                await work
            except ServingError as error:
                await self._failed(dossier, commands, error.message)
            except StoreError as error:
                await self._failed(dossier, commands, str(error))
            except Exception as error:  # Bulkhead: one experiment's fault must not end the leader.
                log.exception("step of the life cycle failed", experiment=dossier.name)
                await self._failed(dossier, commands, f"internal error ({type(error).__name__})")

        def end(task: asyncio.Task[None]) -> None:
            # Dropped before its first step, the work would never be awaited.
            work.close()
            for key in keys:
                if self._under_way.get(key) is task:
                    del self._under_way[key]

        task = self._tasks.create_task(run(), name=f"{dossier.name}: {commands}")
        task.add_done_callback(end)
        self._under_way |= dict.fromkeys(keys, task)

    async def _failed(self, dossier: Dossier, commands: Sequence[Warm | Try | Unload], why: str) -> None:
        for command in commands:
            kind = UnloadRefused if isinstance(command, Unload) else ArmFailed
            self._tell(dossier, kind(self._unix_now(), command.arm, why))
        # The command stays under way for this long, so that it is not begun again at once.
        await asyncio.sleep(_RETRY_S)

    def _tell(self, dossier: Dossier, *events: Event) -> None:
        self._events.setdefault(dossier.name, []).extend(events)

    async def _warm(self, dossier: Dossier, arms: Sequence[int]) -> None:
        """Wait until the arms are loaded, check that they answer like control, calibrate them alone and together."""
        # After the end that is the winner: control may be unloaded, and is not loaded for a comparison.
        control = self._target(dossier, dossier.life.serving)
        wanted = await loaded(self._servers, control)
        targets = {arm: self._target(dossier, arm) for arm in arms}
        async with asyncio.TaskGroup() as tasks:
            checks = {
                arm: tasks.create_task(self._unfit(target, wanted), name=f"check {target}")
                for arm, target in targets.items()
                if target != control
            }
        reasons = {arm: why for arm, check in checks.items() if (why := check.result())}
        # Told at once: calibrating the others takes a while.
        unfit = [ArmFailed(self._unix_now(), arm, why) for arm, why in reasons.items()]
        fit = [target for arm, target in targets.items() if arm not in reasons]
        self._tell(dossier, *unfit)
        signatures = dict(wire.SignatureDefMap.FromString(wanted).signature_def)
        lines = await calibrate(
            [(target, self._upstreams[target.backend][0]) for target in fit],
            dict.fromkeys(fit, signatures),
            sizes=_CALIBRATION_SIZES,
            latency_limit_s=dossier.spec.batching.latency_ms * 1e-3,
            deadline=time.perf_counter() + _CALIBRATE_S,
            clock=time.perf_counter,
        )
        await self._reached({target.backend for target in lines})
        for arm, target in targets.items():
            if target in lines:
                is_merged = not dossier.spec.batching.probe or await self._is_row_by_row(dossier, target, signatures)
                unfit += self._calibrated(dossier, arm, lines[target], is_merged=is_merged)
        if unfit:
            # The commands stay under way for this long, so that they are not begun again at once.
            await asyncio.sleep(_RETRY_S)

    async def _try(self, dossier: Dossier, arm: int) -> None:
        """See whether an arm is well again; one that was never calibrated warms."""
        if dossier.spec.arms[arm].name not in dossier.document.costs:
            await self._warm(dossier, (arm,))
            return
        target = self._target(dossier, arm)
        bound_s = call_max_s(dossier.spec)
        await try_arm(
            target,
            self._upstreams[target.backend],
            rows=dossier.document.reference_rows,
            call_max_s=bound_s,
            timeout_s=max(_CALL_S, bound_s or 0.0),
        )
        await self._reached({target.backend})
        self._tell(dossier, ArmWarmed(self._unix_now(), arm))

    async def _reached(self, backends: Collection[str]) -> None:
        """Wait until all workers send calls there: traffic that comes before would find no replica."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_REACHED_S):
                while any(map(self._is_away, backends)):  # noqa: ASYNC110 heartbeats come through the store
                    await asyncio.sleep(_REACHED_LOOK_S)

    async def _is_row_by_row(self, dossier: Dossier, target: Servable, signatures: Mapping[str, wire.Message]) -> bool:
        """Ask an arm whether its rows stand for themselves. One that can't be asked is what it was known to be; else its
        requests go alone, which is dear and never wrong."""
        signature = signatures.get(wire.DEFAULT_SIGNATURE)
        arm = next(arm.name for arm in dossier.spec.arms if (arm.model, arm.version) == (target.model, target.version))
        known = dossier.document.costs.get(arm)
        is_merged = known is not None and known.is_merged
        try:
            if signature is None:
                raise FailedPrecondition(f"{target} has no signature {wire.DEFAULT_SIGNATURE}")
            why = await mixing(target, self._upstreams[target.backend][0], signature, _CALL_S)
        except ServingError as error:
            log.warning("rows could not be compared", arm=arm, target=str(target), reason=error.message)
            return is_merged
        except Exception:  # Bulkhead: a model of a kind that was not thought of must not hold up the others.
            log.exception("rows could not be compared", arm=arm, target=str(target))
            return is_merged
        if why:
            log.warning("rows depend on one another: requests go alone", arm=arm, target=str(target), reason=why)
        return not why

    def _calibrated(
        self, dossier: Dossier, arm: int, result: Line | ServingError, *, is_merged: bool
    ) -> list[ArmFailed]:
        """Tell of an arm that is warm, or return why it is not, having told that too."""
        name = dossier.spec.arms[arm].name
        if isinstance(result, Line):
            self.costs.setdefault(dossier.name, {})[name] = ArmCost(result.a_s, result.b_s, is_merged=is_merged)
            log.info("arm calibrated", experiment=dossier.name, arm=name, a_s=result.a_s, b_s=result.b_s)
            self._tell(dossier, ArmWarmed(self._unix_now(), arm))
            return []
        failed = ArmFailed(self._unix_now(), arm, f"calibration failed: {result.message}")
        self._tell(dossier, failed)
        return [failed]

    async def _unfit(self, target: Servable, wanted: bytes) -> str:
        """Return why the arm can't take part, empty when it can: loaded on every replica, signatures equal control's."""
        try:
            signatures = await loaded(self._servers, target)
        except ServingError as error:
            return error.message
        return fleet.difference(signatures, wanted, str(target))

    async def _unload(self, dossier: Dossier, arm: int) -> None:
        """Have every replica let go of the arm; their own status is the proof."""
        target = self._target(dossier, arm)
        assert target.version is not None  # noqa: S101 an arm always names its version
        if users := self._users(dossier.name, target):
            raise FailedPrecondition(f"{target} stays loaded: {', '.join(users)} needs it")
        is_ours, told = self._servers.is_managed(target.backend), ""
        if is_ours:
            await self._servers.retire(target, self._label_to(dossier, target))
        began = asyncio.get_running_loop().time()
        async with self._servers.closely(target.backend) as look:
            while True:
                await look()
                replicas = self._servers.statuses(target.backend, target.model)
                if fleet.everywhere(replicas, fleet.is_gone, target.version):
                    self._tell(dossier, Unloaded(self._unix_now(), arm))
                    return
                why = self._servers.troubles(target.backend)
                if not is_ours:
                    place = f"version {target.version} of {target.model}"
                    why = f"backend {target.backend} is only observed: unload {place} there, and it will be seen"
                elif not why and asyncio.get_running_loop().time() - began > _UNLOAD_S:
                    why = f"{target} is still loaded after {_UNLOAD_S:g} s: {said_of(replicas, target)}"
                if why and why != told:
                    self._tell(dossier, UnloadRefused(self._unix_now(), arm, told := why))

    def _label_to(self, dossier: Dossier, target: Servable) -> int | None:
        """Return the version to which the labels of an arm go that is unloaded: the one that serves, if it lies there."""
        serving = self._target(dossier, dossier.life.serving)
        return serving.version if (serving.backend, serving.model) == (target.backend, target.model) else None

    @staticmethod
    def _target(dossier: Dossier, arm: int) -> Servable:
        spec = dossier.spec.arms[arm]
        return Servable(spec.backend, spec.model, spec.version)

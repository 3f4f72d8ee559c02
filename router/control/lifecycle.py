"""Carries out what the life of an experiment asks for on the model servers: warm arms, unload arms.

Commands are level-triggered: what is asked for and not yet under way is begun; each ends in an event for the state
machine. A crash at any point only means that it is asked for again.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import structlog

from bandits.life import ArmFailed, ArmWarmed, Command, Event, Try, Unload, Unloaded, UnloadRefused, Warm
from router.config.settings import Backend
from router.control.dossier import ArmCost, Dossier
from router.control.guards import call_max_s
from router.control.trial import try_arm
from serving import fleet, wire
from serving.calibrate import calibrate
from serving.cost import Line
from serving.errors import DeadlineExceeded, FailedPrecondition, ServingError
from serving.upstream import Servable, Upstream

log = structlog.get_logger(__name__)

# One answer of a status or metadata call on a healthy server takes milliseconds.
_CALL_S: Final = 5.0
# A reload waits for models that are new to the server; tf-serving.md §5 trap 4 advises 30-60 s.
_RELOAD_S: Final = 30.0
# How often the servers' own status is looked at while something is awaited; their own poll is 1 s.
_POLL_S: Final = 0.25
# A version that is not loaded after this long has failed for now; loading a large model takes minutes, and Warm is
# asked for again.
_LOAD_S: Final = 60.0
_UNLOAD_S: Final = 60.0
# A server that says it failed is believed after two of its own polls; until then it may be the failure before this try.
_FAILED_S: Final = 2.0
# Between two tries of something that failed.
_RETRY_S: Final = 5.0
# Calibration of a handful of arms takes seconds; a backend that hangs must not hold an experiment for ever.
_CALIBRATE_S: Final = 60.0
# Up to where a GPU's line bends little; the latency limit stops slower arms earlier.
_CALIBRATION_SIZES: Final = (1, 2, 4, 8, 16, 32, 64)


class Lifecycle:
    """The shell around `bandits.experiment`. Mutable: what is under way, the events that came of it, measured costs."""

    def __init__(
        self,
        *,
        backends: Mapping[str, Backend],
        upstreams: Mapping[str, tuple[Upstream, ...]],
        tasks: asyncio.TaskGroup,
        unix_now: Callable[[], float],
        retired: Callable[[str], frozenset[tuple[str, int]]],
    ) -> None:
        """`retired` says which (model, version) pairs of a backend are not to be loaded."""
        self._backends = backends
        self._upstreams = upstreams
        self._tasks = tasks
        self._unix_now = unix_now
        self._retired = retired
        self._under_way: set[tuple[str, Command]] = set()
        self._events: dict[str, list[Event]] = {}
        self.costs: dict[str, dict[str, ArmCost]] = {}
        # One reload at a time per backend: each sends the whole config.
        self._reloading = {name: asyncio.Lock() for name in backends}

    def take_events(self, name: str) -> list[Event]:
        """Return what has happened to this experiment since the last call."""
        return self._events.pop(name, [])

    def pursue(self, dossier: Dossier, commands: Sequence[Command]) -> None:
        """Begin what is asked for and not yet under way; arms that warm together are calibrated together."""
        new = [command for command in commands if (dossier.name, command) not in self._under_way]
        warm = tuple(command for command in new if isinstance(command, Warm))
        if warm:
            self._begin(dossier, warm, self._warm(dossier, tuple(command.arm for command in warm)))
        for command in new:
            if isinstance(command, Unload):
                self._begin(dossier, (command,), self._unload(dossier, command.arm))
            elif isinstance(command, Try):
                self._begin(dossier, (command,), self._try(dossier, command.arm))

    def _begin(self, dossier: Dossier, commands: Sequence[Warm | Try | Unload], work: Awaitable[None]) -> None:
        keys = {(dossier.name, command) for command in commands}
        self._under_way |= keys

        async def run() -> None:
            try:
                await work
            except ServingError as error:
                await self._failed(dossier, commands, error.message)
            except Exception as error:  # Bulkhead: one experiment's fault must not end the leader.
                log.exception("step of the life cycle failed", experiment=dossier.name)
                await self._failed(dossier, commands, f"internal error ({type(error).__name__})")
            finally:
                self._under_way -= keys

        self._tasks.create_task(run(), name=f"{dossier.name}: {commands}")

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
        control = self._target(dossier, dossier.life.control)
        wanted = await self._loaded(control)
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
        lines = await calibrate(
            [(target, self._upstreams[target.backend][0]) for target in fit],
            dict.fromkeys(fit, wanted),
            sizes=_CALIBRATION_SIZES,
            latency_limit_s=dossier.spec.batching.latency_ms * 1e-3,
            deadline=time.perf_counter() + _CALIBRATE_S,
            clock=time.perf_counter,
        )
        for arm, target in targets.items():
            if target in lines:
                unfit += self._calibrated(dossier, arm, lines[target])
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
        self._tell(dossier, ArmWarmed(self._unix_now(), arm))

    def _calibrated(self, dossier: Dossier, arm: int, result: Line | ServingError) -> list[ArmFailed]:
        """Tell of an arm that is warm, or return why it is not, having told that too."""
        name = dossier.spec.arms[arm].name
        if isinstance(result, Line):
            self.costs.setdefault(dossier.name, {})[name] = ArmCost(result.a_s, result.b_s)
            log.info("arm calibrated", experiment=dossier.name, arm=name, a_s=result.a_s, b_s=result.b_s)
            self._tell(dossier, ArmWarmed(self._unix_now(), arm))
            return []
        failed = ArmFailed(self._unix_now(), arm, f"calibration failed: {result.message}")
        self._tell(dossier, failed)
        return [failed]

    async def _unfit(self, target: Servable, wanted: Mapping[str, wire.Message]) -> str:
        """Return why the arm can't take part, empty when it can: loaded on every replica, signatures equal control's."""
        try:
            signatures = await self._loaded(target)
        except ServingError as error:
            return error.message
        if {name: one.SerializeToString(deterministic=True) for name, one in signatures.items()} != {
            name: one.SerializeToString(deterministic=True) for name, one in wanted.items()
        }:
            return f"{target} has other signatures than control: {sorted(signatures)} against {sorted(wanted)}"
        return ""

    async def _loaded(self, target: Servable) -> Mapping[str, wire.Message]:
        """Wait until every replica has loaded the version, and return its signatures; ServingError when one does not."""
        assert target.version is not None  # noqa: S101 an arm always names its version
        loop = asyncio.get_running_loop()
        began = loop.time()
        await self._reload(target.backend)
        while True:
            replicas = await fleet.survey(self._upstreams[target.backend], target.model, _CALL_S)
            if fleet.everywhere(replicas, fleet.is_available, target.version):
                break
            waited_s = loop.time() - began
            has_failed = any(one and target.version in one and one[target.version].has_failed for one in replicas)
            if waited_s > _LOAD_S or (has_failed and waited_s > _FAILED_S):
                said = _errors(replicas, target)
                raise FailedPrecondition(f"{target} is not AVAILABLE on every replica after {waited_s:.0f} s: {said}")
            await asyncio.sleep(_POLL_S)
        files = self._backends[target.backend].models.get(target.model)
        if files is not None and target.version in files.labels.values():
            # Its labels had to wait for it.
            await self._reload(target.backend)
        return await fleet.metadata(self._upstreams[target.backend][0], target.model, target.version, _CALL_S)

    async def _unload(self, dossier: Dossier, arm: int) -> None:
        """Have every replica let go of the arm; their own status is the proof."""
        target = self._target(dossier, arm)
        assert target.version is not None  # noqa: S101 an arm always names its version
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + _UNLOAD_S
        await self._reload(target.backend)
        while True:
            replicas = await fleet.survey(self._upstreams[target.backend], target.model, _CALL_S)
            if fleet.everywhere(replicas, fleet.is_gone, target.version):
                self._tell(dossier, Unloaded(self._unix_now(), arm))
                return
            if loop.time() > give_up_at:
                await self._failed(dossier, (Unload(arm),), f"{target} is still loaded after {_UNLOAD_S:g} s")
                return
            await asyncio.sleep(_POLL_S)

    async def _reload(self, backend: str) -> None:
        """Send the whole wanted config to every replica of a managed backend; an observed one is left alone."""
        settings = self._backends[backend]
        if settings.control != "managed":
            return
        models = {
            name: fleet.ModelFiles(files.base_path, tuple(files.versions), dict(files.labels))
            for name, files in settings.models.items()
        }
        async with self._reloading[backend]:
            for upstream in self._upstreams[backend]:
                # The server refuses a whole config for a label whose version it has not loaded yet.
                ready = {
                    name: fleet.available(await fleet.status(upstream, name, _CALL_S))
                    for name, files in models.items()
                    if files.labels
                }
                try:
                    config = fleet.desired_config(models, self._retired(backend), ready=ready)
                except ValueError as error:
                    raise FailedPrecondition(str(error)) from error
                try:
                    await fleet.reload(upstream, config, _RELOAD_S)
                except DeadlineExceeded:
                    # Unknown, not failed: the server waits for new models without a limit. Its status will tell.
                    log.warning("reload did not answer", backend=backend, replica=upstream.address)

    @staticmethod
    def _target(dossier: Dossier, arm: int) -> Servable:
        spec = dossier.spec.arms[arm]
        return Servable(spec.backend, spec.model, spec.version)


def _errors(replicas: Sequence[Mapping[int, fleet.VersionStatus] | None], target: Servable) -> str:
    """Return what the servers themselves say of the version."""
    said: list[str] = []
    for statuses in replicas:
        one = None if statuses is None else statuses.get(target.version or 0)
        if statuses is None:
            said.append("no answer")
        else:
            said.append("not listed" if one is None else f"{wire.STATE_NAMES[one.state]} {one.error}".strip())
    return "; ".join(said)

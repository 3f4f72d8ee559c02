"""The production learner in a simulated world: `router.control.learner.refresh` itself, fed with a world's sums.

Around it stand model servers that obey at once, one gateway that acts by the last snapshot, and prices that are the
world's costs. One second is one request.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bandits.arrivals import LawCache
from bandits.evidence import GridCache
from bandits.experiment import begin, step
from bandits.health import HealthCache
from bandits.life import ArmWarmed, Command, Event, Start, Unload, Unloaded, Warm, to_json
from bandits.segmented import SegmentMemory
from load.simulate.policy import Cells, News, Turn, Verdict
from load.simulate.world import BEYOND, World
from router.config.document import validate
from router.config.experiment import Experiment
from router.config.fields import format_duration
from router.control.dossier import ArmCost, Document, Dossier, Numbers
from router.control.learner import Refreshed, refresh
from router.control.seen import Seen
from router.control.tally import Tally
from router.decisions import Decision, Mode
from router.heartbeat import ArmBeat, ExperimentBeat
from serving.probes import KEPT

Floats = NDArray[np.float64]

# Any moment: an experiment only sees differences of times.
_START_S: Final = 1_700_000_000.0
_SECONDS_PER_HOUR: Final = 3600.0
# A prediction takes a second alone and in traffic, so that a price of 3600 c an hour is a cost of c.
_COST: Final = ArmCost(a_s=1.0, b_s=0.0)
_PROBES: Final = ((1, 1.0),) * KEPT
# Once out of it, an arm is loaded by nobody: nothing waits for a grace.
_GRACE: Final = "0s"


def experiment_of(world: World) -> Experiment:
    """Return the experiment the learner is told to run; BadInput where an experiment could not be so."""
    names = [f"arm-{number}" for number in range(len(world.arms))]
    never_s = BEYOND * world.requests
    wanted = {} if world.stop is None else world.stop.model_dump(exclude_none=True)
    cycle_s = wanted.pop("cycle", None)
    min_age_s = wanted.pop("min_age", 0.0) if world.stop is not None else never_s
    longest_s = 2.0 * (never_s + min_age_s + (cycle_s or 0.0) * wanted.get("min_cycles", 1))
    policy: dict[str, Any] = {
        "kind": world.policy,
        "floor": world.floor,
        "refresh": _duration(world.refresh),
        # A block holds at least what one look tells it.
        "block": _duration(max(world.block, world.refresh)),
        "prior": {"mean": world.prior.a / (world.prior.a + world.prior.b), "strength": world.prior.a + world.prior.b},
    }
    if world.segments_told:
        policy["segments"] = [f"segment-{number}" for number in range(1, len(world.segments))]
    if world.memory is not None:
        policy["memory"] = _duration(world.memory)
    document = {
        "name": "world",
        "model": "world",
        "control": names[0],
        "arms": [{"name": name, "backend": name, "version": number} for number, name in enumerate(names)],
        "mode": world.mode,
        "objective": {
            "value_usd": world.value_usd,
            "reward": {
                "type": "binary" if world.reward.law == "binary" else "continuous",
                "range": world.reward.range,
                "window": _duration(world.window_told),
                "feedback": world.feedback,
            },
        },
        "policy": policy,
        "stop": wanted
        | {
            "cycle": None if cycle_s is None else _duration(cycle_s),
            "min_age": _duration(min_age_s),
            "max_duration": _duration(longest_s),
        },
        "on_stop": {"grace": _GRACE},
    }
    return validate(Experiment, document)


def _duration(requests: float) -> str:
    return format_duration(float(requests))


class Production:
    """The learner at work. Mutable: its dossier, the version of its snapshot, what is under way, what it decided."""

    def __init__(self, world: World, spec: Experiment | None = None) -> None:
        """Begin the experiment `spec`; without it that of `experiment_of`."""
        spec = spec or experiment_of(world)
        draft = begin(tuple(arm.name for arm in spec.arms), spec.arm(spec.control), spec.end_rules())
        life = step(draft, Start(_START_S, who="the simulator")).life
        document = Document(spec=spec.model_dump(mode="json"), epoch=1, life=to_json(life))
        self._dossier = Dossier(spec.name, 1, document, spec, life)
        self._cache, self._health = GridCache(), HealthCache()
        self._laws, self._memory, self._tally = LawCache(), SegmentMemory(), Tally()
        self._under_way: tuple[Command, ...] = tuple(Warm(number) for number in range(len(spec.arms)))
        self._version = 0
        self._refreshed: Refreshed | None = None
        self._stopped_at: int | None = None
        self._retired: list[tuple[int, int]] = []

    def turn(self, now: int, cells: Cells, news: Sequence[News], costs_usd: Floats) -> Turn:
        """Refresh as the leader does, and do what it asks for."""
        now_s = _START_S + now
        events, calibrated = self._work(now_s)
        names = [arm.backend for arm in self._dossier.spec.arms]
        seen = Seen(
            cells=cells,
            beats=self._beats(),
            prices_usd_per_hour={
                name: float(cost) * _SECONDS_PER_HOUR for name, cost in zip(names, costs_usd, strict=True)
            },
            calibrated=calibrated,
            events=events,
        )
        self._version += 1
        self._refreshed = refresh(
            self._dossier,
            seen,
            version=self._version,
            now=now_s,
            cache=self._cache,
            health=self._health,
            laws=self._laws,
            memory=self._memory,
            tally=self._tally,
        )
        self._note(self._dossier, self._refreshed.dossier, now)
        self._dossier = self._refreshed.dossier
        self._under_way = self._refreshed.commands
        snapshot = self._refreshed.snapshot
        return Turn(
            tuple(arm.parts for arm in snapshot.arms),
            snapshot.block,
            _is_learned(snapshot.mode),
            tuple(one.parts for one in snapshot.segments),
        )

    def verdict(self) -> Verdict:
        """Say what has been decided so far."""
        life = self._dossier.life
        leader = life.winner if life.winner is not None else life.leader
        known = self.numbers.segments if self.numbers else ()
        segments = life.serves or tuple(one.leader if one.serves is None else one.serves for one in known)
        return Verdict(life.control if leader is None else leader, self._stopped_at, tuple(self._retired), segments)

    @property
    def numbers(self) -> Numbers | None:
        """What the last assessment said; None before the first."""
        return self._dossier.document.numbers

    def _work(self, now_s: float) -> tuple[list[Event], dict[str, ArmCost]]:
        """Let the model servers do what is under way; return what happened, and what was calibrated."""
        events: list[Event] = []
        calibrated = {}
        for command in self._under_way:
            if isinstance(command, Warm):
                events.append(ArmWarmed(now_s, command.arm))
                calibrated[self._dossier.spec.arms[command.arm].name] = _COST
            elif isinstance(command, Unload):
                events.append(Unloaded(now_s, command.arm))
        return events, calibrated

    def _beats(self) -> list[ExperimentBeat]:
        """Return what the gateway says: it acts by the last snapshot, and nothing is in flight between two batches."""
        if not self._version:
            return []
        return [ExperimentBeat(self._version, (ArmBeat(0, _PROBES),) * len(self._dossier.spec.arms))]

    def _note(self, before: Dossier, after: Dossier, now: int) -> None:
        if self._stopped_at is None and after.life.winner is not None:
            self._stopped_at = now
        for number, (old, new) in enumerate(zip(before.life.arms, after.life.arms, strict=True)):
            if new.state == "draining" and old.state != "draining":
                self._retired.append((number, now))


def _is_learned(mode: int) -> bool:
    """Ask the decision token's own rule."""
    return Decision(Mode(mode), 0, 0, 0, 0, 0, 0, 0, 1, b"").is_learned

"""A world for the learner alone: traffic, rewards, gateways and model servers, a second at a time, from a seed."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bandits import delay_bins
from bandits.experiment import begin, step
from bandits.life import ArmWarmed, Command, Event, Start, Unload, Unloaded, Warm, to_json
from bandits.sums import STEPS, quantise
from router.config.document import validate
from router.config.experiment import Experiment
from router.control import dossier as dossiers
from router.control.dossier import ArmCost, Document, Dossier
from router.control.learner import Refreshed, refresh
from router.control.seen import Seen
from router.control.tally import Counted, Tally
from router.decisions import Mode
from router.heartbeat import ArmBeat, ExperimentBeat
from router.snapshot import PARTS, Snapshot
from router.store import FIELDS
from serving.cost import Line

BACKEND: Final = "tfs-a"
EPOCH: Final = 2**64 - 9
START: Final = 1_700_000_000.0
PRICES: Final = {BACKEND: 2.0}
# Two seconds of warming, and as many of unloading.
_WORK_S: Final = 2

Cells = dict[tuple[int, int], dict[str, int]]
# Draws so many rewards of this arm.
Rewards = Callable[[np.random.Generator, int, int], NDArray[np.float64]]


def spec(*, arms: int = 3, **changes: Mapping[str, Any]) -> Experiment:
    """An experiment that can be over within a minute of this world; `changes` are put into its sections."""
    document: dict[str, Any] = {
        "name": "digits",
        "model": "digits",
        "control": "v1",
        "arms": [{"name": f"v{n}", "backend": BACKEND, "version": n} for n in range(1, arms + 1)],
        "objective": {"value_usd": 1e-6, "reward": {"window": "10s"}},
        "policy": {"block": "5s", "refresh": "1s"},
        # Long enough that both losers go together.
        "stop": {"cycle": None, "min_per_arm": 50, "min_age": "25s"},
        "on_stop": {"grace": "3s"},
    }
    for section, values in changes.items():
        document[section] = {**document.get(section, {}), **values}
    return validate(Experiment, document)


def seeded(wanted: Experiment, now: float = START) -> Dossier:
    """The dossier of an experiment that was started just now."""
    draft = begin(tuple(arm.name for arm in wanted.arms), wanted.arm(wanted.control), wanted.end_rules())
    life = step(draft, Start(now, who="the test")).life
    document = Document(spec=wanted.model_dump(mode="json"), epoch=EPOCH, life=to_json(life))
    return Dossier(wanted.name, 1, document, wanted, life)


def counted(cells: Mapping[tuple[int, int], Mapping[str, int]], arms: int, segments: int = 0) -> Counted:
    """What a learner that is new to them makes of a store's cells."""
    tally = Tally()
    tally.take(cells)
    return tally.counted(arms, segments)


def read_again(dossier: Dossier) -> Dossier:
    """The dossier as a leader that is new to it finds it in the store."""
    return dossiers.dossier_of(dossier.name, dossier.revision, dossiers.encode(dossier.document))


@dataclass(slots=True)
class Gateway:
    """One gateway: it acts by the snapshot of `lag` seconds ago. Mutable: its snapshot, requests in flight per arm."""

    arms: int
    lag: int = 0
    # Requests of an arm that gets no more are in flight for this long.
    tail_s: int = 1
    snapshot: Snapshot | None = None
    in_flight: list[int] = field(default_factory=list)
    is_silent: bool = False

    def turn(self, published: Sequence[Snapshot]) -> None:
        """Take up a snapshot; arms with traffic have as many in flight as their last answers take seconds."""
        if len(published) > self.lag:
            self.snapshot = published[-1 - self.lag]
        before = self.in_flight or [0] * self.arms
        parts = [0] * self.arms if self.snapshot is None else [arm.parts for arm in self.snapshot.arms]
        self.in_flight = [self.tail_s if share else max(0, was - 1) for share, was in zip(parts, before, strict=True)]


class World:
    """Everything around `refresh`. Mutable: all of it. `refreshed` is what the last refresh returned."""

    def __init__(
        self,
        wanted: Experiment,
        rates: Sequence[float],
        lines: Sequence[Line],
        *,
        gateways: Sequence[Gateway] = (),
        seed: int = 1,
        requests: int = 2_000,
        rewards: Rewards | None = None,
        reported: float = 1.0,
    ) -> None:
        """`rewards` draws some of an arm's, in their own unit; without it they are 0 or 1 by `rates`. Of the decisions
        a share `reported` gets its reward at once, the others never."""
        self.draw_rewards, self.reported = rewards, reported
        self.dossier, self.now, self.version = seeded(wanted), START, 0
        # What a leader that follows finds in the store: see Leader._save.
        self.stored = self.dossier
        self.rates, self.lines, self.requests = rates, lines, requests
        self.gateways = list(gateways) or [Gateway(len(rates))]
        self.rng = np.random.default_rng(seed)
        self.cells: Cells = {}
        self.tally = Tally()
        self.published: list[Snapshot] = []
        self.under_way: dict[Command, int] = {}
        self.calibrated: dict[str, ArmCost] = {}
        self.refreshed: Refreshed | None = None
        self.prices = dict(PRICES)
        self.warnings: dict[str, str] = {}
        self.capacities: dict[str, float] = {}
        # Replicas of each backend that serves nothing but this experiment's arms.
        self.alone_on: dict[str, int] = {}
        self.is_spooling = False
        # Set: an experiment that has ended may begin anew, with this number for its epoch; what was counted of the last
        # one is in `former_cells`.
        self.fresh_epoch: int | None = None
        self.former_cells: Cells = {}
        self.batch_rows = 4
        self.probes = 15

    def tick(self, *events: Event) -> Refreshed:
        """Let a second pass, and refresh; `events` happen beside what the world does by itself."""
        self.now += 1.0
        for gateway in self.gateways:
            gateway.turn(self.published)
            if gateway.snapshot is not None and gateway.snapshot.epoch == self.dossier.document.epoch:
                self._traffic(gateway.snapshot, self.requests // len(self.gateways))
        seen = Seen(
            cells={place: dict(cell) for place, cell in self.cells.items()},
            beats=[beat for gateway in self.gateways if (beat := self._beat(gateway)) is not None],
            prices_usd_per_hour=self.prices,
            calibrated=self.calibrated,
            events=[*self._work(), *events],
            price_warnings=self.warnings,
            capacities_rps=self.capacities,
            alone_on=self.alone_on,
            is_spooling=self.is_spooling,
        )
        self.calibrated = {}
        self.version += 1
        self.refreshed = refresh(
            self.dossier,
            seen,
            version=self.version,
            now=self.now,
            tally=self.tally,
            fresh_epoch=self.fresh_epoch,
        )
        if self.refreshed.dossier.document.epoch != self.dossier.document.epoch:
            self.former_cells, self.cells, self.under_way, self.fresh_epoch = self.cells, {}, {}, None
            self.tally = Tally()
        if self.refreshed.dossier.document.essence() != self.dossier.document.essence():
            self.stored = self.refreshed.dossier
        self.dossier = self.refreshed.dossier
        self.published.append(self.refreshed.snapshot)
        for command in self.refreshed.commands:
            self.under_way.setdefault(command, _WORK_S)
        return self.refreshed

    def run(self, until: Callable[["World"], bool], most_s: int = 400) -> Refreshed:
        """Tick until something is so; AssertionError when it never is."""
        for _ in range(most_s):
            refreshed = self.tick()
            if until(self):
                return refreshed
        raise AssertionError(f"not within {most_s} s: {self.dossier.life}")

    def crash(self) -> None:
        """Lose everything that is not in the store: the leader's memory, and the work it had under way."""
        self.dossier = read_again(self.stored)
        self.under_way, self.calibrated, self.tally = {}, {}, Tally()

    @property
    def phase(self) -> str:
        """The phase the experiment is in."""
        return self.dossier.life.phase

    def view(self) -> dict[str, Any]:
        """What /state shows."""
        shown: dict[str, Any] = json.loads(bytes(self.published[-1].view))
        return shown

    def states(self) -> list[str]:
        """The states of the arms."""
        return [arm.state for arm in self.dossier.life.arms]

    def _traffic(self, snapshot: Snapshot, requests: int) -> None:
        counts = self.rng.multinomial(requests, [arm.parts / PARTS for arm in snapshot.arms])
        for arm, count in enumerate(counts.tolist()):
            known = count if self.reported == 1.0 else int(self.rng.binomial(count, self.reported))
            steps = self._reward_steps(arm, known)
            cell = self.cells.setdefault((arm, snapshot.block), dict.fromkeys(FIELDS, 0))
            if Mode(snapshot.mode).is_learned:
                cell["decisions"] += count
                cell["rewards"] += known
                cell["reward_q"] += int(steps.sum())
                cell["reward_q2"] += int((steps**2).sum())
                cell[delay_bins.FIELDS[0]] += known
            else:
                cell["unlearned_decisions"] += count
                cell["unlearned_rewards"] += known
                cell["unlearned_reward_q"] += int(steps.sum())
            cell["rows"] += count

    def _reward_steps(self, arm: int, count: int) -> NDArray[np.int64]:
        """Rewards as the gateway counts them."""
        if self.draw_rewards is None:
            wins = int(self.rng.binomial(count, self.rates[arm]))
            return (np.arange(count) < wins).astype(np.int64) * STEPS
        low, high = self.dossier.spec.objective.reward.range
        values = self.draw_rewards(self.rng, arm, count)
        return np.array([quantise(float(value), low, high) for value in values], np.int64)

    def _beat(self, gateway: Gateway) -> ExperimentBeat | None:
        if gateway.snapshot is None or gateway.is_silent:
            return None
        rows = self.dossier.document.reference_rows
        arms = tuple(
            ArmBeat(count, ((rows, line.seconds(rows)),) * self.probes, {self.batch_rows: 100})
            for count, line in zip(gateway.in_flight, self.lines, strict=True)
        )
        return ExperimentBeat(gateway.snapshot.version, arms)

    def _work(self) -> list[Event]:
        """Let the model servers work a second; return what is done, and forget it."""
        events: list[Event] = []
        for command, left in list(self.under_way.items()):
            self.under_way[command] = left - 1
            if left > 1:
                continue
            del self.under_way[command]
            if isinstance(command, Warm):
                line = self.lines[command.arm]
                self.calibrated[self.dossier.life.arms[command.arm].name] = ArmCost(line.a_s, line.b_s)
                events.append(ArmWarmed(self.now, command.arm))
            elif isinstance(command, Unload):
                events.append(Unloaded(self.now, command.arm))
        return events

"""Of all leaders on a store one leads; what it wrote is where the next one goes on."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, cast

import msgspec
import pytest
import structlog

from bandits.life import Note
from router import heartbeat, snapshot
from router.config import Config
from router.config.document import validate
from router.config.experiment import Experiment
from router.control.dossier import Dossier, dossier_of
from router.control.leader import GATEWAY_HEARD_S, LEASE_S, Leader
from router.decisions import Mode
from router.heartbeat import ArmBeat, ExperimentBeat, Heartbeat
from router.snapshot import PARTS, Snapshot
from router.store import Cell, Store, StoreUnavailable
from router.store.memory import MemoryStore
from serving.upstream import Upstream
from tests.hurried_loop import run_hurried
from tests.router.control.servers import Direct, fake_tfs
from tests.router.control.world import BACKEND, START, spec

RATES = (0.80, 0.90, 0.70)
MODELS = {
    "digits": {"base_path": "/models/digits", "versions": [1, 2, 3]},
    "bystander": {"base_path": "/models/bystander", "versions": [7, 8]},
}
QUICK = spec(batching={"latency_ms": 1e-6})


def config(*experiments: Experiment, **backends: Any) -> Config:
    managed = {"target": "tfs:1", "price_usd_per_hour": 0.002, "control": "managed", "models": MODELS}
    servers: dict[str, Any] = {BACKEND: managed, **backends}
    documents = [one.model_dump(mode="json") for one in experiments]
    return validate(Config, {"store": "memory:", "backends": servers, "experiments": documents})


class Door:
    """One leader's way to the shared store. Mutable: whether it is open, who waits for a turn, what was written."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._turned = asyncio.Condition()
        self.turns = 0
        self.is_away = False
        self.is_dead = False
        self.held: asyncio.Event | None = None
        self.published: list[tuple[int, int]] = []  # (version, fence)

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any) -> Any:
            if name == "lease":
                async with self._turned:
                    self.turns += 1
                    self._turned.notify_all()
            if name == "sums" and self.held is not None:
                await self.held.wait()
            if self.is_away or (self.is_dead and name == "release"):
                raise StoreUnavailable("the door is shut")
            result = await getattr(self._store, name)(*args)
            if name == "publish":
                self.published.append((args[1], args[3]))
            return result

        return call

    async def turn(self) -> None:
        """Wait until a turn that begins from now on has ended."""
        wanted = self.turns + 2
        async with self._turned:
            await self._turned.wait_for(lambda: self.turns >= wanted)


class Gateway:
    """A gateway with traffic: it acts by the newest snapshot. Mutable: its number of flushes."""

    def __init__(self, store: MemoryStore, name: str = "gw-1", *, requests: int = 600, arms: int | None = None) -> None:
        self._store, self._name, self._requests, self._arms = store, name, requests, arms
        self._sequence = 0

    async def flush(self, now: float) -> None:
        """Count a second of traffic, every reward as its arm's mean, and say what is in flight: nothing."""
        deltas: dict[Cell, dict[str, int]] = {}
        beats: dict[int, ExperimentBeat] = {}
        for _, raw in (await self._store.snapshots()).values():
            live = snapshot.decode(raw)
            count = len(live.arms) if self._arms is None else self._arms
            in_flight = 0 if self._arms is None else 9
            beats[live.epoch] = ExperimentBeat(live.version, (ArmBeat(in_flight, ((1, 0.001),) * 15, {1: 9}),) * count)
            if live.mode == Mode.EXPERIMENT and self._arms is None:
                deltas |= self._counts(live)
        self._sequence += 1
        await self._store.flush(self._name, self._sequence, deltas, heartbeat.encode(Heartbeat(beats)), now)

    def _counts(self, live: Snapshot) -> dict[Cell, dict[str, int]]:
        counts: dict[Cell, dict[str, int]] = {}
        for place, arm in enumerate(live.arms):
            decisions = self._requests * arm.parts // PARTS
            wins = round(decisions * RATES[place])
            counts[Cell(live.epoch, place, live.block)] = {
                "decisions": decisions,
                "rewards": decisions,
                "reward_q": wins << 16,
                "reward_q2": wins << 32,
            }
        return counts


class Bench:
    """A store, a model server, gateways and any number of leaders. Mutable: the clock, which only `seconds` moves."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self.tasks = tasks
        self.now = START
        self.store = MemoryStore()
        self.fake = fake_tfs()
        self.gateways: list[Gateway] = [Gateway(self.store)]

    def lead(self, of: Config | None = None) -> tuple[Door, asyncio.Task[None]]:
        """Start another leader; return its door and its task."""
        return self.leader(of)[1:]

    def leader(self, of: Config | None = None) -> tuple[Leader, Door, asyncio.Task[None]]:
        """Start another leader; return it, its door and its task."""
        of, door = of or config(QUICK), Door(self.store)
        upstreams: dict[str, tuple[Upstream, ...]] = {name: (Direct(self.fake),) for name in of.backends}
        leader = Leader(of, store=cast("Store", door), upstreams=upstreams, unix_now=lambda: self.now)
        return leader, door, self.tasks.create_task(leader.run())

    async def seconds(self, count: float, *doors: Door) -> None:
        """Let so many seconds pass, a turn of each of these leaders and a flush of each gateway in every one."""
        for _ in range(int(count)):
            self.now += 1.0
            for gateway in self.gateways:
                await gateway.flush(self.now)
            for door in doors:
                await door.turn()

    async def dossier(self, name: str = "digits") -> Dossier:
        """The experiment as the store has it."""
        (record,) = [record for record in await self.store.experiments() if record.name == name]
        return dossier_of(record.name, record.revision, record.document)

    async def published(self, name: str = "digits") -> Snapshot:
        """The newest snapshot."""
        return snapshot.decode((await self.store.snapshots())[name][1])

    async def until(self, phase: str, *doors: Door, most_s: int = 120) -> None:
        """Let time pass until the experiment is in this phase."""
        for _ in range(most_s):
            await self.seconds(1, *doors)
            if (await self.dossier()).life.phase == phase:
                return
        raise AssertionError(f"not {phase} within {most_s} s: {(await self.dossier()).life}")


class _Done(Exception):
    """The scenario is over."""


def run(scenario: Callable[[Bench], Awaitable[None]]) -> list[Any]:
    """Play a scenario in hurried time; return what was logged."""

    async def play() -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                on = Bench(tasks)
                await on.store.open()
                await scenario(on)
                raise _Done
        except* _Done:
            pass

    with structlog.testing.capture_logs() as logs:
        run_hurried(play())
    return logs


def said(logs: Iterable[Any], event: str) -> list[Any]:
    return [line for line in logs if line["event"] == event]


async def die(leader: tuple[Door, asyncio.Task[None]]) -> None:
    """End a leader without a word, as a kill does: its lease is not given back."""
    leader[0].is_dead = True
    leader[1].cancel()
    await asyncio.wait([leader[1]])


def test_experiment_of_the_configuration_is_seeded_and_started_once() -> None:
    async def scenario(on: Bench) -> None:
        first = on.lead()
        await on.seconds(3, first[0])
        before = await on.dossier()
        history = await on.store.history("digits", 100)
        first[1].cancel()
        second = on.lead()
        await on.seconds(3, second[0])

        assert before.document.epoch == (await on.dossier()).document.epoch > 0
        assert before.spec == QUICK
        notes = [msgspec.json.decode(entry, type=Note) for entry in history]
        assert (notes[0].what, notes[0].before, notes[0].after) == ("phase", "draft", "warmup")
        assert notes[0].why == "started by the configuration"
        assert (await on.store.history("digits", 100))[: len(history)] == history
        assert [note.after for note in notes].count("warmup") == 1

    assert said(run(scenario), "experiment file ignored: the store holds another version of it") == []


def test_leader_takes_an_experiment_to_its_end_and_unloads_the_losers() -> None:
    async def scenario(on: Bench) -> None:
        leader = on.lead()
        await on.until("concluded", leader[0])

        dossier = await on.dossier()
        assert (dossier.life.winner, dossier.life.outcome) == (1, "replaced")
        assert [arm.state for arm in dossier.life.arms] == ["retired", "eligible", "retired"]
        assert on.fake.serves("digits") == [2]
        assert on.fake.serves("bystander") == [7, 8]
        assert [arm.parts for arm in (await on.published()).arms] == [0, PARTS, 0]

    run(scenario)


def observed(**changes: Any) -> Config:
    servers = {"target": "tfs:1", "price_usd_per_hour": 0.002, "models": {}}
    return config(QUICK, **{BACKEND: {**servers, **changes}})


def test_observed_losers_wait_for_whoever_runs_the_server_and_it_is_seen_when_they_are_gone() -> None:
    async def scenario(on: Bench) -> None:
        leader = on.lead(observed())
        await on.until("concluded", leader[0])

        life = (await on.dossier()).life
        assert [arm.state for arm in life.arms] == ["standby", "eligible", "standby"]
        assert life.arms[0].reason.endswith("only observed: whoever runs it may unload the version there")
        assert [arm.parts for arm in (await on.published()).arms] == [0, PARTS, 0]
        assert (on.fake.reloads, on.fake.serves("digits")) == ([], [1, 2, 3])

        on.fake.disk = {**on.fake.disk, "digits": (2,)}
        on.fake.poll()
        for _ in range(10):
            await on.seconds(1, leader[0])
        assert [arm.state for arm in (await on.dossier()).life.arms] == ["retired", "eligible", "retired"]

    run(scenario)


def test_arm_that_somebody_else_unloaded_gets_no_traffic() -> None:
    async def scenario(on: Bench) -> None:
        leader = on.lead(observed())
        await on.until("running", leader[0])
        on.fake.disk = {**on.fake.disk, "digits": (1, 2)}
        on.fake.poll()
        for _ in range(10):
            await on.seconds(1, leader[0])

        arm = (await on.dossier()).life.arms[2]
        assert (arm.state, (await on.published()).arms[2].parts) == ("quarantined", 0)
        assert "tfs-a/digits/3 is loaded on no replica any more" in arm.reason

    run(scenario)


# One that lives for less than GATEWAY_HEARD_S could drain no arm.
@pytest.mark.parametrize("every_s", [5, 9])
def test_leaders_that_die_again_and_again_reach_the_same_end(every_s: int) -> None:
    async def scenario(on: Bench) -> None:
        versions: list[int] = []
        for _ in range(60):
            leader = on.lead()
            await on.seconds(every_s, leader[0])
            versions += [version for version, _ in leader[0].published]
            await die(leader)
            on.now += LEASE_S
            if (await on.dossier()).life.phase == "concluded":
                break

        assert (await on.dossier()).life.outcome == "replaced"
        assert on.fake.serves("digits") == [2]
        assert versions == sorted(set(versions))

    run(scenario)


def test_only_one_of_two_leads_and_the_other_follows_when_it_stops() -> None:
    async def scenario(on: Bench) -> None:
        first, second = on.lead(), on.lead()
        await on.seconds(3, first[0], second[0])
        leading, waiting = (first, second) if first[0].published else (second, first)
        assert len(leading[0].published) >= 3
        assert waiting[0].published == []

        leading[1].cancel()
        await asyncio.wait([leading[1]])
        await on.seconds(1, waiting[0])

        # Given back, the lease need not run out.
        assert waiting[0].published[0][0] == leading[0].published[-1][0] + 1
        assert waiting[0].published[0][1] == leading[0].published[-1][1] + 1

    run(scenario)


def test_leader_that_died_is_followed_when_its_lease_is_over() -> None:
    async def scenario(on: Bench) -> None:
        first = on.lead()
        await on.seconds(2, first[0])
        await die(first)
        second = on.lead()
        await second[0].turn()
        on.now += LEASE_S - 0.1
        await second[0].turn()
        assert second[0].published == []

        on.now += 0.1
        await second[0].turn()

        assert second[0].published

    run(scenario)


def test_leader_that_was_away_too_long_writes_nothing_any_more() -> None:
    async def scenario(on: Bench) -> None:
        slow = on.lead()
        await on.seconds(3, slow[0])
        # In the middle of a refresh it hangs for longer than its lease.
        slow[0].held = asyncio.Event()
        before = slow[0].published[-1]
        on.now += LEASE_S + 1.0
        quick = on.lead()
        await on.seconds(3, quick[0])
        slow[0].held.set()
        slow[0].held = None
        after = len(slow[0].published)
        await on.seconds(3, slow[0], quick[0])

        assert len(slow[0].published) == after
        assert {fence for _, fence in slow[0].published} == {before[1]}
        assert {fence for _, fence in quick[0].published} == {before[1] + 1}
        # Once the other stops, it leads again, from what is in the store.
        quick[1].cancel()
        await asyncio.wait([quick[1]])
        await on.seconds(1, slow[0])
        assert slow[0].published[-1] > quick[0].published[-1]

    assert said(run(scenario), "another gateway leads now")


def test_changed_file_is_warned_about_and_the_store_is_the_truth() -> None:
    changed = spec(batching={"latency_ms": 1e-6}, stop={"delta": 0.02})

    async def scenario(on: Bench) -> None:
        first = on.lead()
        await on.seconds(1, first[0])
        first[1].cancel()
        second = on.lead(config(changed))
        await on.seconds(2, second[0])

        assert (await on.dossier()).spec.stop.delta == 0.01

    logs = run(scenario)
    warned = said(logs, "experiment file ignored: the store holds another version of it")
    assert [(line["log_level"], line["experiment"]) for line in warned] == [("warning", "digits")]


def test_store_that_is_away_is_waited_for() -> None:
    async def scenario(on: Bench) -> None:
        leader = on.lead()
        await on.until("running", leader[0])
        version = (await on.published()).version
        leader[0].is_away = True
        await on.seconds(5, leader[0])
        assert (await on.published()).version == version

        leader[0].is_away = False
        await on.seconds(2, leader[0])
        assert (await on.published()).version > version
        await on.until("concluded", leader[0])

    assert said(run(scenario), "store unavailable: learning and retiring wait")


def test_after_an_outage_nothing_drains_until_every_gateway_had_time_to_be_heard() -> None:
    async def scenario(on: Bench) -> None:
        leader = on.lead()
        await on.until("draining", leader[0])
        loop = asyncio.get_running_loop()
        leader[0].is_away, failed_at = True, loop.time()
        await leader[0].turn()
        leader[0].is_away = False
        while (await on.dossier()).life.arms[0].state == "draining":
            await on.seconds(1, leader[0])

        assert loop.time() >= failed_at + GATEWAY_HEARD_S

    run(scenario)


def test_gateway_that_knows_another_number_of_arms_is_not_listened_to() -> None:
    async def scenario(on: Bench) -> None:
        on.gateways.append(Gateway(on.store, "gw-2", arms=2))
        leader = on.lead()
        await on.until("concluded", leader[0])

        assert (await on.dossier()).life.outcome == "replaced"

    assert said(run(scenario), "refresh failed") == []


def test_one_experiment_that_can_not_be_led_does_not_stop_the_others() -> None:
    elsewhere = spec().model_dump(mode="json") | {"name": "aaa", "model": "letters"}
    elsewhere["arms"] = [{**arm, "backend": "tfs-gone", "model": "letters"} for arm in elsewhere["arms"]]
    gone = {"tfs-gone": {"target": "gone:1", "price_usd_per_hour": 1.0}}

    async def scenario(on: Bench) -> None:
        first = on.lead(config(validate(Experiment, elsewhere), **gone))
        await on.seconds(1, first[0])
        first[1].cancel()
        await asyncio.wait([first[1]])
        fence = await on.store.lease("a later version", on.now, 0.0)
        await on.store.save_experiment("bbb", b'{"spec": {}}', 0, fence or 0)

        second = on.lead()
        await on.until("running", second[0])

        assert (await on.published("aaa")).version == first[0].published[-1][0]

    logs = run(scenario)
    assert [line["experiment"] for line in said(logs, "experiment left out: its backends are missing")] == ["aaa"]
    assert [line["experiment"] for line in said(logs, "stored experiment can't be read")] == ["bbb"]


def test_on_a_backend_that_is_only_observed_losers_stay_loaded() -> None:
    observed = {BACKEND: {"target": "tfs:1", "price_usd_per_hour": 0.002}}

    async def scenario(on: Bench) -> None:
        leader = on.lead(config(QUICK, **observed))
        await on.until("concluded", leader[0])

        assert [arm.state for arm in (await on.dossier()).life.arms] == ["standby", "eligible", "standby"]
        assert on.fake.reloads == []

    run(scenario)


def test_history_tells_every_change_with_its_cause() -> None:
    async def scenario(on: Bench) -> None:
        leader = on.lead()
        await on.until("concluded", leader[0])

        notes = [msgspec.json.decode(entry, type=Note) for entry in await on.store.history("digits", 1000)]
        for what in ("phase", "v1", "v2", "v3"):
            mine = [note for note in notes if note.what == what]
            # Each begins where the last one ended.
            assert [note.before for note in mine[1:]] == [note.after for note in mine[:-1]]
            assert all(note.why for note in mine)
        (end,) = [note for note in notes if note.after == "draining" and note.what == "phase"]
        assert end.numbers["value_remaining_q95"] <= end.numbers["threshold"] == 0.01
        assert [note.now for note in notes] == sorted(note.now for note in notes)

    run(scenario)


def test_snapshots_are_numbered_past_what_workers_hold_whatever_the_store_was_set_back_to() -> None:
    async def scenario(on: Bench) -> None:
        leader = on.lead()
        await on.seconds(2, leader[0])
        epoch, arms = (await on.dossier()).document.epoch, tuple(ArmBeat(0) for _ in range(3))
        beats = Heartbeat({epoch: ExperimentBeat(5_000, arms)})
        await on.store.flush("one that holds more", 1, {}, heartbeat.encode(beats), on.now)
        await on.seconds(1, leader[0])

        assert (await on.published()).version > 5_000

    run(scenario)

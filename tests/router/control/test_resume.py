"""A control process may die at any step of unloading or of bringing back: the next one ends where the first would have.

Its steps are what others can see of it: writes to the store and reloads of model servers. At each of them it is ended twice,
once before the step is done and once after, when it never learns that it was.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

import pytest

from bandits.experiment import step
from bandits.life import ArmWarmed, Assessed, Event, Life, Promote, Restore
from router.control import dossier as dossiers
from router.control.dossier import ArmCost, Dossier, dossier_of
from router.control.leader import LEASE_S, Leader
from router.store import Store
from router.store.memory import MemoryStore
from serving import wire
from serving.upstream import Upstream
from tests.hurried_loop import run_hurried
from tests.router.control.servers import Direct, entries, fake_tfs
from tests.router.control.test_leader import Gateway, config
from tests.router.control.world import BACKEND, START, seeded, spec

QUICK = spec(batching={"latency_ms": 1e-6}, on_stop={"grace": "1s"})
WRITES: Final = ("save_experiment", "save_backend", "append_history", "publish")
COSTS: Final = {f"v{n}": ArmCost(1e-3, 1e-5) for n in (1, 2, 3)}
# Long enough for a lease to run out twice, and for a new leader to hear of all gateways.
MOST_S: Final = 90


class Steps:
    """Counts what a control process does, and ends it at one of its steps. Mutable: the count, and who is to be ended."""

    def __init__(self, at: int | None = None, *, is_done_first: bool = False) -> None:
        self.count = 0
        self.at, self.is_done_first = at, is_done_first
        self.victim: asyncio.Task[None] | None = None
        self.names: list[str] = []

    async def pass_by(self, name: str, work: Callable[[], Awaitable[Any]]) -> Any:
        """Do one step, or end the process before it or after it."""
        number, self.count = self.count, self.count + 1
        self.names.append(name)
        if number != self.at:
            return await work()
        if self.is_done_first:
            await work()
        assert self.victim is not None
        self.victim.cancel()
        return await asyncio.get_running_loop().create_future()


class Door:
    """The way of one control process to the store; behind a dead one nothing is given back."""

    def __init__(self, store: MemoryStore, steps: Steps) -> None:
        self._store, self._steps = store, steps

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any) -> Any:
            if name == "release":
                return None
            if name in WRITES:
                return await self._steps.pass_by(name, lambda: getattr(self._store, name)(*args))
            return await getattr(self._store, name)(*args)

        return call


class Server(Direct):
    """A model server behind the steps. Mutable: the steps of whoever leads."""

    steps: Steps

    async def call(self, method: str, body: bytes, timeout_s: float) -> bytes:
        """Answer; a reload is a step."""
        if method != wire.RELOAD_CONFIG:
            return await super().call(method, body, timeout_s)
        answer: bytes = await self.steps.pass_by("reload", lambda: super(Server, self).call(method, body, timeout_s))
        return answer


class Bench:
    """A store, two replicas, a gateway. Mutable: the clock."""

    def __init__(self) -> None:
        self.now = START
        self.store = MemoryStore()
        self.fakes = [fake_tfs(), fake_tfs()]
        self.servers = [Server(fake, f"tfs:{number}") for number, fake in enumerate(self.fakes)]
        self.gateway = Gateway(self.store, requests=0)

    async def begin(self, *events: Event) -> None:
        """Store an experiment to which these events have happened."""
        await self.store.open()
        draft = seeded(QUICK)
        life = draft.life
        for event in events:
            life = step(life, event).life
        await self._save(draft.with_life(life).with_changes(costs=COSTS), 0)

    async def order(self, event: Event) -> None:
        """Let an operator's order happen while nobody leads."""
        dossier = await self.dossier()
        await self._save(dossier.with_life(step(dossier.life, event).life), dossier.revision)

    async def _save(self, dossier: Dossier, revision: int) -> None:
        fence = await self.store.lease("the test", self.now, LEASE_S)
        assert fence is not None
        await self.store.save_experiment("digits", dossiers.encode(dossier.document), revision, fence)
        await self.store.release("the test")

    async def dossier(self) -> Dossier:
        """The experiment as the store has it."""
        (record,) = await self.store.experiments()
        return dossier_of(record.name, record.revision, record.document)

    async def lead(self, steps: Steps, is_over: Callable[[Life], bool]) -> None:
        """Have leaders lead, one after the other when one dies, until that is so; then end the last one."""
        for _ in range(3):
            for server in self.servers:
                server.steps = steps
            upstreams = {BACKEND: cast("tuple[Upstream, ...]", tuple(self.servers))}
            door = cast("Store", Door(self.store, steps))
            leader = Leader(config(QUICK), store=door, upstreams=upstreams, unix_now=lambda: self.now)
            async with asyncio.TaskGroup() as tasks:
                task = steps.victim = tasks.create_task(leader.run())
                for _ in range(MOST_S):
                    self.now += 1.0
                    await self.gateway.flush(self.now)
                    await asyncio.sleep(1.0)
                    if task.done() or is_over((await self.dossier()).life):
                        break
                was_killed = task.done()
                task.cancel()
            if not was_killed:
                break
            self.now += LEASE_S
            # What the dead one had begun goes nowhere; the next one is not to be ended.
            steps.at = None
        self.now += LEASE_S

    async def end(self) -> tuple[Any, ...]:
        """What a run ended with: states, what is loaded everywhere, and what is wanted."""
        life = (await self.dossier()).life
        (record,) = await self.store.backends()
        served = [(fake.serves("digits"), fake.serves("bystander")) for fake in self.fakes]
        return [arm.state for arm in life.arms], life.phase, life.winner, served, record.document


WARM: Final = tuple(ArmWarmed(START, arm) for arm in range(3))
OVER: Final = Assessed(START, 1, (0.1, 0.8, 0.1), is_drained=True, is_over=True)
Scenario = Callable[[Bench, Steps, Steps], Awaitable[None]]


def is_concluded(life: Life) -> bool:
    return life.phase == "concluded" and all(arm.state in ("eligible", "retired") for arm in life.arms)


async def retire(on: Bench, steps: Steps) -> None:
    await on.begin(*WARM, OVER)
    await on.lead(steps, is_concluded)


async def restore(on: Bench, steps: Steps) -> None:
    await retire(on, Steps())
    await on.order(Restore(on.now, 2, "ops"))
    await on.lead(steps, lambda life: life.arms[2].state == "eligible")


async def roll_back(on: Bench, steps: Steps) -> None:
    await retire(on, Steps())
    await on.order(Promote(on.now, 0, "ops"))
    await on.lead(steps, lambda life: life.winner == 0 and is_concluded(life))


SCENARIOS: Final = {"retire": retire, "restore": restore, "roll back": roll_back}
ENDS: Final = {
    "retire": (["retired", "eligible", "retired"], "concluded", 1, [([2], [7, 8])] * 2),
    "restore": (["retired", "eligible", "eligible"], "concluded", 1, [([2, 3], [7, 8])] * 2),
    "roll back": (["eligible", "retired", "retired"], "concluded", 0, [([1], [7, 8])] * 2),
}


def play(name: str, steps: Steps) -> tuple[Any, ...]:
    """Play a scenario; return its end, having looked at every reload there was."""

    async def whole() -> tuple[Any, ...]:
        on = Bench()
        before = entries(on.fakes[0].config)["bystander"]
        await SCENARIOS[name](on, steps)
        for fake in on.fakes:
            assert all(entries(reload)["bystander"] == before for reload in fake.reloads)
        return await on.end()

    return run_hurried(whole())


def test_undisturbed_they_end_as_they_should_in_at_least_twelve_steps() -> None:
    counts = {}
    for name, wanted in ENDS.items():
        steps = Steps()

        assert play(name, steps)[:4] == wanted
        counts[name] = len(steps.names)
    assert min(counts["retire"], counts["roll back"]) >= 12


@pytest.mark.parametrize("is_done_first", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_it_may_die_at_every_step_and_ends_the_same(name: str, is_done_first: bool) -> None:
    whole = Steps()
    wanted = play(name, whole)
    # Some of them publications of a snapshot, one a second.
    for number in range(len(whole.names)):
        assert play(name, Steps(number, is_done_first=is_done_first)) == wanted, (number, whole.names)

"""What the life of an experiment asks of model servers: begun once, proved by their own status, no bystander touched."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest

from bandits.life import ArmFailed, ArmWarmed, AwaitIdle, Command, Event, Try, Unload, Unloaded, UnloadRefused, Warm
from router.config.document import validate
from router.config.experiment_sections import Guardrail
from router.config.settings import Backend
from router.control.dossier import ArmCost
from router.control.lifecycle import Lifecycle
from router.control.model_servers import ModelServers
from router.store.memory import MemoryStore
from serving import wire
from serving.errors import BackendError, Code, DeadlineExceeded, Unavailable
from serving.upstream import GrpcUpstream, Upstream
from tests.router.control.servers import CONFIG, DISK, Direct, entries, fake_tfs, signature, versions
from tests.router.control.world import BACKEND, seeded, spec
from tests.serving.fake_tfs import FakeTfs
from tests.simulated_loop import run_simulated

# Two sizes suffice for a line: everything beyond takes too long.
WANTED = spec(batching={"latency_ms": 1e-6})
DOSSIER = seeded(WANTED)
WARM_ALL = (Warm(0), Warm(1), Warm(2))
NOW = 1_700_000_000.0

MODELS = {
    "digits": {"base_path": "/models/digits", "versions": [1, 2, 3]},
    "bystander": {"base_path": "/models/bystander", "versions": [7, 8]},
}


def backend(**changes: Any) -> Backend:
    settings = {"target": "tfs:1", "price_usd_per_hour": 2.0, "control": "managed", "models": MODELS}
    return validate(Backend, {**settings, **changes})


FENCE = 1


class Bench:
    """A life cycle over replicas. Mutable: the events so far, which experiments need an arm, too, and which
    backends a worker does not reach."""

    def __init__(
        self, tasks: asyncio.TaskGroup, upstreams: Mapping[str, Sequence[Upstream]], backends: Mapping[str, Backend]
    ) -> None:
        self.users: list[str] = []
        self.away: set[str] = set()
        self.events: list[Event] = []
        self.store = MemoryStore()
        self.tasks = tasks
        replicas = {name: tuple(some) for name, some in upstreams.items()}
        self.servers = ModelServers(backends=backends, upstreams=replicas, store=self.store)
        self.lifecycle = Lifecycle(
            servers=self.servers,
            upstreams=replicas,
            tasks=tasks,
            unix_now=lambda: NOW,
            users=lambda _experiment, _target: self.users,
            is_away=lambda name: name in self.away,
        )

    async def begin(self) -> None:
        """Take over what the backends are to serve, and look after them."""

        async def confirm() -> int | None:
            return FENCE

        await self.store.open()
        await self.store.lease("the test", NOW, 1e9)
        await self.servers.desired.take_over(FENCE, (), ())
        self.tasks.create_task(self.servers.run(confirm))

    def pursue(self, *commands: Command) -> None:
        """Ask, as the leader does at every refresh."""
        self.lifecycle.pursue(DOSSIER, commands)

    async def told(self, count: int, *commands: Command) -> list[Event]:
        """Ask for the same again and again until so many events have come; return all so far."""
        while len(self.events) < count:
            self.pursue(*commands)
            await asyncio.sleep(0.01)
            self.events += self.lifecycle.take_events("digits")
        return self.events

    @property
    def costs(self) -> set[str]:
        """The arms that were calibrated."""
        return set(self.lifecycle.costs.get("digits", {}))


Play = Callable[[Bench], Awaitable[None]]


async def play(scenario: Play, *upstreams: Upstream, of: Backend | None = None) -> None:
    """Play a scenario, and leave what is still under way behind."""
    try:
        async with asyncio.TaskGroup() as tasks:
            on = Bench(tasks, {BACKEND: upstreams}, {BACKEND: of or backend()})
            await on.begin()
            await scenario(on)
            raise _Done
    except* _Done:
        pass


class _Done(Exception):
    """The scenario is over."""


def run(scenario: Play, *upstreams: Upstream, of: Backend | None = None) -> None:
    """Play a scenario in virtual time."""
    run_simulated(play(scenario, *upstreams, of=of))


def now_s() -> float:
    return asyncio.get_running_loop().time()


def warmed(*arms: int) -> set[Event]:
    return {ArmWarmed(NOW, arm) for arm in arms}


async def on_grpc(scenario: Play, *fakes: FakeTfs) -> None:
    """Play a scenario against stand-ins that listen on real ports."""
    async with AsyncExitStack() as stack:
        upstreams = []
        for fake in fakes:
            await stack.enter_async_context(fake)
            upstreams.append(GrpcUpstream(fake.address))
            stack.push_async_callback(upstreams[-1].close)
        await play(scenario, *upstreams)


CALIBRATED = DOSSIER.with_changes(costs={f"v{n}": ArmCost(0.001, 0.001) for n in (1, 2, 3)}, reference_rows=4)


def tried(*upstreams: Upstream) -> tuple[Event, ...]:
    """What comes of trying v2, calibrated before, with calls that may take 80 ms."""
    guarded = CALIBRATED.spec.model_copy(update={"guardrails": (Guardrail(metric="backend_p99_ms", max=80),)})
    found: list[Event] = []

    async def scenario(on: Bench) -> None:
        while not found:
            on.lifecycle.pursue(msgspec.structs.replace(CALIBRATED, spec=guarded), [Try(1)])
            await asyncio.sleep(0.01)
            found.extend(on.lifecycle.take_events("digits"))

    run(scenario, *upstreams)
    return tuple(found)


def test_quarantined_arm_that_answers_on_every_replica_is_well_again() -> None:
    fakes = fake_tfs(), fake_tfs()

    assert tried(*(Direct(fake) for fake in fakes)) == (ArmWarmed(NOW, 1),)
    assert [fake.predicted for fake in fakes] == [[(2, 4)] * 5] * 2


def test_quarantined_arm_that_fails_anywhere_stays_where_it_is() -> None:
    away = Direct(fake_tfs(), "tfs:2")
    away.fails = Unavailable("tfs:2 is away")

    assert tried(Direct(fake_tfs()), away) == (ArmFailed(NOW, 1, "tfs:2 is away"),)


def test_arm_that_was_never_calibrated_warms_when_it_is_tried() -> None:
    async def scenario(on: Bench) -> None:
        assert await on.told(1, Try(1)) == [ArmWarmed(NOW, 1)]
        assert on.costs == {"v2"}

    run(scenario, Direct(fake_tfs()))


async def test_arms_warm_and_losers_unload_on_a_real_server() -> None:
    fakes = fake_tfs(), fake_tfs()
    before = [entries(fake.config)["bystander"] for fake in fakes]

    async def scenario(on: Bench) -> None:
        assert set(await on.told(3, *WARM_ALL)) == warmed(0, 1, 2)
        assert on.costs == {"v1", "v2", "v3"}
        on.events = []
        assert set(await on.told(2, Unload(0), Unload(2))) == {Unloaded(NOW, 0), Unloaded(NOW, 2)}

    await on_grpc(scenario, *fakes)

    for fake, bystander in zip(fakes, before, strict=True):
        assert fake.serves("digits") == [2]
        assert fake.serves("bystander") == [7, 8]
        assert {entries(reload)["bystander"] for reload in fake.reloads} == {bystander}
        assert versions(fake.reloads[-1], "digits") == (2,)


def test_version_that_is_missing_fails_with_what_the_server_says_and_costs_the_others_nothing() -> None:
    async def scenario(on: Bench) -> None:
        events = await on.told(3, *WARM_ALL)
        assert warmed(0, 1) <= set(events)
        (failed,) = [event for event in events if isinstance(event, ArmFailed)]
        assert failed.arm == 2
        assert "tfs-a/digits/3 is not AVAILABLE on every replica after 60 s: not listed; is it below" in failed.why
        assert on.costs == {"v1", "v2"}

    fake = fake_tfs()
    fake.disk = {**DISK, "digits": (1, 2)}
    fake.restart()
    run(scenario, Direct(fake))


def test_version_that_can_not_be_loaded_is_told_soon() -> None:
    async def scenario(on: Bench) -> None:
        events = await on.told(3, *WARM_ALL)
        (failed,) = [event for event in events if isinstance(event, ArmFailed)]
        assert failed.arm == 1
        assert failed.why.endswith("END UNKNOWN: bad graph")
        assert now_s() < 5.0

    run(scenario, Direct(fake_tfs(broken=[("digits", 2)])))


def test_version_that_is_loaded_on_one_replica_alone_is_waited_for() -> None:
    late = fake_tfs(polls=False)
    late.states["digits"][3] = (wire.LOADING, "")

    async def scenario(on: Bench) -> None:
        on.pursue(*WARM_ALL)
        await asyncio.sleep(20.0)
        assert on.lifecycle.take_events("digits") == []
        late.poll()
        assert set(await on.told(3, *WARM_ALL)) == warmed(0, 1, 2)

    run(scenario, Direct(fake_tfs()), Direct(late, "tfs:2"))


def test_arm_with_another_signature_is_refused_in_words() -> None:
    async def scenario(on: Bench) -> None:
        events = await on.told(3, *WARM_ALL)
        (failed,) = [event for event in events if isinstance(event, ArmFailed)]
        assert failed.arm == 2
        assert "tfs-a/digits/3 has other signatures than control" in failed.why
        assert on.costs == {"v1", "v2"}

    run(scenario, Direct(fake_tfs(), per_version={3: signature("pixels")}))


def test_arm_whose_calibration_fails_is_told_and_the_others_are_warm() -> None:
    fake = fake_tfs()
    fake.refusals[2] = (Code.INTERNAL, "out of memory")

    async def scenario(on: Bench) -> None:
        events = await on.told(3, *WARM_ALL)
        assert warmed(0, 2) <= set(events)
        assert ArmFailed(NOW, 1, "calibration failed: out of memory") in events

    run(scenario, Direct(fake))


def test_control_that_the_server_has_not_loaded_is_loaded_first() -> None:
    # A server that was started for the bystander alone.
    config = CONFIG.replace("versions: 1 versions: 2 versions: 3", "versions: 3")

    async def scenario(on: Bench) -> None:
        assert set(await on.told(3, *WARM_ALL)) == warmed(0, 1, 2)

    fake = fake_tfs(config)
    run(scenario, Direct(fake))

    assert fake.serves("digits") == [1, 2, 3]


def test_without_control_no_arm_can_be_compared() -> None:
    fake = fake_tfs(broken=[("digits", 1)])

    async def scenario(on: Bench) -> None:
        events = await on.told(3, *WARM_ALL)
        assert {type(event) for event in events} == {ArmFailed}
        assert all("tfs-a/digits/1" in event.why for event in events if isinstance(event, ArmFailed))

    run(scenario, Direct(fake))


def test_what_failed_is_tried_again_after_a_while_and_not_at_once() -> None:
    upstream = Direct(fake_tfs())
    upstream.fails = Unavailable("tfs:1 is away")

    async def scenario(on: Bench) -> None:
        await on.told(3, *WARM_ALL)
        told_at = now_s()
        upstream.fails = None
        assert warmed(0, 1, 2) <= set(await on.told(6, *WARM_ALL))
        assert 5.0 <= now_s() - told_at < 6.0

    run(scenario, upstream)


def test_backend_that_is_away_fails_its_own_arms_only() -> None:
    arms = [*WANTED.model_dump(mode="json")["arms"][:2], {"name": "v9", "backend": "tfs-b", "version": 3}]
    away = Direct(fake_tfs(), "tfs-b:1")
    away.fails = Unavailable("tfs-b:1 is away")
    wanted = validate(type(WANTED), {**WANTED.model_dump(mode="json"), "arms": arms})
    dossier = seeded(wanted)

    events: list[Event] = []

    async def scenario() -> None:
        nonlocal events
        async with asyncio.TaskGroup() as tasks:
            backends = {BACKEND: backend(), "tfs-b": backend()}
            on = Bench(tasks, {BACKEND: [Direct(fake_tfs())], "tfs-b": [away]}, backends)
            await on.begin()
            on.lifecycle.pursue(dossier, WARM_ALL)
            while len(events) < 3:
                await asyncio.sleep(0.1)
                events += on.lifecycle.take_events("digits")
            raise _Done

    async def whole() -> None:
        with contextlib.suppress(BaseExceptionGroup):
            await scenario()

    run_simulated(whole())
    told = set(events)

    assert warmed(0, 1) < told
    (failed,) = told - warmed(0, 1)
    assert isinstance(failed, ArmFailed)
    assert failed.why == "tfs-b/digits/3 is not AVAILABLE on every replica after 5 s: no answer"


def test_arm_is_warm_only_when_all_workers_reach_its_backend() -> None:
    async def scenario(on: Bench) -> None:
        on.away = {BACKEND}
        on.pursue(*WARM_ALL)
        await asyncio.sleep(3.0)
        assert on.lifecycle.take_events("digits") == []

        on.away = set()
        assert await on.told(3, *WARM_ALL) == [ArmWarmed(NOW, arm) for arm in range(3)]

    run(scenario, Direct(fake_tfs()))


def test_worker_that_never_reaches_a_backend_holds_nobody_up_for_long() -> None:
    async def scenario(on: Bench) -> None:
        on.away = {BACKEND}
        began = asyncio.get_running_loop().time()
        assert await on.told(3, *WARM_ALL) == [ArmWarmed(NOW, arm) for arm in range(3)]
        assert asyncio.get_running_loop().time() - began < 10.0

    run(scenario, Direct(fake_tfs()))


def test_command_is_begun_once_however_often_it_is_asked_for() -> None:
    fake = fake_tfs(polls=False)

    async def scenario(on: Bench) -> None:
        for _ in range(100):
            on.pursue(Unload(2), AwaitIdle(1))
            await asyncio.sleep(0.01)
        fake.poll()
        assert await on.told(1, Unload(2)) == [Unloaded(NOW, 2)]

    run(scenario, Direct(fake))

    assert len(fake.reloads) == 1


def test_unload_is_told_only_when_every_replica_says_end() -> None:
    quick, slow = fake_tfs(), fake_tfs(polls=False)

    async def scenario(on: Bench) -> None:
        on.pursue(Unload(2))
        await asyncio.sleep(10.0)
        assert on.lifecycle.take_events("digits") == []
        assert (quick.serves("digits"), slow.serves("digits")) == ([1, 2], [1, 2, 3])
        slow.poll()
        assert await on.told(1, Unload(2)) == [Unloaded(NOW, 2)]

    run(scenario, Direct(quick), Direct(slow, "tfs:2"))


def test_replica_without_an_answer_proves_nothing() -> None:
    second = Direct(fake_tfs(), "tfs:2")

    async def scenario(on: Bench) -> None:
        second.fails = DeadlineExceeded("tfs:2 did not answer")
        assert await on.told(1, Unload(2)) == [UnloadRefused(NOW, 2, "tfs:2: tfs:2 did not answer")]
        await asyncio.sleep(10.0)
        on.pursue(Unload(2))
        assert on.lifecycle.take_events("digits") == []
        # It answers again, and was started anew meanwhile: the version is loaded there, and is unloaded.
        second.fails = None
        assert second.fake.serves("digits") == [1, 2, 3]
        assert (await on.told(2, Unload(2)))[-1] == Unloaded(NOW, 2)
        assert second.fake.serves("digits") == [1, 2]

    run(scenario, Direct(fake_tfs()), second)


@pytest.mark.parametrize(
    "error", [Unavailable("tfs:1 is away"), BackendError(Code.INVALID_ARGUMENT, "Illegal config")], ids=repr
)
def test_reload_that_fails_is_told_and_tried_again(error: Unavailable | BackendError) -> None:
    upstream = Direct(fake_tfs())

    async def scenario(on: Bench) -> None:
        await asyncio.sleep(2.0)
        upstream.fails, upstream.only = error, wire.RELOAD_CONFIG
        (refused,) = await on.told(1, Unload(2))
        assert isinstance(refused, UnloadRefused)
        assert refused.why.startswith("tfs:1: ")
        assert refused.why.endswith(error.message)
        upstream.fails = None
        assert (await on.told(2, Unload(2)))[-1] == Unloaded(NOW, 2)

    run(scenario, upstream)


def test_last_version_of_a_model_is_never_unloaded() -> None:
    fake = fake_tfs()

    async def scenario(on: Bench) -> None:
        first = await on.told(3, *(Unload(arm) for arm in range(3)))
        (refused,) = [event for event in first if isinstance(event, UnloadRefused)]
        assert refused.why.startswith("model digits must keep a version,")

    run(scenario, Direct(fake))

    assert len(fake.serves("digits")) == 1


def test_observed_backend_is_never_reloaded() -> None:
    upstream = Direct(fake_tfs())

    async def scenario(on: Bench) -> None:
        assert set(await on.told(3, *WARM_ALL)) == warmed(0, 1, 2)
        on.events = []
        (refused,) = await on.told(1, Unload(2))
        assert isinstance(refused, UnloadRefused)

    run(scenario, upstream, of=backend(control="observed", models={}))

    assert wire.RELOAD_CONFIG not in upstream.methods
    assert upstream.fake.serves("digits") == [1, 2, 3]


def test_label_waits_until_its_version_is_loaded() -> None:
    fake = fake_tfs(CONFIG.replace("versions: 1 versions: 2 versions: 3", "versions: 1"))
    labels = {"stable": 1, "canary": 3}
    of = backend(models={**MODELS, "digits": {**MODELS["digits"], "labels": labels}})

    async def scenario(on: Bench) -> None:
        assert set(await on.told(3, *WARM_ALL)) == warmed(0, 1, 2)

    run(scenario, Direct(fake), of=of)

    given = [dict(reload.model_config_list.config[0].version_labels) for reload in fake.reloads]
    assert given[0] == {"stable": 1}
    assert given[-1] == labels


def test_fault_of_ours_is_told_and_does_not_end_the_leader() -> None:
    async def scenario(on: Bench) -> None:
        on.lifecycle._users = lambda _experiment, _target: [][0]
        (event,) = await on.told(1, Unload(2))
        assert isinstance(event, UnloadRefused)
        assert event.why == "internal error (IndexError)"

    run(scenario, Direct(fake_tfs()))

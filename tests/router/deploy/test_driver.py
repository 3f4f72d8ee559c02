"""A deployment is taken through its steps by whoever leads, from any of them, and one that fails is cleaned up."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog

from router.config.document import validate
from router.config.settings import Backend
from router.control.dossier import Dossier
from router.control.model_servers import ModelServers
from router.control.shadows import ShadowBook
from router.deploy.comparing import Comparing
from router.deploy.deployment import STEPS, Deployment, decode, encode
from router.deploy.driver import Driver
from router.deploy.publishing import Publishing
from router.deploy.refusals import DeployRefused
from router.shadow.sums import ShadowSums
from router.snapshot import ShadowRoute
from router.store import Record, StoreUnavailable
from router.store.memory import MemoryStore
from serving import wire
from serving.comparison import Difference
from serving.errors import BackendError, Code
from serving.upstream import Servable
from tests.hurried_loop import run_hurried
from tests.router.control.servers import DISK, Direct, fake_tfs, signature
from tests.router.control.world import EPOCH, seeded, spec
from tests.router.deploy.test_deployment import BEGUN
from tests.serving.fake_tfs import FakeTfs
from tests.turpin import models
from turpin.packing import seal

NAME = "tfs-a"
MODELS = {
    "digits": {"base_path": "/models/digits", "versions": [1, 2, 3]},
    "bystander": {"base_path": "/models/bystander", "versions": [7, 8]},
}
CONTROL = Servable(NAME, "digits", 1)
NOW = 1_000.0
SHADOW = {"requests": 20, "min_agreement": 0.9, "timeout": "1m"}


class Experiment:
    """The experiment that is joined. Mutable: its arms, and why it takes no more."""

    def __init__(self) -> None:
        self.arms = [CONTROL]
        self.refusal = ""
        self.joined = 0

    async def control(self, deployment: Deployment) -> Servable:
        return CONTROL

    async def join(self, deployment: Deployment) -> None:
        if self.refusal:
            raise DeployRefused(self.refusal)
        target = Servable(deployment.backend, deployment.model, deployment.version)
        if target not in self.arms:
            self.arms.append(target)
            self.joined += 1

    async def experiment_of(self, deployment: Deployment) -> Dossier:
        return seeded(spec())

    async def needs(self, deployment: Deployment) -> bool:
        return Servable(deployment.backend, deployment.model, deployment.version) in self.arms


class Copied(ShadowBook):
    """Has twenty copies answered at once, where they are asked for. Mutable: how far they agree; None: nobody answers."""

    agreement: float | None = 1.0

    def __init__(self) -> None:
        super().__init__(NOW)

    def attempt(self, experiment: str, route: ShadowRoute, now: float) -> None:
        super().attempt(experiment, route, now)
        if self.agreement is not None:
            sums = ShadowSums(requests=20)
            for _ in range(20):
                sums.compare({"scores": Difference(self.agreement)}, 0.01, 0.01)
            self.hear({"a": {EPOCH: {route.key: sums}}}, [EPOCH])


class Bench:
    """One backend with a publish folder. Mutable: who leads, the time, and what the parts hold."""

    def __init__(self, folder: Path, *upstreams: Direct) -> None:
        self.settings = validate(
            Backend,
            {
                "target": "tfs:1",
                "price_usd_per_hour": 1.0,
                "control": "managed",
                "models": MODELS,
                "publish": str(folder / "publish"),
            },
        )
        self.upstreams = {NAME: upstreams}
        self.place = folder / "publish" / "digits" / "4"
        self.store, self.experiment = MemoryStore(), Experiment()
        self.book = Copied()
        self.fence: int | None = 1
        self.now = NOW
        self.begun = msgspec.structs.replace(
            BEGUN, version=4, arm="v4", digest=seal(models.write_model(self.place)).digest, changed_at=NOW
        )

    async def confirm(self) -> int | None:
        return self.fence

    def gateway(self, tasks: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        """Start a control process, as far as deploying goes."""
        servers = ModelServers(backends={NAME: self.settings}, upstreams=self.upstreams, store=self.store)
        driver = Driver(
            store=self.store,
            servers=servers,
            upstreams=self.upstreams,
            publishing=Publishing({NAME: self.settings}, {NAME: {"digits": "/models/digits"}}),
            experiments=self.experiment,
            comparing=Comparing(book=self.book, experiments=self.experiment, unix_now=lambda: self.now),
            confirm=self.confirm,
            unix_now=lambda: self.now,
        )

        async def run() -> None:
            await servers.desired.take_over(1, (), ())
            async with asyncio.TaskGroup() as inner:
                inner.create_task(servers.run(self.confirm))
                inner.create_task(driver.run())

        return [tasks.create_task(run())]

    async def found(self) -> Deployment:
        (record,) = await self.store.deployments()
        return decode(record.document)

    async def over(self) -> Deployment:
        """Wait for the end."""
        async with asyncio.timeout(600.0):
            while not (found := await self.found()).is_over:  # noqa: ASYNC110 the store tells nobody
                await asyncio.sleep(0.1)
        return found


class _Done(Exception):
    """The scenario is over."""


def run(on: Bench, scenario: Callable[[Bench], Awaitable[None]], begun: Deployment | None = None) -> None:
    async def play() -> None:
        await on.store.open()
        await on.store.lease("the test", 0.0, 1e9)
        first = begun or on.begun
        await on.store.save_deployment(first.key, encode(first), 0, None)
        try:
            async with asyncio.TaskGroup() as tasks:
                on.gateway(tasks)
                await scenario(on)
                raise _Done
        except* _Done:
            pass

    run_hurried(play())


def server() -> FakeTfs:
    """A model server on whose disk version 4 lies."""
    fake = fake_tfs()
    fake.disk = {**DISK, "digits": (1, 2, 3, 4)}
    return fake


@pytest.mark.parametrize("step", STEPS)
def test_deployment_reaches_its_end_from_any_step(tmp_path: Path, step: str) -> None:
    fakes = (server(), server())
    on = Bench(tmp_path, *(Direct(fake, f"tfs:{place}") for place, fake in enumerate(fakes)))
    begun = msgspec.structs.replace(on.begun, step=step)

    async def scenario(on: Bench) -> None:
        over = await on.over()

        assert (over.state, over.step, over.error) == ("done", "join", "")

    run(on, scenario, begun)
    assert on.experiment.joined == 1
    if step in ("publish", "load", "check", "warm"):
        assert [fake.serves("digits") for fake in fakes] == [[1, 2, 3, 4]] * 2
        assert [fake.serves("bystander") for fake in fakes] == [[7, 8]] * 2


def test_version_is_called_before_it_is_an_arm(tmp_path: Path) -> None:
    upstream = Direct(server())
    on = Bench(tmp_path, upstream)

    async def scenario(on: Bench) -> None:
        await on.over()

    run(on, scenario)
    assert upstream.methods.count(wire.PREDICT) == 3


def test_failed_load_is_told_in_the_server_s_words_and_cleaned_up(tmp_path: Path) -> None:
    fake = fake_tfs()
    fake.disk = {**DISK, "digits": (1, 2, 3, 4)}
    fake.broken = {("digits", 4)}
    on = Bench(tmp_path, Direct(fake))

    async def scenario(on: Bench) -> None:
        over = await on.over()

        assert (over.state, over.step) == ("failed", "load")
        assert "bad graph" in over.error

    run(on, scenario)
    assert not on.place.exists()
    assert (fake.serves("digits"), fake.serves("bystander"), on.experiment.arms) == ([1, 2, 3], [7, 8], [CONTROL])


def test_other_signature_is_refused_unloaded_and_withdrawn(tmp_path: Path) -> None:
    fake = server()
    on = Bench(tmp_path, Direct(fake, per_version={4: signature("pixels")}))

    async def scenario(on: Bench) -> None:
        over = await on.over()

        assert (over.state, over.step) == ("failed", "check")
        assert "other signatures than control" in over.error

    run(on, scenario)
    assert not on.place.exists()
    assert (fake.serves("digits"), on.experiment.arms) == ([1, 2, 3], [CONTROL])


@pytest.mark.parametrize(
    ("code", "state"), [(Code.INTERNAL, "failed"), (Code.UNIMPLEMENTED, "failed"), (Code.INVALID_ARGUMENT, "done")]
)
def test_version_of_which_no_call_can_run_is_refused(tmp_path: Path, code: Code, state: str) -> None:
    upstream = Direct(server())
    upstream.fails, upstream.only = BackendError(code, "no kernel"), wire.PREDICT
    on = Bench(tmp_path, upstream)

    async def scenario(on: Bench) -> None:
        over = await on.over()

        # Zeros are a guess; a model that does not like them may be well.
        assert over.state == state
        assert ("no kernel" in over.error) == (state == "failed")

    run(on, scenario)


def test_experiment_that_takes_no_arm_is_left_as_it_was(tmp_path: Path) -> None:
    fake = server()
    on = Bench(tmp_path, Direct(fake))
    on.experiment.refusal = "the experiment is concluded"

    async def scenario(on: Bench) -> None:
        over = await on.over()

        assert (over.state, over.step, over.error) == ("failed", "join", "the experiment is concluded")

    run(on, scenario)
    assert (on.place.exists(), fake.serves("digits")) == (False, [1, 2, 3])


def test_version_that_is_an_arm_is_not_cleaned_up(tmp_path: Path) -> None:
    fake = server()
    on = Bench(tmp_path, Direct(fake))
    on.experiment.arms.append(Servable(NAME, "digits", 4))
    begun = msgspec.structs.replace(on.begun, step="join", state="failing", error="why")

    async def scenario(on: Bench) -> None:
        assert (await on.over()).state == "failed"

    run(on, scenario, begun)
    assert on.place.exists()


def test_upload_whose_gateway_died_is_given_up(tmp_path: Path) -> None:
    on = Bench(tmp_path, Direct(server()))
    begun = msgspec.structs.replace(on.begun, digest="sha256:" + "0" * 64)

    async def scenario(on: Bench) -> None:
        await asyncio.sleep(5.0)
        assert (await on.found()).state == "running"
        on.now += 11.0
        over = await on.over()

        assert (over.state, over.step) == ("failed", "publish")
        assert "deploy it again" in over.error

    run(on, scenario, begun)
    # What lies there is another version: it is nobody's to remove.
    assert on.place.exists()


def test_gateway_that_does_not_lead_does_nothing(tmp_path: Path) -> None:
    fake = server()
    on = Bench(tmp_path, Direct(fake))
    on.fence = None

    async def scenario(on: Bench) -> None:
        await asyncio.sleep(30.0)

        assert await on.found() == on.begun

    run(on, scenario)
    assert fake.serves("digits") == [1, 2, 3]


@pytest.mark.parametrize("is_alike", [True, False], ids=["alike", "other"])
def test_version_is_compared_before_it_is_an_arm_and_unloaded_if_it_differs(tmp_path: Path, is_alike: bool) -> None:
    fake = server()
    on = Bench(tmp_path, Direct(fake))
    on.book.agreement = float(is_alike)

    async def scenario(on: Bench) -> None:
        over = await on.over()

        assert (over.state, over.step) == (("done", "join") if is_alike else ("failed", "shadow"))
        assert over.comparison is not None
        assert (over.comparison["compared"], over.comparison["agreement"]) == (20, float(is_alike))
        assert ("0.9 was asked for" in over.error) == (not is_alike)

    run(on, scenario, msgspec.structs.replace(on.begun, shadow=SHADOW))
    assert (on.place.exists(), on.experiment.joined) == (is_alike, is_alike)
    assert fake.serves("digits") == ([1, 2, 3, 4] if is_alike else [1, 2, 3])


def test_version_that_nobody_asks_for_is_refused_in_time(tmp_path: Path) -> None:
    on = Bench(tmp_path, Direct(server()))
    on.book.agreement = None

    async def scenario(on: Bench) -> None:
        while (await on.found()).step != "shadow":  # noqa: ASYNC110 the store tells nobody
            await asyncio.sleep(0.1)
        await asyncio.sleep(1.0)
        on.now += 61.0
        over = await on.over()

        assert (over.state, over.step) == ("failed", "shadow")
        assert "only 0 of 20 live requests were compared within 1m" in over.error

    run(on, scenario, msgspec.structs.replace(on.begun, shadow=SHADOW))
    assert (on.place.exists(), on.experiment.joined) == (False, 0)


class Counted:
    """Counts steps that leave the process. Mutable: how many there were, and whether the one to end at has come."""

    def __init__(self, end_at: int) -> None:
        self.steps, self.end_at = 0, end_at
        self.has_come = asyncio.Event()

    def step(self) -> None:
        self.steps += 1
        if self.steps == self.end_at:
            self.has_come.set()


class CountedUpstream(Direct):
    """Counts its calls, before and after what they do."""

    def __init__(self, fake: FakeTfs, counted: Counted) -> None:
        super().__init__(fake)
        self.counted = counted

    async def call(self, method: str, body: bytes, timeout_s: float) -> bytes:
        self.counted.step()
        await asyncio.sleep(0)
        answer = await super().call(method, body, timeout_s)
        self.counted.step()
        await asyncio.sleep(0)
        return answer


async def crashed(on: Bench, counted: Counted) -> Deployment:
    """End the control process at the counted step, start another, and wait for the end of the deployment."""
    await on.store.open()
    await on.store.lease("the test", 0.0, 1e9)
    await on.store.save_deployment(on.begun.key, encode(on.begun), 0, None)
    over: Deployment | None = None
    try:
        async with asyncio.TaskGroup() as tasks:
            (first,) = on.gateway(tasks)
            ended = tasks.create_task(on.over())
            come = tasks.create_task(counted.has_come.wait())
            await asyncio.wait((ended, come), return_when=asyncio.FIRST_COMPLETED)
            first.cancel()
            # A process that is gone writes nothing after its successor has read.
            await asyncio.wait((first,))
            on.gateway(tasks)
            over = await ended
            come.cancel()
            raise _Done
    except* _Done:
        pass
    assert over is not None
    return over


@pytest.mark.parametrize("shadow", [None, SHADOW], ids=["", "compared"])
@pytest.mark.parametrize("is_broken", [False, True], ids=["well", "broken"])
def test_process_that_ends_at_any_step_only_delays_the_same_end(
    tmp_path: Path, is_broken: bool, shadow: dict[str, Any] | None
) -> None:
    ends = 0
    while True:
        counted = Counted(ends + 1)
        fake = server()
        fake.broken = {("digits", 4)} if is_broken else ()
        on = Bench(tmp_path / str(ends), CountedUpstream(fake, counted))
        on.begun = msgspec.structs.replace(on.begun, shadow=shadow)

        over = run_hurried(crashed(on, counted))

        assert (over.state, over.error == "") == (("failed", False) if is_broken else ("done", True))
        assert on.experiment.joined == (not is_broken)
        assert fake.serves("digits") == ([1, 2, 3] if is_broken else [1, 2, 3, 4])
        assert fake.serves("bystander") == [7, 8]
        assert on.place.exists() == (not is_broken)
        if not counted.has_come.is_set() or ends == 40:
            break
        ends += 1

    assert ends >= 12


class Away(MemoryStore):
    """Answers nothing about deployments while it is away. Mutable: whether it is, and how often it was asked."""

    is_away = False
    asked = 0

    async def deployments(self) -> list[Record]:
        if self.is_away:
            self.asked += 1
            raise StoreUnavailable("as it was told")
        return await super().deployments()


def test_store_that_is_away_is_said_once(tmp_path: Path) -> None:
    on = Bench(tmp_path, Direct(server()))
    on.store = store = Away()

    async def asked(times: int) -> None:
        async with asyncio.timeout(600.0):
            while store.asked < times:  # noqa: ASYNC110 the driver tells nobody
                await asyncio.sleep(0.1)

    async def scenario(on: Bench) -> None:
        await on.over()
        store.is_away = True
        await asked(5)
        store.is_away = False
        await on.over()
        await asyncio.sleep(5.0)
        store.is_away = True
        await asked(10)

    with structlog.testing.capture_logs() as logs:
        run(on, scenario)
    assert [line["event"] for line in logs].count("deployments wait: the store is away") == 2

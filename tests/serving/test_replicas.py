"""Replicas are found by name, ejected when nobody is there, and get their share again when they are back."""

import asyncio
from collections.abc import Sequence

from serving import wire
from serving.batcher import BatchLimits
from serving.dispatcher import BatchRecord, Dispatcher
from serving.errors import BackendError, Code, DeadlineExceeded, ServingError, Unavailable
from serving.replicas import ASK_S, RESOLVE_S, Pools, Replicas, _resolve
from serving.upstream import Upstream
from tests.serving.replica import V1, Replica, identity, request, values
from tests.simulated_loop import run_simulated

LIMITS = BatchLimits(max_rows=1, max_in_flight=2, queue_rows=10_000, queue_bytes=1 << 30)


class Server(Replica):
    """A replica that can go away or hang. Mutable: how it fails, and how often it was asked."""

    def __init__(self, address: str) -> None:
        super().__init__(address=address)
        self.fails: ServingError | None = None
        self.hangs = False
        self.way_s = 0.0
        self.asked = self.predicted = 0

    async def call(self, method: str, body: bytes, timeout_s: float) -> bytes:
        """Answer, fail or hang, as was said."""
        self.asked += method == wire.GET_MODEL_STATUS
        self.predicted += method == wire.PREDICT
        if self.hangs:
            await asyncio.sleep(timeout_s)
            raise DeadlineExceeded(f"{self.address} did not answer")
        if self.fails is not None:
            raise self.fails
        if method == wire.GET_MODEL_STATUS:
            await asyncio.sleep(self.way_s)
            return b""
        return await super().call(method, body, timeout_s)


class Names:
    """A server of names. Mutable: what it answers."""

    def __init__(self, *addresses: str) -> None:
        self.addresses: Sequence[str] | None = addresses

    async def __call__(self, host: str) -> Sequence[str]:
        if self.addresses is None:
            raise OSError("no answer")
        return self.addresses


class Bench:
    """Replicas and their dispatcher. Mutable: the servers that were connected to, and how many ejections there were."""

    def __init__(self, names: Names) -> None:
        self.servers: dict[str, Server] = {}
        self.ejections = 0
        self.replicas = Replicas(["tfs:8500"], resolve=names, connect=self._connect, on_ejection=self._count)
        self.dispatcher = Dispatcher(
            self.replicas.upstreams, LIMITS, on_batch=self._on_batch, on_unreached=self.replicas.suspect
        )
        self.replicas.tell(self.dispatcher)

    def _connect(self, address: str) -> Upstream:
        self.servers[address] = Server(address)
        return self.servers[address]

    def _on_batch(self, record: BatchRecord) -> None:
        self.replicas.ended(record.replica, is_fault=record.is_replicas_fault, asked=record.servable)

    def _count(self) -> None:
        self.ejections += 1

    async def send(self, count: int) -> list[str]:
        """Send so many requests at once; return where they were answered, or the error's label."""

        async def one(first: int) -> str:
            try:
                deadline = asyncio.get_running_loop().time() + 60.0
                answer = await self.dispatcher.predict(V1, request(first), deadline)
            except ServingError as error:
                return error.label
            assert values(answer) == [first]
            return answer.replica

        async with asyncio.TaskGroup() as tasks:
            sent = [tasks.create_task(one(number)) for number in range(count)]
        return [task.result() for task in sent]


class _Done(Exception):
    """The scenario is over."""


def run(scenario, names: Names) -> None:  # type: ignore[no-untyped-def]  # one of the functions below
    async def play() -> None:
        on = Bench(names)
        try:
            async with on.dispatcher, asyncio.TaskGroup() as tasks:
                await on.replicas.look_up()
                tasks.create_task(on.replicas.run())
                await scenario(on)
                raise _Done
        except* _Done:
            pass

    run_simulated(play())


def test_every_address_of_a_name_is_a_replica_and_gets_its_share() -> None:
    async def scenario(on: Bench) -> None:
        answered = await on.send(300)

        assert {address: answered.count(address) for address in set(answered)} == {
            "10.0.0.1:8500": 100,
            "10.0.0.2:8500": 100,
            "[fd00::3]:8500": 100,
        }

    run(scenario, Names("10.0.0.1", "10.0.0.2", "fd00::3"))


def test_who_sends_is_told_how_far_away_a_replica_is() -> None:
    heard: list[tuple[str, float]] = []

    class Ear:
        def replace(self, upstreams: Sequence[Upstream]) -> None:
            pass

        def admit(self, address: str, *, is_open: bool) -> None:
            pass

        def heard(self, address: str, seconds: float) -> None:
            heard.append((address, round(seconds, 6)))

    async def scenario(on: Bench) -> None:
        on.replicas.tell(Ear())
        on.servers["10.0.0.1:8500"].way_s = 0.02
        on.servers["10.0.0.2:8500"].hangs = True
        await asyncio.sleep(1.1)

    run(scenario, Names("10.0.0.1", "10.0.0.2"))

    assert heard == [("10.0.0.1:8500", 0.02)] * 2


def test_new_address_is_used_and_one_that_is_gone_is_left_when_it_is_sure() -> None:
    names = Names("10.0.0.1", "10.0.0.2")

    async def scenario(on: Bench) -> None:
        names.addresses = ("10.0.0.1", "10.0.0.3")
        await asyncio.sleep(RESOLVE_S + 0.1)
        assert set(await on.send(90)) == {"10.0.0.1:8500", "10.0.0.2:8500", "10.0.0.3:8500"}

        await asyncio.sleep(2 * RESOLVE_S)
        assert set(await on.send(90)) == {"10.0.0.1:8500", "10.0.0.3:8500"}

    run(scenario, names)


def test_names_that_are_not_answered_change_nothing() -> None:
    names = Names("10.0.0.1", "10.0.0.2")

    async def scenario(on: Bench) -> None:
        names.addresses = None
        await asyncio.sleep(100.0)

        assert set(await on.send(90)) == {"10.0.0.1:8500", "10.0.0.2:8500"}

    run(scenario, names)


def test_dead_replica_is_ejected_by_the_first_call_that_finds_nobody_and_comes_back() -> None:
    async def scenario(on: Bench) -> None:
        dead = on.servers["10.0.0.2:8500"]
        dead.fails = Unavailable("connection refused")
        answered = await on.send(100)
        assert answered.count("unavailable") <= LIMITS.max_in_flight
        assert dead.predicted <= LIMITS.max_in_flight
        await asyncio.sleep(0.1)
        assert set(await on.send(100)) == {"10.0.0.1:8500"}
        assert on.ejections == 1

        dead.fails = None
        await asyncio.sleep(2.0)
        assert set(await on.send(100)) == {"10.0.0.1:8500", "10.0.0.2:8500"}

    run(scenario, Names("10.0.0.1", "10.0.0.2"))


def test_second_try_never_meets_the_replica_that_was_not_there() -> None:
    async def scenario(on: Bench) -> None:
        dead = on.servers["10.0.0.2:8500"]
        dead.fails = Unavailable("connection refused")
        await on.send(2 * LIMITS.max_in_flight)
        before = dead.predicted

        # More than the other has room for, and before anybody has asked.
        assert set(await on.send(50)) == {"10.0.0.1:8500"}
        assert dead.predicted == before

    run(scenario, Names("10.0.0.1", "10.0.0.2"))


def test_there_is_another_for_whoever_met_a_dead_replica_also_when_it_was_ejected_meanwhile() -> None:
    async def scenario(on: Bench) -> None:
        assert on.dispatcher.has_another()
        on.servers["10.0.0.2:8500"].fails = Unavailable("connection refused")
        await asyncio.sleep(1.0)
        assert on.replicas.is_out("10.0.0.2:8500")
        assert on.dispatcher.has_another()

        on.servers["10.0.0.1:8500"].fails = Unavailable("connection refused")
        await on.send(1)
        assert not on.dispatcher.has_another()

    run(scenario, Names("10.0.0.1", "10.0.0.2"))


def test_hung_replica_is_ejected_and_whoever_waits_there_is_told_in_time_to_go_elsewhere() -> None:
    async def scenario(on: Bench) -> None:
        on.servers["10.0.0.2:8500"].hangs = True
        began = asyncio.get_running_loop().time()
        answered = await on.send(100)
        told_s = asyncio.get_running_loop().time() - began

        assert answered.count("unavailable") == LIMITS.max_in_flight
        assert told_s < 1.2
        assert set(await on.send(100)) == {"10.0.0.1:8500"}

    run(scenario, Names("10.0.0.1", "10.0.0.2"))


def test_without_any_replica_requests_are_refused_at_once() -> None:
    async def scenario(on: Bench) -> None:
        for server in on.servers.values():
            server.fails = Unavailable("connection refused")
        await asyncio.sleep(1.0)
        began = asyncio.get_running_loop().time()

        assert set(await on.send(100)) == {"unavailable"}
        assert asyncio.get_running_loop().time() - began < 0.05

    run(scenario, Names("10.0.0.1", "10.0.0.2"))


def test_however_long_all_were_away_the_first_that_is_back_is_used_within_two_questions() -> None:
    async def scenario(on: Bench) -> None:
        for server in on.servers.values():
            server.fails = Unavailable("connection refused")
        await asyncio.sleep(120.0)
        assert not on.replicas.is_any_in

        on.servers["10.0.0.2:8500"].fails = None
        await asyncio.sleep(2 * ASK_S)

        assert set(await on.send(100)) == {"10.0.0.2:8500"}

    run(scenario, Names("10.0.0.1", "10.0.0.2"))


def test_those_in_use_are_without_the_ejected_while_there_are_others() -> None:
    def addresses(pools: Pools) -> set[str]:
        return {upstream.address for upstream in pools["tfs"]}

    async def scenario(on: Bench) -> None:
        pools = Pools({"tfs": on.replicas})
        both = addresses(pools)
        on.servers["10.0.0.1:8500"].fails = Unavailable("connection refused")
        await asyncio.sleep(1.0)
        assert (addresses(pools), addresses(pools.in_use())) == (both, {"10.0.0.2:8500"})

        on.servers["10.0.0.2:8500"].fails = Unavailable("connection refused")
        await asyncio.sleep(1.0)
        assert addresses(pools.in_use()) == both

    run(scenario, Names("10.0.0.1", "10.0.0.2"))


def test_server_that_answers_with_errors_is_not_ejected() -> None:
    async def scenario(on: Bench) -> None:
        # What TF Serving says when its own queue is full has the same code as nobody there.
        full = on.servers["10.0.0.2:8500"]
        full.answer = _full
        await on.send(100)
        await asyncio.sleep(5.0)

        assert on.ejections == 0

    def _full(_: wire.Message) -> bytes:
        raise Unavailable("The batch scheduling queue to which this task was submitted is full")

    run(scenario, Names("10.0.0.1", "10.0.0.2"))


def _broken(_: wire.Message) -> bytes:
    raise BackendError(Code.INTERNAL, "CUDA error: an illegal memory access was encountered")


def test_replica_whose_calls_fail_is_ejected_though_it_answers_questions_and_is_tried_again() -> None:
    async def scenario(on: Bench) -> None:
        sick = on.servers["10.0.0.2:8500"]
        sick.answer = _broken
        answered = await on.send(200)
        assert on.ejections == 1
        # The eighth is told, as all who wait there, that others may answer.
        assert 7 <= answered.count("backend") < 30
        assert set(await on.send(100)) == {"10.0.0.1:8500"}

        sick.answer = identity
        await asyncio.sleep(2.0)
        assert set(await on.send(100)) == {"10.0.0.1:8500", "10.0.0.2:8500"}

    run(scenario, Names("10.0.0.1", "10.0.0.2"))


def test_model_that_fails_everywhere_ejects_no_replica() -> None:
    async def scenario(on: Bench) -> None:
        for server in on.servers.values():
            server.answer = _broken
        await on.send(200)

        assert on.ejections == 0

    run(scenario, Names("10.0.0.1", "10.0.0.2"))


async def test_addresses_of_this_machine_are_one_replica() -> None:
    assert await _resolve("localhost") == ["127.0.0.1"]

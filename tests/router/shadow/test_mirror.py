"""Copies go out after the answer, as often as their share says, and nothing that becomes of one reaches a client."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from router.decisions import Mode
from router.egress import Egress
from router.predict import Context, Reply
from router.shadow import mirror
from router.shadow.mirror import Mirror
from router.shadow.sums import ShadowSums
from router.snapshot import PARTS, ShadowRoute
from serving import wire
from serving.batcher import BatchLimits
from serving.calls import BatchRecord
from serving.dispatcher import Dispatcher
from serving.errors import BackendError, Code, DeadlineExceeded, Unavailable
from tests.router.samples import BACKEND, DEADLINE, EPOCH, MODEL, V2, Bench, bench, body, counted, snapshot
from tests.serving.replica import CALL_S, Replica, identity
from tests.simulated_loop import run_simulated

OTHER = "tfs-b"
NAME = "digits-2026"


def route(**changes: Any) -> ShadowRoute:
    made: dict[str, Any] = {
        "name": "v2",
        "backend": BACKEND,
        "model": MODEL,
        "version": 2,
        "parts": PARTS,
        "against": (),
        "max_in_flight": 4,
        "timeout_s": 1.0,
        "tolerance": 0.01,
        "price_usd_per_hour": 3.6,
    }
    return ShadowRoute(**made | changes)


class Stage:
    """A worker's predictor with real dispatchers. Mutable: what was charged, and recorded of batches."""

    def __init__(self, on: Bench, mirror_: Mirror, records: list[BatchRecord], charged: list[Any]) -> None:
        self.on, self.mirror, self.records, self.charged = on, mirror_, records, charged
        self.count = 0

    async def ask(self) -> Reply:
        self.count += 1
        return await self.on.predictor.predict(body(), Context(DEADLINE, request_id=self.count.to_bytes(4)))

    def sums(self) -> ShadowSums:
        found = self.mirror.beat(list(self.on.routes.by_model.values())).get(EPOCH, {})
        return next(iter(found.values()), ShadowSums())


def play(
    scenario: Callable[[Stage], Awaitable[None]],
    replica: Replica,
    *routes: ShadowRoute,
    shadow_replica: Replica | None = None,
    max_in_flight: int = 8,
    afterwards: Callable[[Stage], Awaitable[None]] | None = None,
    **changes: Any,
) -> Stage:
    """Play a scenario in which v1 gets every request, and v2 copies."""
    stages: list[Stage] = []

    async def run() -> None:
        records: list[BatchRecord] = []
        charged: list[Any] = []
        clock = asyncio.get_running_loop().time
        limits = BatchLimits(8, max_in_flight, 100, 100_000)
        async with (
            Dispatcher([replica], limits, on_batch=records.append) as first,
            Dispatcher([shadow_replica or replica], limits, on_batch=records.append) as second,
        ):
            on = bench({BACKEND: first, OTHER: second}, [snapshot(PARTS, 0, shadows=routes, **changes)], clock=clock)
            copies = Mirror(
                dispatchers={BACKEND: first, OTHER: second},
                metrics=on.metrics,
                charge=lambda servable, replica, charged_ns, *, is_answered: charged.append(
                    (servable, replica, charged_ns, is_answered)
                ),
                clock=clock,
                egress=Egress({BACKEND: 0.0}),
            )
            on.predictor._mirror = copies
            stages.append(Stage(on, copies, records, charged))
            async with copies:
                await scenario(stages[0])
            if afterwards is not None:
                await afterwards(stages[0])

    run_simulated(run())
    return stages[0]


def version_of(request: wire.Message) -> int:
    return int(request.model_spec.version.value)


async def once(stage: Stage) -> None:
    await stage.ask()
    await asyncio.sleep(10.0)


def test_copy_goes_out_after_the_answer_and_is_compared() -> None:
    replica = Replica()

    async def scenario(stage: Stage) -> None:
        reply = await stage.ask()
        assert [version_of(one) for one in replica.requests] == [1]
        assert (reply.arm, wire.PredictResponse.FromString(reply.body).model_spec.name) == ("v1", MODEL)
        await asyncio.sleep(1.0)

    stage = play(scenario, replica, route())

    assert [version_of(one) for one in replica.requests] == [1, 2]
    sums = stage.sums()
    assert (sums.requests, sums.mirrored, sums.compared, sums.agreed, sums.agreement) == (1, 1, 1, 1, 1.0)
    assert (sums.answered.total_s, sums.shadow.total_s) == pytest.approx((CALL_S, CALL_S))
    assert stage.on.count("turpin_shadow_requests_total", experiment=NAME, arm="v2", result="agreed") == 1


def test_copy_is_paid_for_apart_and_is_nothing_of_the_arms() -> None:
    stage = play(once, Replica(), route())

    cost_usd = CALL_S * 3.6 / 3600
    assert stage.sums().cost_pico_usd == pytest.approx(cost_usd * 1e12)
    assert stage.charged == [(V2, "replica:0", pytest.approx(CALL_S * 1e9), True)]
    costs = [
        stage.on.count("turpin_cost_usd_total", experiment=NAME, arm="v2", kind=kind) for kind in ("busy", "shadow")
    ]
    assert costs == [0, pytest.approx(cost_usd)]
    # One decision, of v1; and its cost is that of its own call.
    ((cell, fields),) = counted(stage.on).items()
    assert cell.arm == 0
    assert (fields["decisions"], fields["busy_ns"]) == (1, CALL_S * 1e9)
    assert [record.servable.version for record in stage.records] == [1]
    assert stage.on.count("turpin_decisions_total", experiment=NAME, arm="v2", mode="shadow") == 0


def test_share_of_the_requests_is_copied() -> None:
    async def scenario(stage: Stage) -> None:
        for _ in range(2_000):
            await stage.ask()
            await asyncio.sleep(CALL_S)

    share = 0.2
    stage = play(scenario, Replica(), route(parts=int(share * PARTS)))

    # Keyed by request ids, so the same in every run: four standard errors.
    assert abs(stage.sums().mirrored - 2_000 * share) <= 4 * math.sqrt(2_000 * share * (1 - share))
    assert stage.sums().dropped == {}


def test_own_answers_and_those_of_arms_not_asked_for_are_not_copied() -> None:
    assert play(once, Replica(), route(name="v1", version=1)).sums().requests == 0
    assert play(once, Replica(), route(against=(1,))).sums().requests == 0
    assert play(once, Replica(), route(against=(0,))).sums().requests == 1
    assert play(once, Replica(), route(parts=0)).sums().requests == 0


def test_hanging_shadow_delays_nobody_and_gets_no_more_than_its_bound() -> None:
    hanging = Replica(seconds=lambda _: 1e6, address="replica:1")

    async def scenario(stage: Stage) -> None:
        clock = asyncio.get_running_loop().time
        for _ in range(100):
            began = clock()
            assert (await stage.ask()).arm == "v1"
            assert clock() - began == pytest.approx(CALL_S)
        assert stage.sums().dropped == {"in_flight": 96}

    play(scenario, Replica(), route(backend=OTHER), shadow_replica=hanging)


def test_shadow_that_was_late_rests_as_long_again() -> None:
    class Late(Replica):
        async def call(self, method: str, sent: bytes, timeout_s: float) -> bytes:
            self.requests.append(wire.PredictRequest.FromString(sent))
            await asyncio.sleep(timeout_s)
            raise DeadlineExceeded("no answer")

    late = Late(address="replica:1")

    async def scenario(stage: Stage) -> None:
        for _ in range(5):
            await stage.ask()
            await asyncio.sleep(0.9)

    stage = play(scenario, Replica(), route(backend=OTHER, timeout_s=1.0), shadow_replica=late)

    # The second is on its way when the first ends, after 1 s; two more come within 1 s after that one's end.
    assert len(late.requests) == 3
    assert (stage.sums().dropped, stage.sums().errors) == ({"resting": 2}, {"deadline": 2})


@pytest.mark.parametrize(
    ("error", "label", "dropped"),
    [
        (BackendError(Code.INTERNAL, "boom"), "backend", {}),
        (Unavailable("nobody there"), "unavailable", {"resting": 1}),
    ],
)
def test_error_of_a_shadow_is_counted_and_said_to_nobody_else(
    error: Exception, label: str, dropped: dict[str, int]
) -> None:
    class Broken(Replica):
        async def call(self, method: str, sent: bytes, timeout_s: float) -> bytes:
            if version_of(wire.PredictRequest.FromString(sent)) == 2:
                raise error
            return await super().call(method, sent, timeout_s)

    async def scenario(stage: Stage) -> None:
        for _ in range(2):
            assert (await stage.ask()).arm == "v1"
            await asyncio.sleep(0.1)

    stage = play(scenario, Broken(), route())

    sums = stage.sums()
    assert sum(sums.errors.values()) == 2 - len(dropped)
    assert (set(sums.errors), sums.dropped, sums.compared) == ({label}, dropped, 0)
    assert [record.error for record in stage.records] == [None, None]
    assert not stage.on.predictor.ejections.unreached_in_a_row(V2)
    assert stage.on.count("turpin_shadow_requests_total", experiment=NAME, arm="v2", result="error") == 2 - len(dropped)


def test_backend_whose_slots_are_all_taken_gets_no_copy() -> None:
    replica = Replica()

    async def scenario(stage: Stage) -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(9):
                tasks.create_task(stage.ask())
                await asyncio.sleep(CALL_S / 3)
        await asyncio.sleep(1.0)

    stage = play(scenario, replica, route(), max_in_flight=1)

    # Only after the last answer nothing waits.
    assert [version_of(one) for one in replica.requests] == [1] * (len(replica.requests) - 1) + [2]
    assert stage.sums().dropped == {"busy": 8}


def test_large_requests_are_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "LARGEST_BYTES", 10)

    assert play(once, Replica(), route()).sums().dropped == {"large": 1}


@pytest.mark.parametrize("changes", [{"mode": Mode.WARMUP}, {"mode": Mode.SETTLED}, {"is_sticky": True}])
def test_requests_that_are_not_learned_from_are_copied_too(changes: dict[str, Any]) -> None:
    assert play(once, Replica(), route(), **changes).sums().compared == 1


def test_answers_that_differ_are_counted_by_output() -> None:
    def answer(message: wire.Message) -> bytes:
        response = wire.PredictResponse.FromString(identity(message))
        if version_of(message) == 2:
            response.outputs["x"].int64_val[0] += 5
        return bytes(response.SerializeToString())

    sums = play(once, Replica(answer), route()).sums()

    assert (sums.agreed, sums.agreement) == (0, 0.5)
    assert (sums.outputs["x"].max_abs, sums.outputs["x"].view()["mean_abs"]) == (5.0, 2.5)


def test_shadow_that_is_off_is_forgotten() -> None:
    async def scenario(stage: Stage) -> None:
        await once(stage)
        stage.on.routes.update(snapshot(PARTS, 0, version=8))
        assert stage.sums() == ShadowSums()
        await once(stage)
        assert stage.mirror._sums == {}

    play(scenario, Replica(), route())


def test_end_waits_for_no_copy_and_afterwards_nothing_is_copied() -> None:
    hanging = Replica(seconds=lambda _: 1e6, address="replica:1")

    async def scenario(stage: Stage) -> None:
        await stage.ask()
        await asyncio.sleep(0.1)

    async def afterwards(stage: Stage) -> None:
        assert asyncio.get_running_loop().time() < 1.0
        assert (await stage.ask()).arm == "v1"
        await asyncio.sleep(1.0)

    stage = play(scenario, Replica(), route(backend=OTHER), shadow_replica=hanging, afterwards=afterwards)

    assert len(hanging.requests) == 1
    assert stage.sums().requests == 1

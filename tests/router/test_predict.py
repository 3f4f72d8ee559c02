"""The arm in the token is the arm that answered, chosen exactly as often as its parts say, and counted once."""

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandits.weights import to_parts
from router.decisions import Keyring, Mode
from router.predict import Context, read_timeout
from router.snapshot import PARTS, ArmRoute
from serving import wire
from serving.batcher import BatchLimits
from serving.cost import pico_usd
from serving.dispatcher import BatchRecord, Dispatcher
from serving.errors import InvalidArgument, ModelNotFound, Unavailable
from serving.upstream import Servable, Upstream
from tests.router.samples import (
    BACKEND,
    CELL_1,
    CELL_2,
    DEADLINE,
    EPOCH,
    KEYS,
    MODEL,
    NOW,
    PRICE_USD_PER_HOUR,
    V2,
    Bench,
    Instant,
    ask,
    bench,
    body,
    counted,
    predicted,
    snapshot,
    spec_of,
)
from tests.serving.replica import CALL_S, Replica, identity
from tests.simulated_loop import run_simulated

ALL_TO_V2 = snapshot(0, PARTS)


async def shares(on: Bench, draws: int, *, has_ids: bool) -> Counter[str]:
    """How often each arm was chosen."""
    # Without tensors, which cost most and decide nothing.
    sent = bytes(wire.PredictRequest(model_spec={"name": MODEL}).SerializeToString())
    chosen: Counter[str] = Counter()
    for number in range(draws):
        context = Context(DEADLINE, b"", number.to_bytes(4) if has_ids else b"")
        chosen[(await on.predictor.predict(sent, context)).arm] += 1
    return chosen


@pytest.mark.parametrize(
    ("has_ids", "draws", "errors"),
    # Keyed draws are the same in every run; random ones may stray by 6 standard errors once in 1e8 runs.
    [(True, 100_000, 4.0), (False, 10_000, 6.0)],
    ids=["by request id", "at random"],
)
@pytest.mark.timeout(60)  # 2 s, but ten times as long on a machine that does other things
async def test_arms_are_chosen_as_often_as_their_parts_say(has_ids: bool, draws: int, errors: float) -> None:
    parts = (0, PARTS // 100, 0, PARTS // 3, PARTS - PARTS // 3 - PARTS // 100, 0)

    chosen = await shares(bench({BACKEND: Instant()}, [snapshot(*parts)]), draws, has_ids=has_ids)

    for name, share in zip(("v1", "v2", "v3", "v4", "v5", "v6"), parts, strict=True):
        p = share / PARTS
        assert abs(chosen[name] - draws * p) <= errors * math.sqrt(draws * p * (1 - p)), name


weights = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=8).filter(lambda several: sum(several) > 1e-6)


@settings(deadline=None, max_examples=50)
@given(weights, st.integers(0, 2**32 - 1))
def test_token_names_the_arm_that_answered_and_its_exact_parts(shares: Sequence[float], number: int) -> None:
    parts = to_parts(shares)
    backend = Instant()
    on = bench({BACKEND: backend}, [snapshot(*parts)])

    reply = ask(on, number)

    decision = on.keys.verify(reply.decision)
    assert backend.servables == [Servable(BACKEND, MODEL, decision.arm + 1)]
    assert spec_of(reply).version.value == decision.arm + 1
    assert reply.arm == f"v{decision.arm + 1}"
    assert decision.parts == parts[decision.arm] > 0


class Fixed(Keyring):
    """Keys whose every draw is the same point. Mutable: the point."""

    point_now = 0

    def point(self, epoch: int, purpose: bytes, value: bytes) -> bytes:
        return self.point_now.to_bytes(4) + bytes(range(16))


@pytest.mark.parametrize(
    ("point", "arm"),
    # The second arm's slice ends before PARTS / 4, the fourth's begins there; the top bit of a point is not used.
    [(0, "v2"), (PARTS // 4 - 1, "v2"), (PARTS // 4, "v4"), (PARTS - 1, "v4"), (PARTS, "v2"), (2 * PARTS - 1, "v4")],
)
def test_arm_is_the_one_whose_slice_holds_the_point(point: int, arm: str) -> None:
    on = bench({BACKEND: Instant()}, [snapshot(0, PARTS // 4, 0, PARTS - PARTS // 4, 0)])
    keys = on.predictor._keys = Fixed(KEYS)
    keys.point_now = point

    reply = ask(on, 0)

    assert reply.arm == arm
    # What fixes the draw is not told: the nonce is the rest of the hash.
    assert on.keys.verify(reply.decision).nonce == bytes(range(16))


def test_token_says_when_and_under_which_weights_it_was_decided() -> None:
    reply = ask(on := bench({BACKEND: Instant()}, [snapshot()]))

    decision = on.keys.verify(reply.decision)
    assert (decision.mode, decision.epoch, decision.block, decision.weights_version) == (Mode.EXPERIMENT, EPOCH, 3, 7)
    assert (decision.rows, decision.time_us) == (2, int(NOW * 1e6))
    assert (spec_of(reply).name, reply.experiment) == (MODEL, "digits-2026")


def test_arm_is_drawn_anew_from_every_new_snapshot() -> None:
    on = bench({BACKEND: Instant()}, [snapshot(PARTS, 0)])
    before = ask(on).arm
    on.routes.update(snapshot(0, PARTS, version=8))

    assert (before, ask(on).arm) == ("v1", "v2")


def test_retried_request_gets_the_same_decision_again() -> None:
    on = bench({BACKEND: Instant()}, [snapshot()])

    twice = [on.keys.verify(ask(on, 5).decision) for _ in range(2)]
    others = [on.keys.verify(ask(on, number).decision) for number in range(6, 40)]

    assert (twice[0].arm, twice[0].nonce) == (twice[1].arm, twice[1].nonce)
    assert len({one.nonce for one in (*twice, *others)}) == 35
    assert {one.arm for one in others} == {0, 1}


def test_retried_request_says_nothing_about_how_often_its_arm_is_drawn() -> None:
    # One that fails is sent again more often than others: its arm would seem to be drawn too often.
    on = bench({BACKEND: Instant()}, [snapshot(PARTS, 0)])

    for _ in range(3):
        ask(on, 5)

    (fields,) = on.ledger.parcel().deltas.values()
    assert (fields["decisions"], fields.get("assigned", 0)) == (3, 0)


def test_requests_without_an_id_are_decisions_of_their_own() -> None:
    on = bench({BACKEND: Instant()}, [snapshot()])

    nonces = {on.keys.verify(ask(on, request_id=b"").decision).nonce for _ in range(20)}

    assert len(nonces) == 20


def test_sticky_unit_keeps_its_arm_and_every_request_its_nonce() -> None:
    on = bench({BACKEND: Instant()}, [snapshot(is_sticky=True)])

    of_one = [on.keys.verify(ask(on, request_id=b"", unit=b"ann").decision) for _ in range(20)]
    of_all = {ask(on, request_id=b"", unit=bytes([n])).arm for n in range(20)}

    assert len({one.arm for one in of_one}) == 1
    assert len({one.nonce for one in of_one}) == 20
    assert of_all == {"v1", "v2"}


def test_unit_is_of_no_account_unless_the_experiment_is_sticky() -> None:
    on = bench({BACKEND: Instant()}, [snapshot()])

    assert {ask(on, n, unit=b"ann").arm for n in range(20)} == {"v1", "v2"}


@pytest.mark.parametrize(
    ("mode", "label"), [(Mode.WARMUP, "warmup"), (Mode.SETTLED, "settled"), (Mode.BYPASS, "bypass")]
)
def test_decisions_beside_the_experiment_are_counted_apart(mode: Mode, label: str) -> None:
    on = bench({BACKEND: Instant()}, [snapshot(PARTS, 0, mode=mode)])

    decision = on.keys.verify(ask(on).decision)

    deltas = on.ledger.parcel().deltas
    cell = deltas[CELL_1]
    assert (cell["decisions"], cell["unlearned_decisions"]) == (0, 1)
    # Nor do its weights promise anything.
    assert (set(deltas), "assigned" in cell) == ({CELL_1}, False)
    assert (decision.mode, decision.parts) == (mode, PARTS)
    assert on.count("turpin_decisions_total", experiment="digits-2026", arm="v1", mode=label) == 1.0


def test_decision_is_counted_in_its_cell_with_what_it_took() -> None:
    on = bench({BACKEND: Instant()}, [snapshot(PARTS, 0)])

    for _ in range(3):
        ask(on)

    cost = 3 * pico_usd(5_000, PRICE_USD_PER_HOUR)
    assert counted(on) == {
        CELL_1: {
            "assigned": 3,
            "decisions": 3,
            "unlearned_decisions": 0,
            "rows": 6,
            "busy_ns": 15_000,
            "cost_pico_usd": cost,
        }
    }
    billed = on.count("turpin_cost_usd_total", experiment="digits-2026", arm="v1", kind="busy")
    assert billed == pytest.approx(cost * 1e-12, rel=1e-12)


def test_pinned_version_is_honoured_and_not_learned_from() -> None:
    backend = Instant()
    on = bench({BACKEND: backend}, [snapshot(PARTS, 0)])

    reply = predicted(on, body(version=2))

    assert backend.servables == [V2]
    assert (reply.decision, reply.arm, spec_of(reply).name) == ("", "", MODEL)
    assert on.ledger.parcel().deltas == {}
    assert on.count("turpin_decisions_total", experiment="digits-2026", arm="", mode="pinned") == 1.0


@pytest.mark.parametrize("choice", [{"version": 9}, {"label": "canary"}], ids=str)
def test_pin_that_is_no_arm_goes_where_the_serving_arm_is(choice: dict[str, Any]) -> None:
    arms = (*snapshot().arms, ArmRoute("v3", "tfs-b", "digits-b", 3, 0))
    before, after = Instant(), Instant()

    predicted(bench({BACKEND: before, "tfs-b": Instant()}, [snapshot(arms=arms)]), body(**choice))
    predicted(bench({BACKEND: Instant(), "tfs-b": after}, [snapshot(arms=arms, serving=2)]), body(**choice))

    version, label = choice.get("version"), choice.get("label", "")
    assert before.servables == [Servable(BACKEND, MODEL, version, label)]
    assert after.servables == [Servable("tfs-b", "digits-b", version, label)]


def test_client_sees_the_public_name_whatever_the_arm_is_called() -> None:
    arms = (ArmRoute("v1", BACKEND, "digits-old", 1, 0), ArmRoute("v2", BACKEND, "digits-new", 2, PARTS))
    on = bench({BACKEND: Instant()}, [snapshot(arms=arms)])

    names = [spec_of(predicted(on, sent)).name for sent in (body(), body(version=1), body(label="canary"))]

    assert names == [MODEL] * 3


def test_only_entry_labels_take_part() -> None:
    backend = Instant()
    on = bench({BACKEND: backend}, [ALL_TO_V2])

    entry, pinned = predicted(on, body(label="stable")), predicted(on, body(label="canary"))

    assert backend.servables == [V2, Servable(BACKEND, MODEL, None, "canary")]
    assert (entry.arm, pinned.arm, pinned.decision) == ("v2", "", "")


def test_model_without_an_experiment_passes_through() -> None:
    backend = Instant()
    on = bench({BACKEND: backend}, [snapshot()])

    sent = [body("other"), body("other", version=4), body("other", label="canary")]
    replies = [predicted(on, one) for one in sent]

    assert [reply.decision for reply in replies] == ["", "", ""]
    assert backend.servables == [
        Servable(BACKEND, "other", None),
        Servable(BACKEND, "other", 4),
        Servable(BACKEND, "other", None, "canary"),
    ]
    assert on.ledger.parcel().deltas == {}


def test_model_that_nobody_serves_is_not_found() -> None:
    on = bench({BACKEND: Instant(), "tfs-b": Instant()}, [snapshot()])

    with pytest.raises(ModelNotFound, match=r"Latest\(other\)"):
        predicted(on, body("other"))


@pytest.mark.parametrize(
    ("sent", "words"), [(b"\xff\xff", "PredictRequest"), (b"", "Missing ModelSpec"), (b"\x0a\x00", "no name")]
)
def test_request_without_a_model_is_refused(sent: bytes, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        predicted(bench({BACKEND: Instant()}), sent)


Scenario = Callable[[Bench, asyncio.TaskGroup], Awaitable[None]]


def on_replicas(scenario: Scenario, *upstreams: Upstream, parts: Sequence[int] = ()) -> tuple[Bench, list[BatchRecord]]:
    """Play a scenario on a predictor over a real dispatcher, in virtual time."""
    records: list[BatchRecord] = []

    async def play() -> Bench:
        limits = BatchLimits(max_rows=8, max_in_flight=1, queue_rows=1000, queue_bytes=10**6)
        clock = asyncio.get_running_loop().time
        async with Dispatcher(upstreams, limits, on_batch=records.append) as dispatcher:
            on = bench({BACKEND: dispatcher}, [snapshot(*parts)], clock=clock)
            async with asyncio.TaskGroup() as tasks:
                await scenario(on, tasks)
        return on

    return run_simulated(play()), records


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(1, 3), st.floats(0.0, 0.02)), min_size=1, max_size=30))
def test_every_answer_is_its_requests_own_from_the_arm_in_its_token(requests: list[tuple[int, float]]) -> None:
    answered: list[int] = []

    async def ask_one(on: Bench, number: int, rows: int, at_s: float) -> None:
        await asyncio.sleep(at_s)
        first = 10 * number
        sent = body(first=first, rows=rows)
        reply = await on.predictor.predict(sent, Context(DEADLINE, b"", number.to_bytes(4)))
        decision = on.keys.verify(reply.decision)
        response = wire.PredictResponse.FromString(reply.body)
        assert list(response.outputs["x"].int64_val) == list(range(first, first + rows))
        assert (response.model_spec.version.value, decision.rows) == (decision.arm + 1, rows)
        answered.append(number)

    async def scenario(on: Bench, tasks: asyncio.TaskGroup) -> None:
        for number, (rows, at_s) in enumerate(requests):
            tasks.create_task(ask_one(on, number, rows, at_s))

    on, records = on_replicas(scenario, Replica())

    cells = counted(on).values()
    assert len(answered) == len(requests) == sum(cell["decisions"] for cell in cells)
    assert sum(cell["rows"] for cell in cells) == sum(rows for rows, _ in requests)
    # Not a nanosecond of the backend's time is lost or counted twice.
    assert sum(cell["busy_ns"] for cell in cells) == sum(record.charged_ns for record in records)
    assert set(on.predictor.in_flight.values()) == {0}


def test_request_is_in_flight_on_its_arm_until_it_is_answered() -> None:
    seen: list[dict[tuple[int, int], int]] = []

    async def scenario(on: Bench, tasks: asyncio.TaskGroup) -> None:
        for _ in range(2):
            tasks.create_task(on.predictor.predict(body(), Context(DEADLINE)))
        await asyncio.sleep(CALL_S / 2)
        seen.append(dict(on.predictor.in_flight))

    on, _ = on_replicas(scenario, Replica(), parts=(0, PARTS))

    assert seen == [{(EPOCH, 1): 2}]
    assert set(on.predictor.in_flight.values()) == {0}


def test_nothing_stays_in_flight_after_errors_and_departures() -> None:
    def fail(message: wire.Message) -> bytes:
        if message.model_spec.version.value == 2:
            raise Unavailable("gone")
        return identity(message)

    async def scenario(on: Bench, tasks: asyncio.TaskGroup) -> None:
        leaving = [tasks.create_task(on.predictor.predict(body(), Context(DEADLINE))) for _ in range(8)]
        await asyncio.sleep(CALL_S / 2)
        assert sum(on.predictor.in_flight.values()) == 8
        for task in leaving:
            task.cancel()
        await asyncio.sleep(0)
        assert set(on.predictor.in_flight.values()) == {0}
        replies = [await on.predictor.predict(body(), Context(DEADLINE)) for _ in range(3)]
        assert [reply.arm for reply in replies] == ["v1"] * 3

    on, _ = on_replicas(scenario, Replica(fail), parts=(0, PARTS))

    assert set(on.predictor.in_flight.values()) == {0}
    # Each drawn request ended once; the second tries of those that were retried are beside them.
    assert counted(on)[CELL_2] == {"assigned": 11, "cancelled": 8, "errors": 3}
    assert (counted(on)[CELL_1]["decisions"], counted(on)[CELL_1]["unlearned_decisions"]) == (0, 3)


def test_backend_time_is_the_time_until_the_answer() -> None:
    async def scenario(on: Bench, tasks: asyncio.TaskGroup) -> None:
        reply = await on.predictor.predict(body(), Context(DEADLINE))
        assert reply.backend_s == pytest.approx(CALL_S)

    on_replicas(scenario, Replica())


@settings(deadline=None)
@given(st.integers(1, 10**9 - 1))
def test_timeout_is_read_in_milliseconds(number: int) -> None:
    assert read_timeout(str(number)) == pytest.approx(number / 1000)


@pytest.mark.parametrize("text", ["", "0", "000", "-1", "1.5", "1e3", "x", "\u0661", "10" * 5, " 7", "+7", "1_0"])
def test_timeout_that_is_no_whole_number_is_refused_with_what_was_seen(text: str) -> None:
    with pytest.raises(InvalidArgument, match="whole number"):
        read_timeout(text)

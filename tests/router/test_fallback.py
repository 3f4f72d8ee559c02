"""An arm that is away is answered for once, within a budget; whatever another arm could not do better is not retried."""

from collections.abc import Hashable

import pytest

from router.decisions import Mode
from router.ejections import IN_A_ROW
from router.predict import Context
from router.snapshot import PARTS
from serving import methods, wire
from serving.dispatcher import Answer
from serving.errors import (
    BackendError,
    Code,
    DeadlineExceeded,
    InternalError,
    InvalidArgument,
    QueueFull,
    ServingError,
    Unavailable,
)
from serving.methods import Method
from serving.upstream import Servable
from tests.router.samples import (
    BACKEND,
    CELL_1,
    CELL_2,
    DEADLINE,
    V1,
    V2,
    Instant,
    ask,
    bench,
    body,
    counted,
    predicted,
    snapshot,
    spec_of,
)

ALL_TO_V2 = snapshot(0, PARTS)
AWAY = [
    Unavailable("a:1 is unavailable"),
    BackendError(Code.UNAVAILABLE, "shutting down"),
    BackendError(Code.NOT_FOUND, "Servable not found for request: Specific(digits, 2)"),
]
ITS_OWN_FAULT = [
    InvalidArgument("no such input"),
    BackendError(Code.INVALID_ARGUMENT, "shape"),
    BackendError(Code.INTERNAL, "out of memory"),
    DeadlineExceeded("too late", "queue"),
    QueueFull("full"),
    InternalError("cut off"),
]


@pytest.mark.parametrize("error", AWAY, ids=repr)
def test_arm_that_is_away_is_answered_for_once_by_the_serving_one_and_not_learned(error: ServingError) -> None:
    backend = Instant({V2: error})
    on = bench({BACKEND: backend}, [ALL_TO_V2])

    reply = ask(on)

    decision = on.keys.verify(reply.decision)
    assert backend.servables == [V2, V1]
    assert (decision.arm, decision.mode, decision.parts, decision.is_learned) == (0, Mode.FALLBACK, PARTS, False)
    assert (reply.arm, spec_of(reply).version.value) == ("v1", 1)
    deltas = counted(on)
    assert deltas[CELL_2] == {"assigned": 1, "errors": 1}
    assert "assigned" not in deltas[CELL_1]
    assert (deltas[CELL_1]["decisions"], deltas[CELL_1]["unlearned_decisions"]) == (0, 1)
    assert on.count("turpin_retries_total", experiment="digits-2026") == 1.0
    assert on.count("turpin_decisions_total", experiment="digits-2026", arm="v1", mode="fallback") == 1.0


def test_arm_with_another_replica_answers_there_itself_and_it_is_not_learned() -> None:
    class Second(Instant):
        """Away at the first call."""

        async def predict(
            self,
            servable: Servable,
            request: wire.Message,
            deadline: float,
            method: Method = methods.PREDICT,
            client: Hashable = None,
        ) -> Answer:
            if self.asked:
                self.fails.clear()
            return await super().predict(servable, request, deadline, method)

    backend = Second({V2: Unavailable("a:1 is unavailable")})
    backend.is_alone = False
    on = bench({BACKEND: backend}, [ALL_TO_V2])

    reply = ask(on)

    decision = on.keys.verify(reply.decision)
    assert backend.servables == [V2, V2]
    assert (reply.arm, decision.arm, decision.mode, decision.is_learned) == ("v2", 1, Mode.FALLBACK, False)
    assert on.count("turpin_retries_total", experiment="digits-2026") == 1.0


def test_requests_of_an_arm_that_is_out_go_elsewhere_without_a_call_or_a_retry() -> None:
    backend = Instant()
    on = bench({BACKEND: backend}, [ALL_TO_V2])
    for _ in range(IN_A_ROW):
        on.predictor.ejections.unreached(V2)
    # One looks whether it is back; the next does not.
    first, second = ask(on), ask(on)

    assert [first.arm, second.arm] == ["v2", "v1"]
    assert backend.servables == [V2, V1]
    assert on.keys.verify(second.decision).mode is Mode.FALLBACK
    assert counted(on)[CELL_2] | {"rows": 0, "busy_ns": 0, "cost_pico_usd": 0} == {
        "assigned": 2,
        "errors": 1,
        "decisions": 1,
        "unlearned_decisions": 0,
        "rows": 0,
        "busy_ns": 0,
        "cost_pico_usd": 0,
    }
    assert on.count("turpin_retries_total", experiment="digits-2026") == 0.0


def test_after_the_end_the_winner_answers_for_an_arm_that_is_away() -> None:
    backend = Instant({V2: AWAY[0]})

    reply = ask(bench({BACKEND: backend}, [snapshot(0, PARTS, 0, serving=2)]))

    assert reply.arm == "v3"


@pytest.mark.parametrize("error", ITS_OWN_FAULT, ids=repr)
def test_what_another_arm_could_not_do_better_is_not_retried(error: ServingError) -> None:
    backend = Instant({V2: error})
    on = bench({BACKEND: backend}, [ALL_TO_V2])

    with pytest.raises(type(error)):
        ask(on)

    assert backend.servables == [V2]
    assert counted(on) == {CELL_2: {"assigned": 1, "errors": 1}}


def test_serving_arm_that_is_away_has_nobody_to_answer_for_it() -> None:
    backend = Instant({V1: AWAY[0]})

    with pytest.raises(Unavailable):
        ask(bench({BACKEND: backend}, [snapshot(PARTS, 0)]))

    assert backend.servables == [V1]


def test_error_of_the_second_try_is_the_answer_and_counts_against_its_own_arm() -> None:
    backend = Instant({V2: AWAY[0], V1: InternalError("no")})
    on = bench({BACKEND: backend}, [ALL_TO_V2])

    with pytest.raises(InternalError):
        ask(on)

    assert backend.servables == [V2, V1]
    assert counted(on) == {CELL_2: {"assigned": 1, "errors": 1}, CELL_1: {"unlearned_errors": 1}}


@pytest.mark.parametrize(("ratio", "most"), [(0.0, 10), (0.2, 210), (1.0, 1000)])
async def test_retries_stay_within_their_budget(ratio: float, most: int) -> None:
    # It answers, only not with a prediction: a backend that is not reached is passed over after ten.
    backend = Instant({V2: AWAY[1]})
    on = bench({BACKEND: backend}, [ALL_TO_V2], retry_ratio=ratio)

    for _ in range(1000):
        try:
            await on.predictor.predict(body(), Context(DEADLINE))
        except BackendError:
            continue

    # Ten are saved up at first, and no more can be; every request earns its part.
    assert backend.servables.count(V2) == 1000
    assert most - 1 <= backend.servables.count(V1) <= most


def test_pin_that_fails_is_not_answered_by_another_version() -> None:
    backend = Instant({V2: AWAY[0]})

    with pytest.raises(Unavailable):
        predicted(bench({BACKEND: backend}, [snapshot()]), body(version=2))

    assert backend.servables == [V2]


def test_deadline_goes_along_unchanged_on_every_try() -> None:
    backend = Instant({V2: AWAY[0]})

    ask(bench({BACKEND: backend}, [ALL_TO_V2]))

    assert [deadline for _, deadline in backend.asked] == [DEADLINE, DEADLINE]

"""Each upstream call is counted once for the arm it was made to, and against it only if it was the arm's fault."""

from dataclasses import replace

import pytest

from router.call_counts import CallCounts
from router.ledger import Ledger
from router.routes import Routes
from router.store import Cell
from serving.calls import BatchRecord
from serving.upstream import Servable
from tests.router.samples import BACKEND, EPOCH, MODEL, snapshot

V1, V2 = Servable(BACKEND, MODEL, 1), Servable(BACKEND, MODEL, 2)
CALL = BatchRecord(
    servable=V2,
    replica="a:1",
    riders=3,
    rows=6,
    seconds=0.05,
    waits_s=(),
    charged_ns=1,
    is_probe=False,
    pad_to=None,
    error=None,
)


def counted(*records: BatchRecord, call_max_s: float | None = 0.1, models: tuple[str, ...] = (MODEL,)) -> Ledger:
    routes, ledger = Routes({BACKEND: (MODEL,)}), Ledger()
    for number, model in enumerate(models):
        routes.update(snapshot(call_max_s=call_max_s, model=model, epoch=EPOCH + number))
    for record in records:
        CallCounts(routes, ledger).on_batch(record)
    return ledger


@pytest.mark.parametrize(
    ("call", "failed", "slow"),
    [
        (CALL, 0, 0),
        (replace(CALL, seconds=0.11), 0, 1),
        (replace(CALL, error="unavailable"), 1, 0),
        (replace(CALL, error="deadline", seconds=30.0), 1, 1),
    ],
    ids=["good", "slow", "failed", "failed slowly"],
)
def test_call_is_counted_once_however_many_ride(call: BatchRecord, failed: int, slow: int) -> None:
    assert counted(call).parcel().deltas == {
        Cell(EPOCH, 1, 3): {"calls": 1, "failed_calls": failed, "slow_calls": slow}
    }


@pytest.mark.parametrize(
    "call",
    [
        replace(CALL, is_probe=True, seconds=9.0),
        replace(CALL, error="backend", is_clients_fault=True),
        replace(CALL, servable=Servable(BACKEND, MODEL, 9)),
    ],
    ids=["probe", "a client's fault", "no arm"],
)
def test_call_that_says_nothing_of_an_arm_is_left_out(call: BatchRecord) -> None:
    assert counted(call).parcel().deltas == {}


def test_without_a_bound_no_call_is_slow() -> None:
    assert counted(replace(CALL, seconds=9.0), call_max_s=None).parcel().deltas[Cell(EPOCH, 1, 3)]["slow_calls"] == 0


def test_version_in_two_experiments_is_counted_in_both() -> None:
    deltas = counted(CALL, replace(CALL, servable=V1), models=(MODEL, "twin")).parcel().deltas

    assert set(deltas) == {Cell(EPOCH + epoch, arm, 3) for epoch in (0, 1) for arm in (0, 1)}


def test_calls_follow_the_experiments_there_are() -> None:
    routes, ledger = Routes({BACKEND: (MODEL,)}), Ledger()
    counts = CallCounts(routes, ledger)

    counts.on_batch(CALL)
    assert ledger.parcel().deltas == {}
    routes.update(snapshot(name="one"))
    counts.on_batch(CALL)
    routes.update(snapshot(name="two", model="other", epoch=EPOCH + 1))
    counts.on_batch(CALL)
    routes.update(snapshot(name="one", version=8, block=4))
    counts.on_batch(CALL)
    routes.keep({"two"})
    counts.on_batch(CALL)

    ledger.confirm(ledger.parcel())
    calls = {cell: fields["calls"] for cell, fields in ledger.parcel().deltas.items()}
    assert calls == {Cell(EPOCH, 1, 3): 2, Cell(EPOCH, 1, 4): 1, Cell(EPOCH + 1, 1, 3): 3}

"""What the leader is told of a worker's batches, and which probes are asked for."""

from collections import Counter
from dataclasses import replace

from router.heartbeat import ArmBeat
from router.measurements import Measurements
from router.metrics import Metrics
from router.routes import Live
from router.snapshot import PARTS, ArmRoute
from serving.calls import BatchRecord
from serving.upstream import Servable
from tests.router.samples import BACKEND, EPOCH, MODEL, Instant, snapshot

V1, V2 = Servable(BACKEND, MODEL, 1), Servable(BACKEND, MODEL, 2)
LIVE = Live.of(snapshot(reference_rows=8))
SECOND_NS = 1_000_000_000


def record(servable: Servable, rows: int, **changes: object) -> BatchRecord:
    made = BatchRecord(
        servable=servable,
        replica="a:1",
        riders=1,
        rows=rows,
        seconds=0.01,
        waits_s=(),
        charged_ns=SECOND_NS,
        is_probe=False,
        pad_to=None,
        error=None,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # the fields of any type


def measurements(*backends: str) -> Measurements:
    return Measurements(backends or (BACKEND,), Metrics())


def beats(measured: Measurements, live: Live = LIVE, **in_flight: int) -> tuple[ArmBeat, ...]:
    places = {(EPOCH, int(place.removeprefix("arm"))): count for place, count in in_flight.items()}
    return measured.heartbeat([live], places).experiments[live.snapshot.epoch].arms


def test_heartbeat_tells_of_every_arm_in_order() -> None:
    measured = measurements()
    for rows in (3, 3, 5):
        measured.on_batch(record(V1, rows))
    measured.on_batch(record(V2, 2, is_probe=True, pad_to=8, seconds=0.02))

    assert beats(measured, arm1=4) == (ArmBeat(0, (), {3: 2, 5: 1}), ArmBeat(4, ((8, 0.02),), {}))


def test_heartbeat_tells_what_became_of_reward_calls() -> None:
    measured = measurements()
    for arm, result, at in ((1, "recorded", 5.0), (1, "recorded", 6.0), (1, "late", 7.0), (0, "recorded", 6.5)):
        measured.reward_calls.count(EPOCH, arm, result, at)
    measured.reward_calls.count(EPOCH + 1, 0, "recorded", 99.0)

    assert [arm.reward_calls for arm in beats(measured)] == [{"recorded": 1}, {"recorded": 2, "late": 1}]
    assert measured.heartbeat([LIVE], {}).experiments[EPOCH].reward_call_at == 6.5


def test_heartbeat_names_the_version_it_acts_by_and_nobody_elses_requests() -> None:
    measured = measurements()

    beat = measured.heartbeat([LIVE], {(EPOCH + 1, 0): 5}).experiments[EPOCH]

    assert beat.version == 7
    assert [arm.in_flight for arm in beat.arms] == [0, 0]


def test_batch_that_failed_has_no_size_and_no_time() -> None:
    measured = measurements()

    measured.on_batch(record(V1, 3, error="unavailable"))
    measured.on_batch(record(V1, 3, error="backend", is_probe=True, pad_to=8))

    assert beats(measured)[0] == ArmBeat(0)


def test_only_the_last_sizes_are_kept() -> None:
    measured = measurements()
    for rows in [1] * 500 + [2] * 600:
        measured.on_batch(record(V1, rows))

    assert beats(measured)[0].batch_rows == {2: 512}


def test_probes_are_asked_of_arms_with_traffic_on_their_own_backend_at_the_reference_size() -> None:
    arms = (
        ArmRoute("a", "tfs-a", MODEL, 1, PARTS // 2),
        ArmRoute("b", "tfs-a", MODEL, 2, 0),
        ArmRoute("c", "tfs-b", MODEL, 1, PARTS // 2),
    )
    live = Live.of(snapshot(arms=arms, reference_rows=8))
    measured, dispatchers = measurements("tfs-a", "tfs-b"), {"tfs-a": Instant(), "tfs-b": Instant()}

    for _ in range(3):
        measured.ask_for_probes(live, dispatchers)
        for backend, dispatcher in dispatchers.items():
            for servable, rows in dispatcher.probes[-1:]:
                assert (servable.backend, rows) == (backend, 8)
                measured.on_batch(record(servable, 1, is_probe=True, pad_to=8, charged_ns=1))

    assert Counter(dispatchers["tfs-a"].probes) == {(Servable("tfs-a", MODEL, 1), 8): 3}
    assert Counter(dispatchers["tfs-b"].probes) == {(Servable("tfs-b", MODEL, 1), 8): 3}


def test_probe_that_fails_is_paid_for_and_asked_of_the_next_arm() -> None:
    measured, dispatcher = measurements(), Instant()
    measured.ask_for_probes(LIVE, {BACKEND: dispatcher})
    measured.on_batch(record(V1, 1, is_probe=True, error="backend", charged_ns=1))
    measured.ask_for_probes(LIVE, {BACKEND: dispatcher})
    measured.on_batch(record(V2, 1, is_probe=True, error="backend", charged_ns=SECOND_NS))
    measured.ask_for_probes(LIVE, {BACKEND: dispatcher})

    assert dispatcher.probes == [(V1, 8), (V2, 8)]

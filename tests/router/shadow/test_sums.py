"""What workers count of copies adds up, however it is divided among them, and stays small."""

import sys

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router import heartbeat
from router.heartbeat import Heartbeat
from router.shadow.sums import OTHER, ShadowSums, Times
from serving.comparison import FAULTS, Difference

differences = st.builds(
    Difference,
    agreement=st.sampled_from([0.0, 0.25, 1.0]),
    fault=st.sampled_from(["", *FAULTS]),
    max_abs=st.none() | st.integers(0, 100).map(float),
    mean_abs=st.integers(0, 10).map(float),
    max_relative=st.just(0.5),
    not_finite=st.integers(0, 3),
)
events = st.one_of(
    st.dictionaries(st.sampled_from(["a", "b", "c"]), differences, max_size=3),
    st.sampled_from(["backend", "deadline"]),
)


def play(sums: ShadowSums, some: list[object]) -> ShadowSums:
    for event in some:
        sums.requests += 1
        if isinstance(event, str):
            sums.failed(event)
            sums.drop("busy")
        else:
            assert isinstance(event, dict)
            sums.compare(event, 0.25, 0.5)
    return sums


@settings(deadline=None)
@given(st.lists(events), st.lists(events))
def test_sums_are_the_same_however_they_are_divided(first: list[object], second: list[object]) -> None:
    whole = play(ShadowSums(), [*first, *second])
    parts = play(ShadowSums(), first)
    parts.merge(play(ShadowSums(), second))

    assert parts.view() == whole.view()
    assert whole.requests == whole.compared + sum(whole.errors.values())
    assert 0 <= whole.agreed <= whole.compared


def test_sums_travel_in_a_heartbeat() -> None:
    sums = play(ShadowSums(), [{"a": Difference(0.5, max_abs=1.0, mean_abs=0.5, max_relative=0.1)}, "backend"])

    found = heartbeat.decode(heartbeat.encode(Heartbeat({}, shadows={2**64 - 1: {"v2": sums}})))

    assert found.shadows == {2**64 - 1: {"v2": sums}}
    assert msgspec.json.decode(msgspec.json.encode(sums.view()))["agreement"] == 0.5


def test_quantiles_are_within_a_tenth() -> None:
    seconds = np.random.default_rng(5).lognormal(-4.0, 1.0, 2_000)
    times = Times()
    for one in seconds:
        times.add(float(one))

    for share in (0.5, 0.99):
        assert times.quantile_s(share) == pytest.approx(float(np.quantile(seconds, share)), rel=0.1)
    assert Times().quantile_s(0.5) is None


@given(st.floats(0.0, 1e300))
def test_every_duration_falls_into_one_of_a_hundred_bins(seconds: float) -> None:
    times = Times()
    times.add(seconds)

    assert sum(times.bins.values()) == 1
    assert all(-80 <= place <= 48 for place in times.bins)


def test_outputs_are_bounded() -> None:
    sums, other = ShadowSums(), ShadowSums()
    for number in range(100):
        sums.compare({f"output {number}": Difference(1.0)}, 0.1, 0.1)
        other.compare({f"another {number}": Difference(1.0)}, 0.1, 0.1)
    sums.merge(other)

    assert len(sums.outputs) == 17
    assert sums.outputs[OTHER].compared == 184


def test_differences_too_large_to_add_up_leave_a_heartbeat_that_can_be_read() -> None:
    largest = sys.float_info.max
    sums = ShadowSums()
    for _ in range(3):
        sums.compare({"scores": Difference(0.0, max_abs=largest, mean_abs=largest, max_relative=1.0)}, 0.01, 0.01)
    sums.merge(msgspec.convert(msgspec.to_builtins(sums), ShadowSums, strict=False))

    beat = Heartbeat(experiments={}, shadows={1: {"v2": sums}})

    assert heartbeat.decode(heartbeat.encode(beat)) == beat

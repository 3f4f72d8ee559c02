"""Our counters and histograms show what prometheus_client's would."""

import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from router.counting import Counter, Histogram

BOUNDS = (0.1, 1.0, 2.5, 30.0)
labels = st.sampled_from(["a", "b", 'with "quotes"\n'])
# At the bounds, too, where one step to either side is another bucket.
amounts = st.floats(0, 100) | st.sampled_from(BOUNDS)


def shown(registry: CollectorRegistry) -> list[str]:
    # Theirs says when a series was made, ours does not.
    return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]


@given(st.lists(st.tuples(labels, labels, amounts)))
def test_they_show_what_those_of_prometheus_client_show(events: list[tuple[str, str, float]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    for counter, histogram in (
        (
            Counter("seen_total", "Seen.", ("x", "y"), registry=ours),
            Histogram("took_seconds", "Took.", ("x",), buckets=BOUNDS, registry=ours),
        ),
        (
            prometheus_client.Counter("seen_total", "Seen.", ("x", "y"), registry=theirs),
            prometheus_client.Histogram("took_seconds", "Took.", ("x",), buckets=BOUNDS, registry=theirs),
        ),
    ):
        for x, y, amount in events:
            counter.labels(x, y).inc(amount)
            histogram.labels(x).observe(amount)

    assert shown(ours) == shown(theirs)


def test_without_labels_there_is_a_series_from_the_start() -> None:
    registry = CollectorRegistry()
    counter, histogram = (
        Counter("seen_total", "Seen.", (), registry=registry),
        Histogram("took_seconds", "Took.", (), buckets=BOUNDS, registry=registry),
    )
    assert registry.get_sample_value("seen_total") == 0
    counter.inc()
    histogram.observe(0.1)

    assert registry.get_sample_value("seen_total") == 1
    assert registry.get_sample_value("took_seconds_bucket", {"le": "0.1"}) == 1


def test_labels_must_be_as_many_as_declared() -> None:
    counter = Counter("seen_total", "Seen.", ("x", "y"), registry=CollectorRegistry())

    with pytest.raises(ValueError, match=r"seen_total has the labels \('x', 'y'\), got \('a',\)"):
        counter.labels("a")


def test_a_name_is_taken_once() -> None:
    registry = CollectorRegistry()
    Counter("seen_total", "Seen.", (), registry=registry)

    with pytest.raises(ValueError, match="Duplicated"):
        Counter("seen_total", "Seen.", (), registry=registry)

"""What happened between two scrapes is what Prometheus would say of them."""

import math

import pytest

from router.aggregate import Aggregate, render
from router.metrics import Metrics, snapshot
from router.top.traffic import Scrape, Traffic, between, quantile
from serving.errors import QueueFull, Unavailable


def scrape(metrics: Metrics, at: float) -> Scrape:
    """Scrape as the admin port does."""
    aggregate = Aggregate()
    aggregate.update("worker", snapshot(metrics.registry))
    body, _ = render(aggregate, "")
    return Scrape.read(at, body.decode())


def happened(metrics: Metrics, before: Scrape, seconds: float) -> Traffic:
    found = between(before, scrape(metrics, before.at + seconds))
    assert found is not None
    return found


def test_rates_are_those_of_the_time_between() -> None:
    metrics = Metrics()
    metrics.answered("grpc", 0.004, 0.001)
    before = scrape(metrics, 10.0)
    for _ in range(8):
        metrics.answered("grpc", 0.004, 0.001)
    metrics.failed("rest", Unavailable("away"))
    metrics.failed("rest", QueueFull("full"))
    metrics.rewards.labels("recorded").inc(6)
    metrics.rewards.labels("duplicate").inc(2)
    metrics.rewards.labels("forged").inc(4)
    metrics.retries.labels("digits").inc(2)
    metrics.cost_usd.labels("digits", "v1", "busy").inc(0.001)

    found = happened(metrics, before, 2.0)

    assert found.requests_per_s == 5.0
    assert found.by_code_per_s == {"ok": 4.0, "queue_full": 0.5, "unavailable": 0.5}
    # A full queue is no fault: it is shed.
    assert found.error_ratio == pytest.approx(0.1)
    assert (found.shed_per_s, found.retries_per_s) == (0.5, 1.0)
    assert (found.rewards_per_s, found.rewards_refused_per_s) == (3.0, 2.0)
    assert found.p50_s is not None
    assert 0.0025 < found.p50_s < 0.005
    assert found.billed_usd_per_hour == pytest.approx(1.8)


def test_backends_have_their_calls_rows_and_ejections() -> None:
    metrics = Metrics()
    before = scrape(metrics, 0.0)
    for rows in (4, 8):
        metrics.batch_rows.labels("tfs-a").observe(rows)
    metrics.batches_in_flight.labels("tfs-a").set(2)
    metrics.batches_in_flight.labels("tfs-b").set(0)
    metrics.backend_ejections.labels("tfs-a").inc()

    found = happened(metrics, before, 1.0).backends

    assert (found["tfs-a"].calls_per_s, found["tfs-a"].rows_per_call) == (2.0, 6.0)
    assert (found["tfs-a"].calls_in_flight, found["tfs-a"].ejections) == (2.0, 1.0)
    assert (found["tfs-b"].calls_per_s, found["tfs-b"].rows_per_call) == (0.0, None)


def test_where_nothing_was_asked_there_is_no_share_and_no_latency() -> None:
    metrics = Metrics()

    found = happened(metrics, scrape(metrics, 0.0), 1.0)

    assert (found.requests_per_s, found.error_ratio, found.p50_s, found.p99_s) == (0.0, None, None, None)
    # Not known by a process that never asked the store.
    assert found.store_up is None


def test_counters_that_went_back_are_a_gateway_started_again() -> None:
    old, new = Metrics(), Metrics()
    old.answered("grpc", 0.004, 0.001)

    assert between(scrape(old, 0.0), scrape(new, 1.0)) is None


def test_without_time_between_there_are_no_rates() -> None:
    one = scrape(Metrics(), 1.0)

    assert between(one, one) is None


@pytest.mark.parametrize(
    ("share", "value"),
    [(0.25, 0.5), (0.5, 1.0), (0.625, 3.0), (0.9, 4.0), (1.0, 4.0)],
)
def test_quantile_lies_within_its_bucket(share: float, value: float) -> None:
    # 4 up to 1, none up to 2, 2 more up to 4, 2 beyond.
    buckets = [(1.0, 4.0), (2.0, 4.0), (4.0, 6.0), (math.inf, 8.0)]

    assert quantile(share, buckets) == pytest.approx(value)


@pytest.mark.parametrize("buckets", [[], [(1.0, 0.0), (math.inf, 0.0)]])
def test_quantile_of_nothing_is_none(buckets: list[tuple[float, float]]) -> None:
    assert quantile(0.5, buckets) is None

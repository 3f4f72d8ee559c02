"""The page for Prometheus: TF Serving's names, counts by status, times in its buckets."""

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.errors import ModelNotFound
from serving.local.monitoring import DEFAULT_PATH, Requests, read_path


def samples(requests: Requests) -> dict[tuple[str, ...], float]:
    """Return what a parser reads, by name and label values; it gives every counter the end `_total`."""
    families = text_string_to_metric_families(requests.page().decode())
    return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}


def test_requests_are_counted_by_status_and_only_answers_are_timed() -> None:
    requests = Requests(lambda name: name == "m")
    for name in ("m", "m", "unknown"):
        with requests.measured(name, "Predict", "GRPC"):
            pass
    with pytest.raises(ModelNotFound), requests.measured("m", "Predict", "GRPC"):
        raise ModelNotFound("gone")

    found = samples(requests)

    assert found[":tensorflow:serving:request_count_total", "m", "OK"] == 2
    assert found[":tensorflow:serving:request_count_total", "m", "NOT_FOUND"] == 1
    assert found[":tensorflow:serving:request_count_total", "", "OK"] == 1
    assert found[":tensorflow:serving:request_latency_count", "m", "Predict", "GRPC"] == 2
    # 1.8^9 · 10 µs are 2 ms: nothing was done.
    assert found[":tensorflow:serving:request_latency_bucket", "m", "Predict", "GRPC", "+Inf"] == 2
    assert found[":tensorflow:serving:request_latency_sum", "m", "Predict", "GRPC"] > 0


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("prometheus_config { enable: true }", DEFAULT_PATH),
        ('prometheus_config: { enable: true, path: "/m" }', "/m"),
        ('prometheus_config { path: "/m" }', None),
        ("", None),
    ],
)
def test_config_says_where_the_page_is(tmp_path: Path, text: str, path: str | None) -> None:
    (tmp_path / "monitoring.config").write_text(text)

    assert read_path(tmp_path / "monitoring.config") == path


def test_config_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "monitoring.config").write_text("prometheus: yes")

    with pytest.raises(ValueError, match=r"monitoring\.config is no MonitoringConfig.*prometheus"):
        read_path(tmp_path / "monitoring.config")
    with pytest.raises(ValueError, match="nowhere"):
        read_path(tmp_path / "nowhere")

"""What the configuration makes of a backend's batches."""

from pathlib import Path
from typing import Any

import yaml

from router.backends import batch_limits, slots_max
from router.config import Config, load_config
from serving.batcher import BatchLimits

BATCHING = {"max_rows": 100, "latency_ms": 50, "allowed_rows": [16, 4, 16]}


def limits(folder: Path, backend: dict[str, Any], *, workers: int = 1) -> BatchLimits:
    """The limits of a backend with one experiment, whose batching is BATCHING."""
    return batch_limits(configured(folder, backend, workers), "tfs")


def configured(folder: Path, backend: dict[str, Any], workers: int) -> Config:
    arms = [{"name": f"v{version}", "backend": "tfs", "version": version} for version in (1, 2)]
    experiment = {"name": "digits", "model": "digits", "control": "v1", "arms": arms, "batching": BATCHING}
    whole = {
        "store": f"sqlite:///{folder}/turpin.db",
        "workers": workers,
        "backends": {"tfs": {"target": "127.0.0.1:9000", "price_usd_per_hour": 0.5} | backend},
        "experiments": [experiment | {"objective": {"value_usd": 1e-6}}],
    }
    path = folder / "turpin.yaml"
    path.write_text(yaml.safe_dump(whole))
    return load_config(path, {})


def test_an_experiments_wishes_bound_what_is_learned(tmp_path: Path) -> None:
    found = limits(tmp_path, {})

    assert (found.max_rows, found.latency_s, found.allowed_rows) == (100, 0.05, {"digits": (4, 16)})
    assert (found.max_in_flight, found.is_in_flight_learned) == (8, True)


def test_the_backends_own_bounds_hold(tmp_path: Path) -> None:
    found = limits(tmp_path, {"max_batch_rows": 32, "max_in_flight": 3})

    assert (found.max_rows, found.max_in_flight, found.is_in_flight_learned) == (32, 3, False)


def test_workers_share_what_a_backend_bears(tmp_path: Path) -> None:
    assert limits(tmp_path, {}, workers=4).max_in_flight == 2
    assert limits(tmp_path, {"max_in_flight": 3}, workers=2).max_in_flight == 1
    assert limits(tmp_path, {"max_in_flight": 3}, workers=4).max_in_flight == 1


def test_workers_of_all_gateways_share_what_a_backend_bears(tmp_path: Path) -> None:
    config = configured(tmp_path, {"max_in_flight": 12}, workers=2)

    # As long as no more than our own are known, and with those of two other gateways; each has one call at least.
    assert [slots_max(config, "tfs", workers) for workers in (0, 1, 2, 6, 100)] == [6, 6, 6, 2, 1]

"""Builds what leads to the backends of the configuration: their replicas, and a dispatcher for each."""

import time
from collections.abc import Callable
from typing import Final

from router.config import Config
from router.metrics import Metrics
from serving.batcher import BatchLimits
from serving.dispatcher import BatchRecord, Dispatcher
from serving.replicas import Pools, Replicas

# One call computes while the next is on its way: more than two were never faster on one device (performance.md).
_MAX_IN_FLIGHT_AUTO: Final = 2
# For a backend without experiments, as much as an experiment is given.
_MAX_ROWS_DEFAULT: Final = 256


def pools(config: Config, metrics: Metrics) -> Pools:
    """Open a channel to every replica of every backend, as far as they are known."""
    return Pools(
        {
            name: Replicas(backend.target, on_ejection=metrics.backend_ejections.labels(name).inc)
            for name, backend in config.backends.items()
        }
    )


def dispatchers(config: Config, replicas: Pools, on_batch: Callable[[BatchRecord], None]) -> dict[str, Dispatcher]:
    """Make the dispatcher of each backend, which follows its replicas from now on."""
    made = {
        name: Dispatcher(
            one.upstreams,
            _limits(config, name),
            on_batch=on_batch,
            # The loop's own clock ticks in milliseconds under uvloop: too coarse for what a call costs.
            clock_ns=time.perf_counter_ns,
            on_unreached=one.suspect,
        )
        for name, one in replicas.replicas.items()
    }
    replicas.tell(made)
    return made


def _limits(config: Config, backend: str) -> BatchLimits:
    """Return the bounds of a backend's batches: the experiments' wish, within what the backend is said to bear."""
    settings = config.backends[backend]
    wished = [
        experiment.batching.max_rows
        for experiment in config.experiments
        if any(arm.backend == backend for arm in experiment.arms)
    ]
    rows = max(wished, default=_MAX_ROWS_DEFAULT)
    return BatchLimits(
        max_rows=min(rows, settings.max_batch_rows or rows),
        max_in_flight=_MAX_IN_FLIGHT_AUTO if settings.max_in_flight == "auto" else settings.max_in_flight,
        queue_rows=config.limits.queue_rows,
        queue_bytes=config.limits.queue_bytes,
    )

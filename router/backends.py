"""Builds what leads to the backends of the configuration: their replicas, and a dispatcher for each."""

import time
from collections.abc import Callable
from typing import Final

from router.config import Config
from router.config.experiment_sections import Batching
from router.metrics import Metrics
from serving.batcher import BatchLimits
from serving.dispatcher import BatchRecord, Dispatcher
from serving.replicas import Pools, Replicas

# With `auto` the number of calls in flight is found out, up to this one, all workers together. Four cards behind one
# address keep twice as many calls busy: beyond that a queue at the backend only hides from us who has waited how long.
_MAX_IN_FLIGHT_AUTO: Final = 8
# For a backend without experiments, what an experiment is given.
_BATCHING_DEFAULT: Final = Batching()


def pools(config: Config, metrics: Metrics) -> Pools:
    """Open a channel to every replica of every backend, as far as they are known."""
    metrics.expect(one.name for one in config.experiments)
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
            batch_limits(config, name),
            on_batch=on_batch,
            # The loop's own clock ticks in milliseconds under uvloop: too coarse for what a call costs.
            clock_ns=time.perf_counter_ns,
            on_unreached=one.suspect,
        )
        for name, one in replicas.replicas.items()
    }
    replicas.tell(made)
    return made


def batch_limits(config: Config, backend: str) -> BatchLimits:
    """Return the bounds of a backend's batches: the experiments' wishes, within what the backend is said to bear."""
    settings = config.backends[backend]
    wishes = [
        (arm.model, experiment.batching)
        for experiment in config.experiments
        for arm in experiment.arms
        if arm.backend == backend
    ]
    wished = [batching for _, batching in wishes] or [_BATCHING_DEFAULT]
    rows = max(batching.max_rows for batching in wished)
    return BatchLimits(
        max_rows=min(rows, settings.max_batch_rows or rows),
        max_in_flight=slots_max(config, backend, config.workers),
        latency_s=min(batching.latency_ms for batching in wished) / 1000,
        is_in_flight_learned=settings.max_in_flight == "auto",
        allowed_rows={model: tuple(sorted(set(one.allowed_rows))) for model, one in wishes if one.allowed_rows},
        queue_rows=config.limits.queue_rows,
        queue_bytes=config.limits.queue_bytes,
    )


def slots_max(config: Config, backend: str, workers: int) -> int:
    """Return how many calls one of so many workers may have on a replica, all gateways' together and at least our own.

    What a replica bears is shared by all of them; each needs one call to answer at all.
    """
    wished = config.backends[backend].max_in_flight
    in_flight = _MAX_IN_FLIGHT_AUTO if wished == "auto" else wished
    return max(1, in_flight // max(config.workers, workers))

"""Tries a quarantined arm with a few made-up calls, before real traffic does."""

import time
from collections.abc import Sequence
from statistics import median
from typing import Final

from serving import fleet, wire
from serving.calibrate import example_request
from serving.errors import FailedPrecondition
from serving.upstream import Servable, Upstream

# Of five calls two slow ones are still no median; and five take a fraction of a second.
_CALLS: Final = 5


async def try_arm(
    target: Servable, upstreams: Sequence[Upstream], *, rows: int, call_max_s: float | None, timeout_s: float
) -> None:
    """Return when every replica answers some batches of so many rows, in time; ServingError says why it does not."""
    assert target.version is not None  # noqa: S101 an arm always names its version
    for upstream in upstreams:
        signatures = await fleet.metadata(upstream, target.model, target.version, timeout_s)
        name = wire.DEFAULT_SIGNATURE
        if name not in signatures:
            raise FailedPrecondition(f"{target} has no signature {name} to be tried with")
        body = example_request(target, name, signatures[name], rows).SerializeToString()
        seconds = []
        for _ in range(_CALLS):
            began = time.perf_counter()
            await upstream.call(wire.PREDICT, body, timeout_s)
            seconds.append(time.perf_counter() - began)
        if call_max_s is not None and median(seconds) > call_max_s:
            took = f"{median(seconds) * 1e3:.1f} ms for {rows} rows, backend_p99_ms is {call_max_s * 1e3:g}"
            raise FailedPrecondition(f"{target} on {upstream.address} still takes {took}")

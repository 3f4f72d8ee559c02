"""The only place that reads the wall clock, and how much time this process gets; everything else is told the time."""

import time
from pathlib import Path
from typing import Final

# Of the thread that asks, which is the loop's (Envoy's process has it beside its own): nanoseconds on a processor, nanoseconds in wait for one, turns.
_SCHEDULE: Final = Path("/proc/thread-self/schedstat")


def unix_now() -> float:
    """Return the time in unix seconds, for records, tokens and the life of an experiment; never for time-outs."""
    return time.time()  # noqa: TID251 the one place this ban points to


def wanted_s() -> float:
    """Return for how many seconds the loop's thread has run, or waited for a processor where the kernel tells."""
    try:
        ran_ns, waited_ns, _ = _SCHEDULE.read_bytes().split()
    except OSError:
        return time.thread_time()
    return (int(ran_ns) + int(waited_ns)) * 1e-9

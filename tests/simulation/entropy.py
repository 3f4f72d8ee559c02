"""What a process takes from outside, from one seed: random bytes, and the clocks that the loop does not give."""

import contextlib
import os
import random
import secrets
import time
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def seeded(rng: random.Random, now: Callable[[], float]) -> Iterator[None]:
    """Draw names, epochs and nonces from `rng`, and measure durations by `now`, until it is left."""
    theirs: list[tuple[object, str, object]] = []
    ours: list[tuple[object, str, object]] = [
        (os, "urandom", rng.randbytes),
        (secrets, "token_bytes", lambda count=32: rng.randbytes(count)),
        (secrets, "token_hex", lambda count=32: rng.randbytes(count).hex()),
        (secrets, "randbits", rng.getrandbits),
        (time, "perf_counter", now),
        (time, "perf_counter_ns", lambda: int(now() * 1e9)),
    ]
    try:
        for module, name, replacement in ours:
            theirs.append((module, name, getattr(module, name)))
            setattr(module, name, replacement)
        yield
    finally:
        for module, name, original in theirs:
            setattr(module, name, original)

"""Ends a process well at a signal that comes while it still loads."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ended_at_once() -> Iterator[None]:
    """End with 0 at SIGINT and SIGTERM until an event loop takes them over: nothing is held yet.

    KeyboardInterrupt amid an import may be lost, or become another error: of some 170 gateways interrupted as they
    loaded two went on to serve, and TensorFlow was said to be missing.
    """
    before = {number: signal.signal(number, lambda *_: os._exit(0)) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

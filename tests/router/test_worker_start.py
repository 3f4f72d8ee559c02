"""Ctrl-C at a terminal reaches every process of a gateway, also workers that are still loading."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from router.supervisor import WORKER

_PATIENCE_S = 20.0


def ignores(pid: int, number: int) -> bool:
    """Say whether a process ignores a signal."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(lines["SigIgn"], 16) >> (number - 1) & 1)


def has_loaded(pid: int) -> bool:
    """Say whether a process has the library that a worker loads last, and that takes longest."""
    return "cygrpc" in Path(f"/proc/{pid}/maps").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_worker_that_loads_leaves_signals_to_the_control_process(number: int) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        worker = subprocess.Popen(
            [*WORKER, str(theirs.fileno())], pass_fds=[theirs.fileno()], stderr=subprocess.PIPE, text=True
        )
    try:
        give_up_at = time.monotonic() + _PATIENCE_S
        while not ignores(worker.pid, number):
            assert time.monotonic() < give_up_at
            os.sched_yield()
        is_early = not has_loaded(worker.pid)
        worker.send_signal(number)
        ours.close()
        _, complaints = worker.communicate(timeout=_PATIENCE_S)
    finally:
        worker.kill()
        worker.wait()

    # The line is closed, so it has nothing to do.
    assert (is_early, worker.returncode, complaints) == (True, 1, "")

"""A signal to a bench ends what the bench has started, before the bench itself ends."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from tests.load.test_processes import is_alive

# A bench like load.costs: a child of its own that only its owner ends, and that says when it was ended in order.
BENCH = """
import asyncio, sys
from pathlib import Path
from load.demo import processes
from load.demo.signals import run_whole

async def work(folder):
    waits = "import time; print('here', flush=True); time.sleep(60)"
    child = await processes.start("a child", [sys.executable, "-c", waits], folder / "child.log")
    try:
        print(child.pid, flush=True)
        await asyncio.Event().wait()
    finally:
        await processes.end(child)
        print("ended in order", flush=True)

run_whole(work(Path(sys.argv[1])))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_ends_the_children_and_then_the_bench(tmp_path: Path, number: signal.Signals) -> None:
    bench = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        BENCH,
        str(tmp_path),
        stdout=PIPE,
        stderr=PIPE,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert bench.stdout is not None
    pid = int(await bench.stdout.readline())

    bench.send_signal(number)
    out, err = await bench.communicate()

    assert not is_alive(pid)
    assert out.decode() == "ended in order\n"
    assert err.decode() == f"{number.name}: all processes have been ended\n"
    assert bench.returncode == 128 + number


@pytest.mark.parametrize(
    "module",
    [
        "load.costs.__main__",
        "load.switching.__main__",
        "load.bench.__main__",
        "load.bench.peers.__main__",
        "load.growth.__main__",
    ],
)
def test_benches_with_servers_run_that_way(module: str) -> None:
    text = Path(*module.split(".")).with_suffix(".py").read_text()

    assert "run_whole(" in text
    assert "asyncio.run(" not in text

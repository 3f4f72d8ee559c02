"""A worker that dies is started again, one that can't start ends the gateway, and none is left behind."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import structlog

from router.aggregate import Aggregate
from router.link import Configure, Counters, Failed, Message, Ready, Stop
from router.metrics import Metrics, snapshot
from router.supervisor import Listening, Supervisor, WorkerFailed
from tests.hurried_loop import run_hurried

STAND_IN: Final = Path(__file__).with_name("stand_in_worker.py")
CONFIGURE: Final = Configure(b"settings", (("k1", b"secret"),))


def body(message: Message) -> str:
    return msgspec.msgpack.encode(message).hex()


def send(message: Message) -> str:
    raw = msgspec.msgpack.encode(message)
    return f"send={len(raw).to_bytes(4, 'big').hex()}{raw.hex()}"


READY: Final = f"expect={body(CONFIGURE)},{send(Ready(8500, 8501))}"
SERVES: Final = f"{READY},stop,exit=0"


class Ends(Aggregate):
    """Says when a worker has ended. Mutable: the event."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = asyncio.Event()

    def retire(self, source: str) -> None:
        super().retire(source)
        self.ended.set()


class Bench:
    """A supervisor over stand-ins. Mutable: how often all were ready."""

    def __init__(self, folder: Path, *programs: str, workers: int = 1, begins: bool = True) -> None:
        # -I -S: without the environment's packages it starts in 10 ms.
        command = (sys.executable, "-I", "-S", str(STAND_IN), str(folder), *programs)
        self.aggregate = Ends()
        self.supervisor = Supervisor(CONFIGURE, workers, self.aggregate, command=command)
        if begins:
            self.supervisor.begin()
        self.stop = asyncio.Event()
        self.is_ready = asyncio.Event()
        self.ready_count = 0
        self.folder = folder

    def on_ready(self) -> None:
        self.ready_count += 1
        self.is_ready.set()

    async def ready(self) -> None:
        """Wait until all are ready, from now on."""
        await self.is_ready.wait()
        self.is_ready.clear()

    async def run(self) -> None:
        await self.supervisor.run(on_ready=self.on_ready, stop=self.stop)

    @property
    def starts(self) -> int:
        return len(list(self.folder.iterdir()))


Play = Callable[[Bench], Awaitable[None]]


async def play(on: Bench, scenario: Play) -> None:
    """Run the supervisor beside a scenario that ends with `stop`."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(on.run())
        await scenario(on)
        on.stop.set()


def run(scenario: Play, folder: Path, *programs: str) -> list[Any]:
    """Play a scenario in hurried time, where pauses and patience pass in a moment; return what was logged."""

    async def bench() -> None:
        await play(Bench(folder, *programs), scenario)

    with structlog.testing.capture_logs() as logs:
        run_hurried(bench())
    return logs


async def started(on: Bench, workers: int = 1) -> None:
    """Wait until the workers' processes run."""
    async with asyncio.timeout(10):
        while on.starts < workers:
            await asyncio.to_thread(os.sched_yield)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_workers_get_their_settings_and_are_told_to_stop(tmp_path: Path) -> None:
    on = Bench(tmp_path, f"{READY},expect={body(Stop())},exit=0", workers=2)

    async def scenario(on: Bench) -> None:
        await on.ready()
        pids = {place: found.pid for place, found in on.supervisor.ready.items()}
        assert on.supervisor.ready == {place: Listening(pids[place], 8500, 8501) for place in (0, 1)}
        assert len(set(pids.values())) == 2

    await play(on, scenario)

    assert (on.ready_count, on.starts, on.supervisor.ready) == (1, 2, {})


async def test_workers_are_started_at_once_and_serve_when_they_may_begin(tmp_path: Path) -> None:
    on = Bench(tmp_path, SERVES, begins=False)

    async def scenario(on: Bench) -> None:
        await started(on)
        assert not on.is_ready.is_set()
        on.supervisor.begin()
        await on.ready()

    await play(on, scenario)

    assert (on.starts, on.ready_count) == (1, 1)


async def test_workers_that_never_began_are_not_waited_for(tmp_path: Path) -> None:
    # As workers do that still load: they read nothing, and ignore signals.
    on = Bench(tmp_path, "hang", workers=2, begins=False)

    async def scenario(on: Bench) -> None:
        await started(on, workers=2)

    # Those that serve are given 15 s.
    async with asyncio.timeout(10):
        await play(on, scenario)

    assert (on.starts, on.ready_count) == (2, 0)


async def test_worker_that_dies_is_started_again_and_its_counters_are_kept(tmp_path: Path) -> None:
    metrics = Metrics()
    metrics.retries.labels("digits").inc(3)
    counted = send(Counters(snapshot(metrics.registry)))
    on = Bench(tmp_path, f"{counted},{READY},stop,exit=7")

    def retries() -> float:
        samples = [s for family in on.aggregate.collect() for s in family.samples if s.name == "turpin_retries_total"]
        return sum(sample.value for sample in samples)

    async def scenario(on: Bench) -> None:
        for _ in range(2):
            await on.ready()
            os.kill(on.supervisor.ready[0].pid, signal.SIGKILL)
        await on.ready()

    await play(on, scenario)

    assert (on.starts, on.ready_count) == (3, 3)
    assert retries() == 9.0


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (f"{send(Failed('the port is taken'))},exit=1", "the port is taken"),
        ("exit=3", "exit code 3"),
        ("close,exit=4", "exit code 4"),
    ],
)
async def test_worker_that_can_not_even_start_ends_the_gateway(tmp_path: Path, program: str, reason: str) -> None:
    on = Bench(tmp_path, program)

    with pytest.raises(ExceptionGroup) as caught:
        await on.run()

    (failure,) = caught.value.exceptions
    assert isinstance(failure, WorkerFailed)
    assert str(failure) == reason
    assert on.starts == 1


async def test_worker_that_can_not_start_takes_the_others_along(tmp_path: Path) -> None:
    on = Bench(tmp_path, f"{READY},hang", "exit=3", workers=2)

    with pytest.raises(ExceptionGroup):
        await on.run()

    assert not any(is_alive(found.pid) for found in on.supervisor.ready.values())


async def test_end_of_the_gateway_leaves_no_worker_behind(tmp_path: Path) -> None:
    on = Bench(tmp_path, f"{READY},hang")

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(on.run())
        await on.ready()
        pid = on.supervisor.ready[0].pid
        running.cancel()

    assert not is_alive(pid)


def test_worker_that_has_served_may_fail_and_is_tried_ever_more_rarely(tmp_path: Path) -> None:
    async def scenario(on: Bench) -> None:
        await on.ready()
        os.kill(on.supervisor.ready[0].pid, signal.SIGKILL)
        await on.ready()

    logs = run(scenario, tmp_path, f"{READY},hang", *["exit=3"] * 8, SERVES)

    died = [line for line in logs if line["event"] == "worker died: starting it again"]
    assert [line["pause_s"] for line in died] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    assert {line["reason"] for line in died[1:]} == {"exit code 3"}


def test_gateway_can_be_stopped_while_it_waits_to_start_a_worker(tmp_path: Path) -> None:
    async def scenario(on: Bench) -> None:
        await on.ready()
        os.kill(on.supervisor.ready[0].pid, signal.SIGKILL)
        for _ in range(4):
            await on.aggregate.ended.wait()
            on.aggregate.ended.clear()

    run(scenario, tmp_path, f"{READY},hang", "exit=3")


def test_worker_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    pids: list[int] = []

    async def scenario(on: Bench) -> None:
        await on.ready()
        pids.append(on.supervisor.ready[0].pid)

    run(scenario, tmp_path, f"{READY},hang")

    assert not is_alive(pids[0])


def test_worker_that_closes_its_line_and_stays_is_killed_and_started_again(tmp_path: Path) -> None:
    pids: list[int] = []

    async def scenario(on: Bench) -> None:
        await on.ready()
        pids.append(on.supervisor.ready[0].pid)
        await on.ready()
        assert on.supervisor.ready[0].pid != pids[0]

    run(scenario, tmp_path, f"{READY},close,hang", SERVES)

    assert not is_alive(pids[0])


def test_frame_that_no_worker_sends_is_passed_over(tmp_path: Path) -> None:
    async def scenario(on: Bench) -> None:
        await on.ready()

    logs = run(scenario, tmp_path, f"{send(Stop())},{SERVES}")

    assert [line["frame"] for line in logs if line["event"] == "unexpected frame from a worker"] == ["Stop"]

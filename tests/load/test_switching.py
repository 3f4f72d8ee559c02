"""What is made of the calls of a switching run, and that the sender keeps to its rate when answers are slow."""

import asyncio
from typing import Any, cast

import grpc
import grpc.aio
import pytest

from load.switching.open_loop import Call, OpenLoop
from load.switching.windows import Out, Window, quantile, rows
from serving import wire
from tests.simulated_loop import run_simulated

RETIRE = Window("retire", 10.0, 20.0)


def test_calls_belong_to_the_window_in_which_they_were_due() -> None:
    calls = [Call(9.9, 0.5, "v1"), Call(10.0, 0.010, "v1"), Call(19.9, 5.0, "v2"), Call(20.0, 0.5, "v1")]

    (row,) = rows([RETIRE], calls, [])

    assert (row.requests, row.failed, row.p50_s, row.p99_s, row.took_s) == (2, 0, 0.010, 5.0, 10.0)
    assert not row.is_kept


def test_loser_s_requests_count_from_when_it_was_drained_until_it_is_back() -> None:
    calls = [Call(at, 0.01, "v3") for at in (10.0, 12.0, 13.0, 15.0)] + [Call(13.5, 0.01, "v1")]

    (row,) = rows([RETIRE], calls, [Out("v3", 12.0, 15.0)])

    assert row.to_losers == 2
    assert not row.is_kept


def test_failure_is_counted_and_said_once() -> None:
    (row,) = rows([RETIRE], [Call(11.0, 0.01, "", "UNAVAILABLE: gone")] * 3 + [Call(12.0, 0.01, "v1")], [])

    assert (row.failed, row.errors, row.is_kept) == (3, ("UNAVAILABLE: gone",), False)


def test_quiet_switch_is_kept() -> None:
    (row,) = rows([RETIRE], [Call(11.0, 0.2, "v1")], [Out("v3", 10.5)])

    assert row.is_kept


@pytest.mark.parametrize(("part", "value"), [(0.0, 1.0), (0.5, 2.0), (0.75, 3.0), (0.76, 4.0), (1.0, 4.0)])
def test_quantile_is_the_smallest_that_so_many_do_not_exceed(part: float, value: float) -> None:
    assert quantile([1.0, 2.0, 3.0, 4.0], part) == value


class SlowChannel:
    """Every answer takes two seconds."""

    def unary_unary(self, path: str) -> Any:
        assert path == wire.PREDICT
        return lambda body, timeout: SlowCall()


class SlowCall:
    def __await__(self) -> Any:
        return asyncio.sleep(2.0).__await__()

    async def trailing_metadata(self) -> tuple[tuple[str, str], ...]:
        return (("turpin-arm", "v1"),)


def test_sender_keeps_its_rate_while_answers_are_slow() -> None:
    async def play() -> list[Call]:
        loop = asyncio.get_running_loop()
        sender = OpenLoop(cast("grpc.aio.Channel", SlowChannel()), b"", 100.0, loop.time)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(sender.run())
            await asyncio.sleep(1.0)
            sender.is_over = True
        return sender.calls

    calls = run_simulated(play())

    assert len(calls) == pytest.approx(100, abs=1)
    assert {round(call.seconds, 3) for call in calls} == {2.0}

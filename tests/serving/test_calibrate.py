"""Calibration: each arm alone, all in turn, in bounded time; what can't be measured is said, not guessed."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest

from serving import wire
from serving.calibrate import REPEATS, calibrate
from serving.cost import Line
from serving.errors import BackendError, Code, DeadlineExceeded, FailedPrecondition, ServingError
from serving.model_config import ModelFiles, seed
from serving.upstream import GrpcUpstream, Servable, Upstream
from tests.serving.fake_tfs import FakeTfs, Pause, SimulatedClock

SIZES = (1, 2, 4, 8, 16)


PIXELS = wire.SignatureDef(
    inputs={"pixels": {"name": "pixels:0", "dtype": 1, "tensor_shape": {"dim": [{"size": -1}, {"size": 64}]}}}
)


def servable(version: int) -> Servable:
    return Servable("tfs-a", "digits", version)


def fake_server(lines: Mapping[int, tuple[float, float]], pause: Pause) -> FakeTfs:
    files = ModelFiles("/models/digits", tuple(lines), {})
    return FakeTfs({"digits": list(lines)}, seed({"digits": files}).config(), lines=lines, pause=pause)


@asynccontextmanager
async def targets_of(fake: FakeTfs) -> AsyncIterator[list[tuple[Servable, Upstream]]]:
    async with fake:
        upstream = GrpcUpstream(fake.address)
        try:
            yield [(servable(version), upstream) for version in fake.lines]
        finally:
            await upstream.close()


async def run(
    targets: Sequence[tuple[Servable, Upstream]],
    clock: Callable[[], float],
    *,
    sizes: Sequence[int] = SIZES,
    latency_limit_s: float = 1.0,
    deadline: float = 1e6,
    repeats: int = REPEATS,
) -> dict[Servable, Line | ServingError]:
    signatures = {target: {"serving_default": PIXELS} for target, _ in targets}
    return await calibrate(
        targets,
        signatures,
        sizes=sizes,
        latency_limit_s=latency_limit_s,
        deadline=deadline,
        clock=clock,
        repeats=repeats,
    )


def coefficients(line: Line | ServingError) -> tuple[float, float]:
    assert isinstance(line, Line), line
    return line.a_s, line.b_s


async def test_each_target_gets_its_own_line() -> None:
    clock = SimulatedClock()
    fake = fake_server({1: (0.001, 0.0001), 2: (0.004, 0.00005), 3: (0.0, 0.01)}, clock.pause)
    async with targets_of(fake) as targets:
        lines = await run(targets, clock)

    assert {target.version: coefficients(line) for target, line in lines.items()} == {
        version: pytest.approx(line, rel=1e-6, abs=1e-9) for version, line in fake.lines.items()
    }


async def test_targets_take_turns_at_every_size_and_one_call_flies_at_a_time() -> None:
    clock = SimulatedClock()
    fake = fake_server({1: (0.001, 0.0), 2: (0.002, 0.0)}, clock.pause)
    async with targets_of(fake) as targets:
        await run(targets, clock, sizes=(1, 2))

    # First each size is warmed and tried, then come the rounds; two calls in a row belong to one target, and the call of
    # the try that counts is one of the last round's.
    turns = [(1, 1), (1, 1), (2, 1), (2, 1), (1, 2), (1, 2), (2, 2), (2, 2)]
    assert fake.predicted == turns + turns * (REPEATS // 2 - 1) + [(1, 1), (2, 1), (1, 2), (2, 2)]
    assert fake.in_flight_max == 1


async def test_the_first_call_of_a_size_is_not_counted() -> None:
    clock = SimulatedClock()
    seen: set[float] = set()

    async def compile_once(seconds: float) -> None:
        await clock.pause(seconds if seconds in seen else seconds + 0.5)
        seen.add(seconds)

    fake = fake_server({1: (0.001, 0.0001)}, compile_once)
    async with targets_of(fake) as targets:
        # One repeat: a counted compilation would be the whole measurement.
        lines = await run(targets, clock, repeats=1)

    assert coefficients(lines[servable(1)]) == pytest.approx((0.001, 0.0001), rel=1e-6)


async def test_a_few_disturbed_calls_do_not_bend_the_line() -> None:
    clock = SimulatedClock()
    calls = iter(range(10_000))

    async def disturbed(seconds: float) -> None:
        await clock.pause(seconds + (0.3 if next(calls) % 3 == 0 else 0.0))

    fake = fake_server({1: (0.001, 0.0001)}, disturbed)
    async with targets_of(fake) as targets:
        lines = await run(targets, clock)

    assert coefficients(lines[servable(1)]) == pytest.approx((0.001, 0.0001), rel=1e-6)


async def test_an_arm_is_measured_as_it_is_when_it_serves_not_as_another_left_the_machine() -> None:
    clock = SimulatedClock()
    last = [0]

    async def cold_after_another(seconds: float) -> None:
        # The first call of an arm after another's finds none of its weights in the caches.
        version = fake.predicted[-1][0]
        await clock.pause(seconds + (0.0 if last[0] == version else 0.002))
        last[0] = version

    fake = fake_server({1: (0.001, 0.0001), 2: (0.002, 0.0001)}, cold_after_another)
    async with targets_of(fake) as targets:
        lines = await run(targets, clock)

    assert {target.version: coefficients(line) for target, line in lines.items()} == {
        version: pytest.approx(line, rel=1e-6, abs=1e-9) for version, line in fake.lines.items()
    }


async def test_sizes_stop_growing_where_a_call_exceeds_the_latency_limit() -> None:
    clock = SimulatedClock()
    fake = fake_server({1: (0.0, 0.01), 2: (0.001, 0.0)}, clock.pause)
    async with targets_of(fake) as targets:
        lines = await run(targets, clock, latency_limit_s=0.035)

    assert max(rows for version, rows in fake.predicted if version == 1) == 4
    assert max(rows for version, rows in fake.predicted if version == 2) == 16
    assert coefficients(lines[servable(1)]) == pytest.approx((0.0, 0.01), abs=1e-9)


async def test_a_line_has_two_sizes_even_beyond_the_limit() -> None:
    clock = SimulatedClock()
    fake = fake_server({1: (0.5, 0.001)}, clock.pause)
    async with targets_of(fake) as targets:
        lines = await run(targets, clock, latency_limit_s=0.08)

    assert {rows for _, rows in fake.predicted} == {1, 2}
    assert coefficients(lines[servable(1)]) == pytest.approx((0.5, 0.001), rel=1e-6)


async def test_a_size_the_backend_refuses_ends_the_growth_not_the_calibration() -> None:
    clock = SimulatedClock()
    fake = fake_server({1: (0.001, 0.0001)}, clock.pause)
    fake.rows_max = 4
    async with targets_of(fake) as targets:
        lines = await run(targets, clock)

    assert [rows for _, rows in fake.predicted].count(8) == 1
    assert coefficients(lines[servable(1)]) == pytest.approx((0.001, 0.0001), rel=1e-6)


async def test_a_model_that_takes_single_rows_only_is_charged_by_them() -> None:
    clock = SimulatedClock()
    fake = fake_server({1: (0.002, 0.0)}, clock.pause)
    fake.rows_max = 1
    async with targets_of(fake) as targets:
        lines = await run(targets, clock)

    assert coefficients(lines[servable(1)]) == pytest.approx((0.0, 0.002))


async def test_a_target_that_fails_has_its_error_and_the_others_their_lines() -> None:
    clock = SimulatedClock()
    fake = fake_server({1: (0.001, 0.0), 2: (0.001, 0.0)}, clock.pause)
    fake.refusals[2] = (Code.INTERNAL, "Could not find compiler")
    async with targets_of(fake) as targets:
        lines = await run(targets, clock)

    failed = lines[servable(2)]
    assert isinstance(failed, BackendError)
    assert (failed.code, failed.message) == (Code.INTERNAL, "Could not find compiler")
    assert isinstance(lines[servable(1)], Line)
    assert [version for version, _ in fake.predicted].count(2) == 1


async def test_a_target_without_the_signature_is_not_called() -> None:
    clock = SimulatedClock()
    fake = fake_server({1: (0.001, 0.0)}, clock.pause)
    async with targets_of(fake) as targets:
        lines = await calibrate(
            targets, {}, sizes=SIZES, latency_limit_s=1.0, deadline=10.0, clock=clock, signature_name="classify"
        )

    assert isinstance(lines[servable(1)], FailedPrecondition)
    assert "classify" in str(lines[servable(1)])
    assert fake.predicted == []


async def test_when_time_runs_out_what_was_measured_is_fitted() -> None:
    clock = SimulatedClock()
    fake = fake_server({1: (0.1, 0.0)}, clock.pause)
    async with targets_of(fake) as targets:
        # Two sizes of 0.1 s: 4 calls climb, then each round takes 0.4 s; 1.5 s hold the five that are needed.
        lines = await run(targets, clock, sizes=(1, 2), deadline=1.5)

    assert coefficients(lines[servable(1)]) == pytest.approx((0.1, 0.0), abs=1e-6)
    assert clock.now <= 1.5 + 0.1 + 1e-9


async def test_with_too_few_calls_there_is_no_line() -> None:
    clock = SimulatedClock()
    fake = fake_server({1: (0.1, 0.0)}, clock.pause)
    async with targets_of(fake) as targets:
        lines = await run(targets, clock, sizes=(1, 2), deadline=0.95)

    assert isinstance(lines[servable(1)], DeadlineExceeded)
    assert "ran out of time" in str(lines[servable(1)])


class HangingUpstream:
    """A replica that takes calls and never answers, in simulated time."""

    address = "nowhere:8500"

    def __init__(self, clock: SimulatedClock) -> None:
        self.clock = clock

    async def call(self, method: str, body: bytes, timeout_s: float) -> bytes:
        await self.clock.pause(timeout_s)
        raise DeadlineExceeded(f"{method} with {len(body)} bytes was not answered")

    async def close(self) -> None:
        pass


async def test_a_target_that_hangs_takes_only_its_share_of_the_time() -> None:
    clock = SimulatedClock()
    fake = fake_server({1: (0.01, 0.0)}, clock.pause)
    async with targets_of(fake) as targets:
        lines = await run([(servable(9), HangingUpstream(clock)), *targets], clock, sizes=(1, 2), deadline=2.0)

    assert isinstance(lines[servable(9)], DeadlineExceeded)
    assert coefficients(lines[servable(1)]) == pytest.approx((0.01, 0.0), abs=1e-6)
    # Half of 2 s for the one that hangs, and 2 sizes times (16 + 1) calls of 10 ms for the other.
    assert clock.now == pytest.approx(1.0 + 0.34)


async def test_lines_of_a_real_clock_are_near_the_truth() -> None:
    fake = fake_server({1: (0.02, 0.001), 2: (0.01, 0.004)}, asyncio.sleep)
    async with targets_of(fake) as targets:
        deadline = time.perf_counter() + 10.0
        lines = await run(targets, time.perf_counter, sizes=(1, 8), repeats=5, deadline=deadline)

    truth = {servable(version): a + 8 * b for version, (a, b) in fake.lines.items()}
    at_8 = {target: line.seconds(8) for target, line in lines.items() if isinstance(line, Line)}
    # A round trip of this machine is on top, a few milliseconds when it is busy; timers never fire early.
    assert at_8.keys() == truth.keys()
    assert all(truth[target] * 0.99 <= at_8[target] <= truth[target] * 2 for target in truth)


@pytest.mark.parametrize("sizes", [[], [0, 1]])
async def test_sizes_that_can_not_be_are_refused(sizes: list[int]) -> None:
    with pytest.raises(ValueError, match="calibrate needs"):
        await run([], SimulatedClock(), sizes=sizes)


async def test_a_target_listed_twice_is_refused() -> None:
    upstream = GrpcUpstream("127.0.0.1:1")
    with pytest.raises(ValueError, match="each target once"):
        await run([(servable(1), upstream)] * 2, SimulatedClock())
    await upstream.close()

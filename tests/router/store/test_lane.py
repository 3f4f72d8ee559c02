"""The thread that callers hand work to, with a worker that does as the test says."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence

import pytest

from router.store import StoreUnavailable, StoreUnopenable
from router.store.lane import GROUP_CALLS, GROUP_REWARDS, QUEUE_CALLS, QUEUE_REWARDS, Job, Lane
from tests.router.store.samples import reward

# An hour in the queue of a test is a hang; a bound for waits on threads, never reached when all is well.
PATIENCE_S = 10.0


class Worker:
    """Runs jobs on a list, keeps the groups it got, and stands still while its gate is shut."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.groups: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Semaphore(0)
        self.open_error: Exception | None = None
        self.is_closed = False

    def open(self) -> None:
        if self.open_error is not None:
            raise self.open_error

    def perform(self, group: Sequence[Job[list[str], object]]) -> None:
        self.begun.release()
        self.groups.append(len(group))
        assert self.gate.wait(PATIENCE_S)
        for job in group:
            job.perform(self.done)

    def close(self) -> None:
        self.is_closed = True


async def say(lane: Lane[list[str]], word: str) -> str:
    return await lane.ask(saying(word))


def saying(word: str, rewards: int = 0) -> Job[list[str], str]:
    def say(done: list[str]) -> str:
        done.append(word)
        return word.upper()

    return Job(say, [reward(number) for number in range(rewards)])


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.fixture
async def lane(worker: Worker) -> AsyncIterator[Lane[list[str]]]:
    opened = Lane("the lane", worker, timeout_s=PATIENCE_S)
    await opened.open()
    yield opened
    worker.gate.set()
    await opened.close()


async def hold(worker: Worker, lane: Lane[list[str]], tasks: asyncio.TaskGroup) -> None:
    """Shut the gate, with one job before it."""
    worker.gate.clear()
    tasks.create_task(lane.ask(saying("first")))
    assert await asyncio.to_thread(worker.begun.acquire, timeout=PATIENCE_S)


async def test_a_job_runs_and_its_result_comes_back(worker: Worker, lane: Lane[list[str]]) -> None:
    assert await lane.ask(saying("hello")) == "HELLO"
    assert worker.done == ["hello"]


async def test_what_arrives_during_a_group_forms_the_next(worker: Worker, lane: Lane[list[str]]) -> None:
    async with asyncio.TaskGroup() as tasks:
        await hold(worker, lane, tasks)
        calls = [tasks.create_task(lane.ask(saying(str(number)))) for number in range(50)]
        await asyncio.sleep(0)
        worker.gate.set()

    assert worker.groups == [1, 50]
    assert [call.result() for call in calls] == [str(number) for number in range(50)]


async def test_groups_are_bounded_in_rewards_and_in_calls(worker: Worker, lane: Lane[list[str]]) -> None:
    async with asyncio.TaskGroup() as tasks:
        await hold(worker, lane, tasks)
        for number in range(3):
            tasks.create_task(lane.ask(saying(str(number), rewards=GROUP_REWARDS // 2)))
        for number in range(GROUP_CALLS):
            tasks.create_task(lane.ask(saying(str(number))))
        await asyncio.sleep(0)
        worker.gate.set()

    assert worker.groups == [1, 2, GROUP_CALLS, 1]


async def test_a_full_queue_refuses_rewards_and_still_takes_other_calls(worker: Worker, lane: Lane[list[str]]) -> None:
    async with asyncio.TaskGroup() as tasks:
        await hold(worker, lane, tasks)
        tasks.create_task(lane.ask(saying("many", rewards=QUEUE_REWARDS)))
        await asyncio.sleep(0)
        with pytest.raises(StoreUnavailable, match=f"the lane is full: {QUEUE_REWARDS} rewards wait"):
            await lane.ask(saying("one more", rewards=1))
        lease = tasks.create_task(lane.ask(saying("lease")))
        await asyncio.sleep(0)
        worker.gate.set()

    assert lease.result() == "LEASE"
    assert worker.done == ["first", "many", "lease"]


async def test_rewards_that_were_taken_free_their_places(worker: Worker, lane: Lane[list[str]]) -> None:
    await lane.ask(saying("many", rewards=QUEUE_REWARDS))
    async with asyncio.TaskGroup() as tasks:
        await hold(worker, lane, tasks)
        tasks.create_task(lane.ask(saying("one", rewards=1)))
        tasks.create_task(lane.ask(saying("all but one", rewards=QUEUE_REWARDS - 1)))
        await asyncio.sleep(0)
        worker.gate.set()

    assert worker.done == ["many", "first", "one", "all but one"]


async def test_a_full_queue_refuses_any_call(worker: Worker, lane: Lane[list[str]]) -> None:
    async with asyncio.TaskGroup() as tasks:
        await hold(worker, lane, tasks)
        for number in range(QUEUE_CALLS):
            tasks.create_task(lane.ask(saying(str(number))))
        await asyncio.sleep(0)
        with pytest.raises(StoreUnavailable, match=f"{QUEUE_CALLS} calls wait"):
            await lane.ask(saying("one more"))
        worker.gate.set()

    assert len(worker.done) == 1 + QUEUE_CALLS


async def test_a_call_larger_than_the_queue_is_taken_alone(worker: Worker, lane: Lane[list[str]]) -> None:
    assert await lane.ask(saying("huge", rewards=QUEUE_REWARDS + 1)) == "HUGE"


async def test_a_cancelled_caller_s_queued_job_is_never_run(worker: Worker, lane: Lane[list[str]]) -> None:
    async with asyncio.TaskGroup() as tasks:
        await hold(worker, lane, tasks)
        gone = tasks.create_task(lane.ask(saying("gone", rewards=QUEUE_REWARDS)))
        stays = tasks.create_task(lane.ask(saying("stays")))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        worker.gate.set()

    assert gone.cancelled()
    assert stays.result() == "STAYS"
    assert worker.done == ["first", "stays"]
    assert await lane.ask(saying("again", rewards=QUEUE_REWARDS)) == "AGAIN"  # Its places in the queue are free again.


async def test_a_caller_cancelled_while_its_job_runs_breaks_nothing(worker: Worker, lane: Lane[list[str]]) -> None:
    worker.gate.clear()
    async with asyncio.TaskGroup() as tasks:
        gone = tasks.create_task(lane.ask(saying("gone")))
        assert await asyncio.to_thread(worker.begun.acquire, timeout=PATIENCE_S)
        gone.cancel()
        await asyncio.sleep(0)
        worker.gate.set()

    assert await lane.ask(saying("next")) == "NEXT"
    assert worker.done == ["gone", "next"]


async def test_a_refusal_comes_back_to_its_own_caller_only(lane: Lane[list[str]]) -> None:
    def refuse(done: list[str]) -> str:
        raise StoreUnavailable("no")

    async def refused() -> bool:
        with pytest.raises(StoreUnavailable, match="no"):
            await lane.ask(Job(refuse))
        return True

    async with asyncio.TaskGroup() as tasks:
        bad = tasks.create_task(refused())
        good = tasks.create_task(lane.ask(saying("good")))

    assert (bad.result(), good.result()) == (True, "GOOD")


async def test_an_unforeseen_exception_ends_a_group_and_not_the_lane(
    worker: Worker, lane: Lane[list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    def fail(done: list[str]) -> str:
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        await lane.ask(Job(fail))

    assert await lane.ask(saying("next")) == "NEXT"
    assert "store work failed" in caplog.text


async def test_a_worker_that_never_answers_makes_the_store_unavailable(worker: Worker) -> None:
    lane = Lane("the lane", worker, timeout_s=0.05)
    await lane.open()
    worker.gate.clear()

    with pytest.raises(StoreUnavailable, match=r"the lane did not answer within 0\.05 s"):
        await lane.ask(saying("late"))

    worker.gate.set()
    await lane.close()


async def test_closing_finishes_what_is_queued(worker: Worker, lane: Lane[list[str]]) -> None:
    async with asyncio.TaskGroup() as tasks:
        await hold(worker, lane, tasks)
        call = tasks.create_task(lane.ask(saying("queued", rewards=1)))
        closing = tasks.create_task(lane.close())
        await asyncio.sleep(0)
        with pytest.raises(StoreUnavailable, match="the lane is not open"):
            await lane.ask(saying("too late"))
        worker.gate.set()

    assert call.result() == "QUEUED"
    assert closing.done()
    assert worker.is_closed


async def test_a_worker_that_can_t_open_says_why_and_is_closed(worker: Worker) -> None:
    worker.open_error = StoreUnopenable("no such folder")
    lane = Lane("the lane", worker)

    with pytest.raises(StoreUnopenable, match="no such folder"):
        await lane.open()
    await lane.close()

    assert worker.is_closed


def test_callers_may_live_on_several_loops_and_a_loop_may_end_early(worker: Worker) -> None:
    lane = Lane("the lane", worker)
    with asyncio.Runner() as first, asyncio.Runner() as second:
        first.run(lane.open())
        worker.gate.clear()

        async def leave() -> None:
            """Begin a call and go away with the loop, as a process that is told to end does."""
            job = saying("from a closed loop")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await lane.ask(job)

        with asyncio.Runner() as third:
            third.run(leave())
        worker.gate.set()

        assert second.run(say(lane, "second")) == "SECOND"
        assert first.run(say(lane, "first")) == "FIRST"
        first.run(lane.close())

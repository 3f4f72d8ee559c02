"""What is kept of requests whose clients left: nothing."""

import asyncio
import gc
import sys

from serving.batcher import BatchLimits
from serving.dispatcher import Dispatcher
from tests.serving.replica import V1, Replica, now, outcome, request
from tests.simulated_loop import run_simulated

LIMITS = BatchLimits(
    max_rows=32, max_in_flight=4, queue_rows=4096, queue_bytes=10**9, latency_s=0.08, is_in_flight_learned=True
)
CALL_S = 0.01
MANY = 1_600


def test_nothing_is_kept_of_a_request_that_was_cancelled() -> None:
    blocks: list[int] = []
    replica = Replica(seconds=lambda _: CALL_S)

    async def cancel(dispatcher: Dispatcher, count: int) -> None:
        for _ in range(count // 40):
            async with asyncio.TaskGroup() as group:
                asked = [
                    group.create_task(outcome(dispatcher.predict(V1, request(row), now() + 30.0))) for row in range(40)
                ]
                # Half of them while they are queued, half while they are under way.
                await asyncio.sleep(CALL_S / 2)
                for task in asked:
                    task.cancel()

    async def play() -> None:
        async with Dispatcher([replica], LIMITS, on_batch=lambda _: None) as dispatcher:
            for _ in range(3):
                await cancel(dispatcher, MANY)
                await asyncio.sleep(1.0)
                # The replica's own notes are no leak.
                for notes in (replica.requests, replica.timeouts_s, replica.spans_ns):
                    notes.clear()
                gc.collect()
                blocks.append(sys.getallocatedblocks())

    run_simulated(play())

    # The first time fills caches and windows of fixed size. One block kept of each request would be 1,600.
    assert blocks[2] - blocks[1] < MANY / 10

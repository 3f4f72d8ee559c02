"""More than a replica can answer, in virtual time: some are answered in time, the others are told so at once."""

import asyncio

from serving import wire
from serving.batcher import BatchLimits
from serving.dispatcher import Answer, Dispatcher
from serving.errors import Code, Overloaded, ServingError
from tests.serving.replica import V1, Replica, now, outcome, request, rows_of
from tests.simulated_loop import run_simulated

LIMITS = BatchLimits(
    max_rows=64, max_in_flight=8, queue_rows=4096, queue_bytes=10**9, latency_s=0.1, is_in_flight_learned=True
)


def test_requests_shed_are_told_at_once_and_those_answered_are_in_time() -> None:
    found: list[tuple[float, float, Answer | ServingError]] = []
    free_at = 0.0

    def in_turn(message: wire.Message) -> float:
        nonlocal free_at
        free_at = max(now(), free_at) + 0.001 + len(rows_of(message)) / 150
        return free_at - now()

    replica = Replica(seconds=in_turn)

    async def client(dispatcher: Dispatcher, row: int) -> None:
        began = now()
        answer = await outcome(dispatcher.predict(V1, request(row), began + 30.0, client=row % 3))
        found.append((now(), now() - began, answer))

    async def play() -> None:
        async with Dispatcher([replica], LIMITS, on_batch=lambda _: None) as dispatcher, asyncio.TaskGroup() as group:
            for row in range(3_000):
                group.create_task(client(dispatcher, row))
                await asyncio.sleep(0.001 if row > 300 else 0.01)

    run_simulated(play())
    shed = [(seconds, one) for _, seconds, one in found if isinstance(one, Overloaded)]
    # Calm for three seconds, then the flood; it is known for one after another second.
    answered = [seconds for when, seconds, one in found if isinstance(one, Answer) and when > 4.5]

    assert {error.code for _, error in shed} == {Code.RESOURCE_EXHAUSTED}
    # Those cut out of the queue at the beginning waited; all others were told at once.
    assert sorted(seconds for seconds, _ in shed)[len(shed) // 2] == 0.0
    assert len(answered) >= 0.85 * 150 * (max(when for when, _, _ in found) - 4.5)
    assert max(answered) <= 1.5 * 0.1

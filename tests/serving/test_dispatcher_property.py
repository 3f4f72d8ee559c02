"""Sizes, cancels, deadlines, probes and faults all at once: nobody gets another's rows, and nobody is lost."""

import asyncio
import random
from collections import Counter

import pytest

from serving import wire
from serving.batcher import BatchLimits
from serving.dispatcher import BatchRecord, Dispatcher
from serving.errors import BackendError, Code, DeadlineExceeded, ServingError, Unavailable
from serving.upstream import Servable
from tests.serving.replica import (
    Replica,
    identity,
    now,
    only_one,
    request,
    rows_of,
    values,
)
from tests.simulated_loop import run_simulated


class World:
    """Clients and replicas drawn from a seed. Rows are numbered through; one in 25 requests is poisoned."""

    def __init__(self, seed: int, rows: int) -> None:
        self.rng = random.Random(seed)
        self.rows = rows
        self.poison: set[int] = set()
        self.seen: Counter[str] = Counter()
        self.replicas = [Replica(self.answer, self.seconds, f"replica:{index}") for index in range(2)]
        self.records: list[BatchRecord] = []

    def seconds(self, _: wire.Message) -> float:
        return 0.2 if self.rng.random() < 0.02 else self.rng.choice((0.0, 0.001, 0.002, 0.005))

    def answer(self, message: wire.Message) -> bytes:
        if self.poison.intersection(rows_of(message)):
            raise BackendError(Code.INVALID_ARGUMENT, "poison")
        match self.rng.random():
            case chance if chance < 0.03:
                raise Unavailable("gone")
            case chance if chance < 0.06:
                raise KeyError("nobody foresaw this")
            case chance if chance < 0.08:
                return b"\xff\xff"
        return only_one(message) if message.model_spec.version.value == 3 else identity(message)

    async def client(self, dispatcher: Dispatcher, first: int, rows: int) -> None:
        """Ask once, perhaps with little patience, and check whose rows come back."""
        is_poisoned = self.rng.random() < 0.04
        if is_poisoned:
            self.poison.add(first + self.rng.randrange(rows))
        # The third version is not batch-major: single rows only, or the model itself would answer too few.
        version = self.rng.choice((1, 2, 3) if rows == 1 else (1, 2))
        message = request(first, rows)
        if self.rng.random() < 0.1:
            message.model_spec.signature_name = "other"
        deadline = now() + self.rng.choice((0.003, 0.05, 5.0))
        started = now()
        try:
            answer = await dispatcher.predict(Servable("tfs-a", "digits", version), message, deadline)
        except BackendError:
            assert is_poisoned
            self.seen["poisoned"] += 1
        except ServingError as error:
            self.seen[error.label] += 1
            # To the moment, or before it when no answer could come in time.
            if isinstance(error, DeadlineExceeded) and "not sent" not in error.message:
                assert now() == pytest.approx(deadline)
        except asyncio.CancelledError:
            self.seen["left"] += 1
            raise
        else:
            assert not is_poisoned
            assert values(answer) == list(range(first, first + rows))
            assert answer.response.model_spec.version.value == version
            self.seen["answered"] += 1
        assert started <= now() <= deadline + 1e-9

    async def play(self) -> None:
        limits = BatchLimits(
            max_rows=32, max_in_flight=4, queue_rows=256, queue_bytes=100_000, latency_s=0.08, is_in_flight_learned=True
        )

        def ask(address: str) -> None:
            # As `serving.replicas` does with a replica that a call did not reach: it is there, and answers within 2 ms.
            asyncio.get_running_loop().call_later(0.002, lambda: dispatcher.admit(address, is_open=True))

        async with Dispatcher(self.replicas, limits, on_batch=self.records.append, on_unreached=ask) as dispatcher:
            async with asyncio.TaskGroup() as group:
                first = 0
                while first < self.rows:
                    rows = self.rng.choice((1, 1, 2, 5, 20, 40))
                    task = group.create_task(self.client(dispatcher, first, rows))
                    if self.rng.random() < 0.1:
                        asyncio.get_running_loop().call_later(self.rng.choice((0.0, 0.001, 0.01)), task.cancel)
                    if self.rng.random() < 0.05:
                        dispatcher.probe(Servable("tfs-a", "digits", self.rng.choice((1, 2))), 16)
                    first += rows
                    await asyncio.sleep(self.rng.choice((0.0, 0.001, 0.005)))
            # Calls whose riders have all left may still be under way.
            await asyncio.sleep(30.0)
            assert [dispatcher.in_flight(Servable("tfs-a", "digits", version)) for version in (1, 2, 3)] == [0, 0, 0]

    def busy_ns(self, address: str) -> int:
        """Wall time in which a replica had at least one call, by its own account."""
        (replica,) = [one for one in self.replicas if one.address == address]
        busy_ns = until_ns = 0
        for started_ns, ended_ns in sorted(replica.spans_ns):
            busy_ns += max(0, ended_ns - max(started_ns, until_ns))
            until_ns = max(until_ns, ended_ns)
        return busy_ns


@pytest.mark.parametrize("seed", range(4))
def test_nobody_gets_anothers_rows_under_any_mix_of_sizes_cancels_and_faults(seed: int) -> None:
    world = World(seed, rows=10_000)
    run_simulated(world.play())

    for replica in world.replicas:
        charged_ns = [record.charged_ns for record in world.records if record.replica == replica.address]
        assert sum(charged_ns) == world.busy_ns(replica.address)
        assert replica.cancelled == 0
    assert any(record.is_probe and record.pad_to == 16 for record in world.records)
    # Each way to end was met, and hundreds ended well, though clients send more than these replicas bear.
    ways = {"answered", "left", "poisoned", "deadline", "unavailable", "internal"}
    assert ways <= set(world.seen)
    assert world.seen["answered"] > 250

"""What a worker tells the store, and what it does while that is away, or refuses."""

import asyncio

import pytest

from router import heartbeat
from router.heartbeat import Heartbeat
from router.labels import Labels
from router.ledger import Ledger
from router.routes import Routes
from router.store import Deltas, StoreError, StoreUnavailable, StoreUnopenable
from router.store.memory import MemoryStore
from router.sync import StoreSync
from router.trials import Trials
from tests.router.samples import BACKEND, CELL_1, EPOCH, MODEL, NOW
from tests.simulated_loop import run_simulated


class MoodyStore(MemoryStore):
    """A store that raises what it is told to at each flush, after a while. Mutable: what, and how long."""

    fails: StoreError | None = None
    takes_s: float = 0.0

    async def flush(self, gateway: str, sequence: int, deltas: Deltas, heartbeat: bytes, now: float) -> None:
        await asyncio.sleep(self.takes_s)
        if self.fails is not None:
            raise self.fails
        await super().flush(gateway, sequence, deltas, heartbeat, now)


class Bench:
    """A worker's end of the line. Mutable: whether its spool holds anything."""

    def __init__(self) -> None:
        self.store, self.ledger, self.is_spooling = MoodyStore(), Ledger(), False
        self.sync = StoreSync(
            self.store,
            "gw",
            routes=Routes({BACKEND: (MODEL,)}),
            labels=Labels({}),
            ledger=self.ledger,
            trials=Trials(),
            beat=lambda lives: Heartbeat({}, is_spooling=self.is_spooling),
            unix_now=lambda: NOW,
        )

    async def beat(self) -> bytes:
        """The last heartbeat as the store has it."""
        return (await self.store.heartbeats(NOW, 10.0))["gw"]

    async def decisions(self) -> int:
        """What was counted."""
        return (await self.store.sums(EPOCH))[CELL_1.arm, CELL_1.block]["decisions"]


async def opened() -> Bench:
    bench = Bench()
    await bench.store.open()
    return bench


async def test_heartbeats_are_numbered_and_the_last_one_is_empty() -> None:
    on = await opened()
    numbers = []
    for _ in range(3):
        assert await on.sync.exchange()
        numbers.append(heartbeat.decode(await on.beat()).number)
    await on.sync.finish()

    assert numbers == [1, 2, 3]
    assert await on.beat() == b""


def test_heartbeat_says_how_long_an_exchange_takes_but_of_none_that_failed() -> None:
    async def told() -> list[float]:
        on = await opened()
        found = []
        for takes_s, fails in ((0.5, None), (4.0, StoreUnavailable("away")), (0.1, None), (0.0, None)):
            on.store.takes_s, on.store.fails = takes_s, fails
            await on.sync.exchange()
            if fails is None:
                found.append(heartbeat.decode(await on.beat()).exchange_s)
        return found

    # Each tells of the one before it.
    assert run_simulated(told()) == [0.0, 0.5, 0.1]


async def test_worker_that_leaves_rewards_in_its_spool_is_missed() -> None:
    on = await opened()
    on.is_spooling = True
    await on.sync.finish()

    assert heartbeat.decode(await on.beat()).is_spooling


@pytest.mark.parametrize("error", [StoreUnavailable("away"), StoreUnopenable("password"), StoreError("no")])
async def test_counts_wait_for_a_store_that_is_away_or_refuses(error: StoreError) -> None:
    on = await opened()
    on.ledger.add(CELL_1, decisions=2)
    on.store.fails = error
    assert not await on.sync.exchange()
    on.ledger.add(CELL_1, decisions=3)
    on.store.fails = None

    assert await on.sync.exchange()
    await on.sync.finish()
    assert await on.decisions() == 5


async def test_experiments_that_are_never_published_are_waited_for_until_the_process_is_to_end() -> None:
    on = await opened()
    stop = asyncio.Event()
    stop.set()

    await on.sync.await_experiments(["digits"], stop)

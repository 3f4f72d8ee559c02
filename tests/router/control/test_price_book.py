"""What waits at the leader waits everywhere, and an operator's word at any gateway reaches the leader."""

import json
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from router.config.document import validate
from router.config.settings import Backend
from router.control.feeds import Feeds
from router.control.price_book import PriceBook, decode
from router.store.memory import MemoryStore

NAME = "tfs-a"


@dataclass(slots=True)
class Process:
    """One control process. Mutable: whether it leads."""

    store: MemoryStore
    file: Path
    feeds: Feeds
    fence: int | None = None

    @classmethod
    def on(cls, store: MemoryStore, file: Path) -> "Process":
        """A process that follows the file."""
        price = {"feed": f"file:{file}", "key": "k"}
        backends = {NAME: validate(Backend, {"target": "a:1", "price_usd_per_hour": price})}
        return cls(store, file, Feeds(backends, now=lambda: 1.0))

    async def read(self, price: float) -> None:
        """Find this price in the file."""
        self.file.write_text(json.dumps({"k": price}))
        await self.feeds.read(f"file:{self.file}", None)

    async def turn(self) -> None:
        """One turn of the book."""
        await PriceBook(self.store, self.feeds, lambda: self.fence).turn()

    async def lead(self) -> None:
        """Take the lease."""
        self.fence = await self.store.lease(str(id(self)), 1.0, 60.0)

    @property
    def price(self) -> float | None:
        """The price in force."""
        return self.feeds.prices_usd_per_hour().get(NAME)

    @property
    def waiting(self) -> float | None:
        """The price that waits."""
        return self.feeds.quotes()[NAME].waiting_usd_per_hour


async def accept(store: MemoryStore, price: float) -> None:
    """What an operator's call writes."""
    (record,) = await store.prices()
    after = msgspec.structs.replace(decode(record.document), accepted_usd_per_hour=price)
    await store.save_price(NAME, msgspec.json.encode(after), record.revision, None)


@pytest.fixture
async def store() -> MemoryStore:
    made = MemoryStore()
    await made.open()
    return made


async def test_gateway_that_began_after_the_step_waits_with_the_leader_until_it_is_accepted(
    store: MemoryStore, tmp_path: Path
) -> None:
    leader, other = Process.on(store, tmp_path / "p"), Process.on(store, tmp_path / "p")
    await leader.lead()
    await leader.read(0.5)
    await leader.read(5.0)
    await leader.turn()
    await other.read(5.0)
    await other.turn()
    assert [(one.price, one.waiting) for one in (leader, other)] == [(0.5, 5.0)] * 2

    await accept(store, 5.0)
    await leader.turn()
    await other.turn()

    assert [(one.price, one.waiting) for one in (leader, other)] == [(5.0, None)] * 2
    (record,) = await store.prices()
    assert decode(record.document).accepted_usd_per_hour is None


async def test_word_given_while_nobody_leads_is_heard_by_the_next_leader(store: MemoryStore, tmp_path: Path) -> None:
    first, second = Process.on(store, tmp_path / "p"), Process.on(store, tmp_path / "p")
    await first.lead()
    await first.read(0.5)
    await first.read(5.0)
    await first.turn()
    await store.release(str(id(first)))
    await accept(store, 5.0)
    await second.lead()
    second.feeds.remember({NAME: 0.5})
    await second.turn()
    assert second.price == 0.5

    await second.read(5.0)
    await second.turn()

    assert (second.price, second.waiting) == (5.0, None)


async def test_word_covers_what_is_no_step_from_it_and_nothing_else(store: MemoryStore, tmp_path: Path) -> None:
    leader = Process.on(store, tmp_path / "p")
    await leader.lead()
    await leader.read(0.5)
    await leader.read(5.0)
    await leader.turn()
    await accept(store, 5.0)
    await leader.read(50.0)
    await leader.turn()
    assert (leader.price, leader.waiting) == (0.5, 50.0)

    await accept(store, 50.0)
    await leader.read(60.0)
    await leader.turn()

    assert (leader.price, leader.waiting) == (60.0, None)


async def test_price_that_went_back_by_itself_needs_no_word(store: MemoryStore, tmp_path: Path) -> None:
    leader = Process.on(store, tmp_path / "p")
    await leader.lead()
    await leader.read(0.5)
    await leader.read(5.0)
    await leader.turn()
    await accept(store, 5.0)
    await leader.read(0.5)
    await leader.turn()
    await leader.read(5.0)
    await leader.turn()

    assert (leader.price, leader.waiting) == (0.5, 5.0)


async def test_who_leads_no_more_writes_nothing(store: MemoryStore, tmp_path: Path) -> None:
    old, new = Process.on(store, tmp_path / "p"), Process.on(store, tmp_path / "p")
    await old.lead()
    await old.read(0.5)
    await store.release(str(id(old)))
    await new.lead()

    await old.turn()

    assert await store.prices() == []

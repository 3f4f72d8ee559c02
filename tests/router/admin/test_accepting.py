"""An operator's word on a price that waits may be sent twice: with an Idempotency-Key it is given once, and told again."""

import json
from pathlib import Path

import msgspec

from router.admin.reading import AUDIT
from router.control.price_book import decode
from tests.router.admin.bench import Bench
from tests.router.admin.test_audit import FED, gateway, waiting_price

PATH = f"/admin/v1/prices/{FED}:accept"


async def price_steps_to(on: Bench, price: float) -> None:
    """The leader reads another price."""
    (on.folder / "prices.json").write_text(json.dumps({"k": price}))
    await on.feeds.read(f"file:{on.folder}/prices.json", None)
    await on.book.turn()


async def test_word_is_given_once_and_told_again_even_when_the_leader_has_heard_it(tmp_path: Path) -> None:
    async with gateway(tmp_path) as on:
        await waiting_price(on)
        first = await on.call("POST", PATH, {"reason": "x"}, Idempotency_Key="k-1")
        await on.book.turn()
        assert on.feeds.quotes()[FED].usd_per_hour == 5.0
        # A further step waits: the word was not on this one.
        await price_steps_to(on, 50.0)

        again = await on.call("POST", PATH, {"reason": "x"}, Idempotency_Key="k-1")
        other = await on.call("POST", PATH, {"reason": "y"}, Idempotency_Key="k-1")
        await on.book.turn()

        assert (first.status, first.body) == (200, {"backend": FED, "usd_per_hour": 5.0})
        assert (again.status, again.body, again.headers["idempotent-replayed"]) == (200, first.body, "true")
        assert (other.status, other.label) == (422, "key_reused")
        assert on.feeds.quotes()[FED].waiting_usd_per_hour == 50.0
        rows = [msgspec.json.decode(raw) for raw in await on.store.history(AUDIT, 10)]
        assert [(row["before"], row["after"]) for row in rows] == [
            (
                {"usd_per_hour": 0.5, "waiting_usd_per_hour": 5.0, "accepted_usd_per_hour": None},
                {"usd_per_hour": 0.5, "waiting_usd_per_hour": 5.0, "accepted_usd_per_hour": 5.0},
            )
        ]


async def test_without_a_key_nothing_is_remembered(tmp_path: Path) -> None:
    async with gateway(tmp_path) as on:
        await waiting_price(on)
        await on.call("POST", PATH)

        again = await on.call("POST", PATH)

        assert (again.status, again.label) == (409, "state_conflict")
        assert [decode(record.document).answers for record in await on.store.prices()] == [{}]

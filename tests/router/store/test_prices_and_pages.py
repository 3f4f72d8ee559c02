"""What every store promises of prices and bills, and of pages of histories."""

import pytest

from router.store import Entry, Fenced, Record, RevisionConflict, Store
from tests.router.store.samples import NOW


class TestPrices:
    async def test_what_is_held_of_a_price_changes_by_compare_and_set_with_its_history(self, store: Store) -> None:
        fence = await store.lease("leader", NOW, 60.0)
        assert await store.save_price("tfs", b"waits", 0, fence) == 1
        assert await store.save_price("tfs", b"accepted", 1, None, [Entry("/audit", b"who")]) == 2
        with pytest.raises(RevisionConflict):
            await store.save_price("tfs", b"again", 1, None, [Entry("/audit", b"nobody")])
        with pytest.raises(Fenced):
            await store.save_price("tfs", b"late", 2, (fence or 0) - 1)

        assert await store.prices() == [Record("tfs", 2, b"accepted")]
        assert await store.history("/audit", 9) == [b"who"]


class TestBills:
    async def test_what_a_backend_has_cost_is_the_leader_s_to_write(self, store: Store) -> None:
        fence = await store.lease("leader", NOW, 60.0)
        assert fence is not None
        assert await store.save_bill("tfs", b"1", 0, fence) == 1
        assert await store.save_bill("tfs", b"2", 1, fence) == 2
        with pytest.raises(RevisionConflict):
            await store.save_bill("tfs", b"3", 1, fence)
        with pytest.raises(Fenced):
            await store.save_bill("tfs", b"4", 2, fence - 1)

        assert await store.bills() == [Record("tfs", 2, b"2")]
        assert await store.prices() == []


class TestPages:
    async def test_pages_follow_each_other_to_the_beginning(self, store: Store) -> None:
        for number in range(5):
            await store.append_history("a", b"%d" % number, 0)
        pages, before = [], None
        while True:
            entries, before = await store.page("a", 2, before)
            pages.append(entries)
            if before is None:
                break
            # What is told meanwhile moves no page.
            await store.append_history("a", b"later", 0)

        assert pages == [[b"3", b"4"], [b"1", b"2"], [b"0"]]

    async def test_page_that_holds_all_is_the_only_one(self, store: Store) -> None:
        await store.append_history("a", b"0", 0)
        await store.append_history("a", b"1", 0)

        assert await store.page("a", 2, None) == ([b"0", b"1"], None)
        assert await store.page("a", 2, 1) == ([], None)
        assert await store.page("none", 2, None) == ([], None)

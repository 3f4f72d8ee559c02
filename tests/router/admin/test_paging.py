"""Long lists come in pages: the newest first, with a cursor that leads to all of the others, once each."""

import pytest

from tests.router.admin.bench import EXPERIMENTS, Bench, specified

AUDIT = "/admin/v1/audit"
HISTORY = f"{EXPERIMENTS}/digits/history"


async def pages(on: Bench, path: str, key: str, limit: int) -> list[list[str]]:
    """What stands in each page, from the newest to the oldest."""
    found, query = [], f"?limit={limit}"
    while True:
        page = (await on.call("GET", path + query)).body
        found.append([f"{one['what']} {one.get('why')}" for one in page[key]])
        if "next" not in page:
            return found
        query = f"?limit={limit}&cursor={page['next']}"


@pytest.mark.parametrize(("path", "key"), [(AUDIT, "audit"), (HISTORY, "history")])
@pytest.mark.parametrize("limit", [1, 2, 1000])
async def test_pages_together_are_the_whole(on: Bench, path: str, key: str, limit: int) -> None:
    await on.started(1, 2)
    for number in range(3):
        await on.order("pause", {"reason": f"the {number}. time"})
        await on.order("resume")
    whole = (await on.call("GET", path)).body

    found = await pages(on, path, key, limit)

    assert "next" not in whole
    assert max(map(len, found)) <= limit
    told = [one for page in reversed(found) for one in page]
    assert told == [f"{one['what']} {one.get('why')}" for one in whole[key]]
    assert len(told) >= 8


async def test_what_happens_meanwhile_moves_no_page(on: Bench) -> None:
    await on.started(1, 2)
    await on.order("pause")
    first = (await on.call("GET", f"{AUDIT}?limit=1")).body
    await on.order("resume")

    second = (await on.call("GET", f"{AUDIT}?limit=1&cursor={first['next']}")).body

    assert [first["audit"][0]["what"], second["audit"][0]["what"]] == ["pause", "start"]


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=x", "limit=-1", "limit=%C2%B2", "cursor=", "cursor=1", "cursor=%F0%9F%90%BB"],
)
async def test_page_that_can_not_be_is_refused(on: Bench, query: str) -> None:
    await on.call("POST", EXPERIMENTS, specified())

    for path in (AUDIT, HISTORY):
        refused = await on.call("GET", f"{path}?{query}")
        assert (refused.status, refused.label) == (422, "invalid")


async def test_cursor_of_one_list_is_none_of_another(on: Bench) -> None:
    await on.started(1, 2)
    cursor = (await on.call("GET", f"{AUDIT}?limit=1")).body["next"]

    assert (await on.call("GET", f"{HISTORY}?cursor={cursor}")).status == 422


async def test_history_of_what_is_not_there_has_no_page(on: Bench) -> None:
    assert (await on.call("GET", f"{EXPERIMENTS}/nobody/history?limit=5")).status == 404

"""Every number on every page is one of the gateway's, and not older than a second."""

import time
from typing import Any, Final

import pytest
from playwright.async_api import Browser, Page, expect

from tests.console.browser import Visit, visiting
from tests.console.numbers import Known, differences, marked, ratio, said, unmarked
from tests.console.story import TOKENS, Story
from tests.console.test_each_view import TABS, see

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATIENCE_S: Final = 20.0
# So many numbers are on each screen of an experiment at least: fewer, and something is not looked at.
LEAST: Final = {
    "traffic": 14,
    "segments": 32,
    "value": 16,
    "decision": 9,
    "cost": 19,
    "copies": 12,
    "history": 3,
    "report": 15,
}


async def same(visit: Visit, story: Story, known: Known) -> int:
    """Wait until the page shows what was answered within the last second, and return how many numbers there are."""
    give_up_at = time.monotonic() + PATIENCE_S
    while True:
        await known.look(story)
        numbers = await marked(visit.page)
        lately = known.documents()
        different = min((differences(numbers, one) for one in lately), key=len)
        different += await unmarked(visit.page, lately)
        if not different:
            return len(numbers)
        assert time.monotonic() < give_up_at, different


async def test_every_number_is_that_of_the_state_within_a_second(browser: Browser, story: Story) -> None:
    compared: dict[str, int] = {}
    async with visiting(browser, story.gateway.admin) as visit:
        await visit.open(f"#/experiments/bystander/{TABS[0]}")
        await visit.sign_in(TOKENS["viewer"])
        for tab in TABS:
            await see(visit, f"#/experiments/bystander/{tab}")
            before = await story.state("bystander")
            await story.ask(4)
            await story.changed("bystander", before)
            compared[tab] = await same(visit, story, Known("bystander"))

    assert {tab: number for tab, number in compared.items() if number < LEAST[tab]} == {}, compared


async def test_every_number_of_what_has_ended_is_the_gateways(browser: Browser, story: Story) -> None:
    async with visiting(browser, story.gateway.admin) as visit:
        await visit.open(f"#/experiments/digits/{TABS[0]}")
        await visit.sign_in(TOKENS["viewer"])
        for tab in TABS:
            await see(visit, f"#/experiments/digits/{tab}")
            assert await same(visit, story, Known("digits")) > 0
            if tab == "cost":
                # v1 is unloaded: its bill stands.
                numbers = {of: value for of, value, _ in await marked(visit.page)}
                assert all(float(numbers[f"costs.v1.{part}_usd"]) > 0 for part in ("busy", "idle", "egress"))


async def test_every_number_of_the_list_is_the_gateways(browser: Browser, story: Story) -> None:
    async with visiting(browser, story.gateway.admin) as visit:
        await visit.open("#/")
        await visit.sign_in(TOKENS["viewer"])
        await see(visit, "#/")
        rows = {one["name"]: one for one in (await story.get("experiments"))["experiments"]}
        states = {name: await story.state(name) for name in rows}
        listed = {
            name: row
            | {
                "money": states[name]["money"] | {"difference_ratio": ratio(states[name]["money"])},
                "shares": {arm["name"]: arm["weight"] for arm in states[name]["arms"]},
            }
            for name, row in rows.items()
        }
        numbers = await marked(visit.page)

        assert differences(numbers, listed) == []
        assert {of.split(".")[0] for of, _, _ in numbers} == {"digits", "bystander"}
        assert len(numbers) >= 15
        assert await unmarked(visit.page, listed) == []


async def test_every_number_of_a_backend_is_the_gateways(browser: Browser, story: Story) -> None:
    async with visiting(browser, story.gateway.admin) as visit:
        await visit.open("#/backends")
        await visit.sign_in(TOKENS["viewer"])
        await see(visit, "#/backends")
        await expect(visit.page.locator('[data-of="backends.tfs-a.price"]')).to_have_text("$0.02")
        answer = await story.get("backends")
        (backend,) = answer["backends"]
        batching = backend["batching"]
        limits: dict[str, Any] = {}
        for one in batching["limits"]:
            limits.setdefault(one["model"], {})[one["version"]] = one
        shown = batching | {"price": 0.02, "rows_mean": batching["rows"] / batching["batches"]} | limits
        numbers = await marked(visit.page)

        assert differences(numbers, {"backends": {"tfs-a": shown}}) == []
        assert len(numbers) >= 10
        assert shown["slots"] >= 1
        assert await unmarked(visit.page, answer) == []


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("<p>At most 3 of them</p>", ["At most 3 of them"]),
        ("<p>It serves v3, at 10.0.0.1:8500</p>", []),
        ("<p>Arm v7 has 128 outcomes</p>", []),
        ('<p><data class="num">3</data> of them</p>', []),
        ("<table><tr><td>x</td><td>$0.52</td></tr></table>", ["$0.52"]),
    ],
)
async def test_number_that_is_not_marked_would_be_noticed(modules: Page, body: str, found: list[str]) -> None:
    page = await modules.context.new_page()
    try:
        await page.set_content(f"<main>{body}</main>")

        assert await unmarked(page, [{"words": "arm v7 has 128 outcomes"}]) == found
    finally:
        await page.close()


@pytest.mark.parametrize(
    ("text", "number", "is_it"),
    [
        ("$0.990", 0.9897e-6, True),
        ("$0.990", 0.9907e-6, False),
        ("52.8 %", 0.5284, True),
        ("52.8 %", 0.5294, False),
        ("−$0.0000158", -0.0000158, True),
        ("−$0.0000158", 0.0000158, False),
        ("118 s", 118.4, True),
        ("14 days", 14 * 86_400 - 300, True),
    ],
)
async def test_number_that_is_written_wrongly_would_be_noticed(text: str, number: float, is_it: bool) -> None:
    value, moved = said(text)

    assert any(abs(value - number * scale) <= moved for scale in (1, 100, 1e6)) == is_it

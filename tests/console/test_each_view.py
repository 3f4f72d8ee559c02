"""Every view over a real gateway: the numbers are those of /state, nothing is wrong with it for those who can't see it,
and it fits a phone."""

import re
import time
from typing import Any, Final

import pytest
from playwright.async_api import Browser, Page, expect

from tests.console.browser import DESKTOP, PHONE, Visit, visiting
from tests.console.story import TOKENS, Story

pytestmark = pytest.mark.asyncio(loop_scope="session")

TABS: Final = ("traffic", "value", "decision", "cost", "history", "report")
# The heading of each view, by its address.
VIEWS: Final = {
    "#/": "Experiments",
    **{f"#/experiments/{name}/{tab}": tab.capitalize() for name in ("digits", "bystander") for tab in TABS},
    "#/backends": "Backends",
    "#/sign-in": "Sign in",
}
# The page asks once a second; an answer on a busy machine takes some tenths.
LATELY_S: Final = 1.3
PATIENCE_S: Final = 15.0
# What the page computes itself, and what is asked for beside the state.
_BESIDE: Final = re.compile(r"^(expected|costs|backends|report|$)")

NUMBERS: Final = """() => [...document.querySelectorAll('data.num')].map((one) => [one.dataset.of ?? '', one.value, one.textContent])"""


async def see(visit: Visit, address: str) -> None:
    await visit.page.evaluate("to => { location.hash = to }", address)
    await expect(visit.page.get_by_role("heading", name=VIEWS[address], exact=True)).to_be_attached()
    await expect(visit.page.locator(".loading")).to_have_count(0)


@pytest.mark.parametrize(("size", "is_dark"), [(DESKTOP, False), (PHONE, True)], ids=["light", "dark phone"])
async def test_views_are_accessible_and_fit(
    browser: Browser, story: Story, size: tuple[int, int], is_dark: bool
) -> None:
    wrong: dict[str, Any] = {}
    async with visiting(browser, story.gateway.admin, size=size, is_dark=is_dark) as visit:
        await visit.open()
        await visit.sign_in(TOKENS["operator"])
        for address in VIEWS:
            await see(visit, address)
            if found := await visit.violations():
                wrong[address] = found
            width = await visit.page.evaluate("document.documentElement.scrollWidth")
            if width > size[0]:
                wrong[f"{address} is wide"] = width

    assert wrong == {}


def valued(document: Any, place: str) -> Any:
    """Return what is at a place of an answer: `arms.v2.weight` is the weight of the arm named v2."""
    for part in place.split("."):
        if isinstance(document, list):
            (document,) = [one for one in document if one["name"] == part]
        else:
            document = document[part]
    return document


def said(text: str) -> float:
    """Return the number that a text says, without its unit."""
    found = re.search(r"[−+-]?\$?[\d,]*\.?\d+", text)
    assert found, text
    return float(re.sub(r"[$,+]", "", found[0]).replace("−", "-"))


async def shown(page: Page) -> list[list[str]]:
    numbers: list[list[str]] = await page.evaluate(NUMBERS)
    return numbers


def differences(numbers: list[list[str]], document: Any) -> list[str]:
    """Return what the page shows otherwise than the answer has it."""
    different = []
    for of, value, text in numbers:
        known = valued(document, of)
        if (float(value) if value else None) != known:
            different.append(f"{of}: shown {value}, is {known}")
        elif known is None:
            assert text == "–", (of, text)
        elif not text.startswith(("<", ">")):
            # As it is, in per cent, in millionths.
            sizes = [known * scale for scale in (1, 100, 1e6)]
            assert any(said(text) == pytest.approx(size, rel=6e-3, abs=0.051) for size in sizes), (of, text, known)
    return different


async def test_numbers_are_those_of_the_state_within_a_second(browser: Browser, story: Story) -> None:
    compared: dict[str, int] = {}
    async with visiting(browser, story.gateway.admin) as visit:
        await visit.open(f"#/experiments/bystander/{TABS[0]}")
        await visit.sign_in(TOKENS["viewer"])
        for tab in TABS:
            await see(visit, f"#/experiments/bystander/{tab}")
            before = await story.state("bystander")
            await story.ask(3)
            await story.changed("bystander", before)
            compared[tab] = await same(visit.page, story)

    assert min(compared.values()) >= 3, compared
    assert sum(compared.values()) >= 50, compared


async def same(page: Page, story: Story) -> int:
    """Wait until the page shows one of the states of the last second, and return how many numbers of it."""
    # Some numbers change with time alone.
    known: dict[int, tuple[float, Any]] = {}
    give_up_at = time.monotonic() + PATIENCE_S
    while True:
        state = await story.state("bystander")
        now = time.monotonic()
        known.setdefault(state["snapshot_version"], (now, state))
        numbers = [one for one in await shown(page) if not _BESIDE.match(one[0])]
        lately = [one for since, one in known.values() if now - since <= LATELY_S]
        different = min((differences(numbers, one) for one in lately), key=len)
        if not different:
            return len(numbers)
        assert now < give_up_at, different


async def test_bills_are_shown_in_their_parts(browser: Browser, story: Story) -> None:
    async with visiting(browser, story.gateway.admin) as visit:
        await visit.open("#/experiments/digits/cost")
        await visit.sign_in(TOKENS["viewer"])
        await see(visit, "#/experiments/digits/cost")
        await expect(visit.page.locator('[data-of="costs.v2.per_prediction"]')).to_be_attached()
        bills = {one["arm"]: one for one in (await story.get("costs"))["versions"] if one["experiment"] == "digits"}
        numbers = {of: float(value) for of, value, _ in await shown(visit.page) if value}
        arm = next(one for one in (await story.state())["arms"] if one["name"] == "v1")

        # v1 is unloaded: its bill stands.
        assert {part: numbers[f"costs.v1.{part}_usd"] for part in ("busy", "idle", "egress")} == {
            part: bills["v1"][f"{part}_usd"] for part in ("busy", "idle", "egress")
        }
        assert bills["v1"]["egress_usd"] > 0
        paid = bills["v1"]["busy_usd"] + bills["v1"]["egress_usd"]
        each = arm["cost_usd"] / arm["rows"] * (1 + bills["v1"]["idle_usd"] / paid)
        assert numbers["costs.v1.per_prediction"] == pytest.approx(each)


async def test_list_shows_the_money_and_the_shares_of_the_state(browser: Browser, story: Story) -> None:
    async with visiting(browser, story.gateway.admin) as visit:
        await visit.open("#/")
        await visit.sign_in(TOKENS["viewer"])
        await see(visit, "#/")
        state = await story.state()
        shares = {arm["name"]: arm["weight"] for arm in state["arms"]}
        page = {of: float(value) for of, value, _ in await shown(visit.page) if of.startswith("digits.")}

        assert page == {
            **{f"digits.shares.{name}": weight for name, weight in shares.items()},
            **{
                f"digits.money.{key}": state["money"][key]
                for key in ("difference_usd", "difference_usd_low", "difference_usd_high", "requests")
            },
        }


async def test_backends_show_versions_slots_and_prices(browser: Browser, story: Story) -> None:
    async with visiting(browser, story.gateway.admin) as visit:
        await visit.open("#/backends")
        await visit.sign_in(TOKENS["viewer"])
        await see(visit, "#/backends")
        row = visit.page.get_by_role("row", name="digits 2")

        await expect(row).to_contain_text("available")
        await expect(row).to_contain_text("stable")
        (backend,) = (await story.get("backends"))["backends"]
        numbers = {of: float(value) for of, value, _ in await shown(visit.page) if value}
        assert numbers["backends.tfs-a.slots"] == backend["batching"]["slots"] >= 1
        assert numbers["backends.tfs-a.price"] == 0.02


async def test_report_is_taken_along_as_markdown(browser: Browser, story: Story) -> None:
    async with visiting(browser, story.gateway.admin) as visit:
        await visit.open("#/experiments/digits/report")
        await visit.sign_in(TOKENS["viewer"])
        async with visit.page.expect_download() as waiting:
            await visit.page.get_by_role("button", name="Download as Markdown").click()
        download = await waiting.value

        assert download.suggested_filename == "digits-report.md"
        assert (await download.path()).read_text().startswith("# Report: digits")

"""Every view over a real gateway: nothing is wrong with it for those who can't see it, and it fits a phone."""

from typing import Any, Final

import pytest
from playwright.async_api import Browser, expect

from tests.console.browser import DESKTOP, PHONE, Visit, visiting
from tests.console.story import TOKENS, Story

pytestmark = pytest.mark.asyncio(loop_scope="session")

TABS: Final = ("traffic", "segments", "value", "decision", "cost", "copies", "history", "report")
# The heading of each view, by its address.
VIEWS: Final = {
    "#/": "Experiments",
    **{f"#/experiments/{name}/{tab}": tab.capitalize() for name in ("digits", "bystander") for tab in TABS},
    "#/backends": "Backends",
    "#/sign-in": "Sign in",
}


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


async def test_backends_show_versions_slots_and_prices(browser: Browser, story: Story) -> None:
    async with visiting(browser, story.gateway.admin) as visit:
        await visit.open("#/backends")
        await visit.sign_in(TOKENS["viewer"])
        await see(visit, "#/backends")
        row = visit.page.get_by_role("row", name="digits 2")

        await expect(row).to_contain_text("available")
        await expect(row).to_contain_text("stable")


async def test_report_is_taken_along_as_markdown(browser: Browser, story: Story) -> None:
    async with visiting(browser, story.gateway.admin) as visit:
        await visit.open("#/experiments/digits/report")
        await visit.sign_in(TOKENS["viewer"])
        async with visit.page.expect_download() as waiting:
            await visit.page.get_by_role("button", name="Download as Markdown").click()
        download = await waiting.value

        assert download.suggested_filename == "digits-report.md"
        assert (await download.path()).read_text().startswith("# Report: digits")

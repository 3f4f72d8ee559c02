"""The page goes on where it was: events come at once, and the stream is taken up again after the gateway has restarted."""

import pytest
from playwright.async_api import Browser, expect

from tests.console.browser import visiting
from tests.console.story import TOKENS, Story
from tests.console.test_orders import order

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_page_survives_a_restart_of_the_gateway(browser: Browser, story: Story) -> None:
    async with visiting(browser, story.gateway.admin) as visit:
        page = visit.page
        await visit.open("#/experiments/digits/traffic")
        await visit.sign_in(TOKENS["viewer"])
        await expect(page.get_by_role("status").filter(has_text="Live")).to_be_visible()

        await story.gateway.stop()
        await expect(page.get_by_role("status").filter(has_text="Connecting …")).to_be_visible()
        await expect(page.get_by_role("alert").first).to_contain_text("The gateway does not answer")
        await expect(page.get_by_role("row", name="v2")).to_be_visible()

        await story.gateway.start_again()
        await expect(page.get_by_role("status").filter(has_text="Live")).to_be_visible()
        await expect(page.get_by_role("alert")).to_have_count(0)
        await order(story, "digits:bypass", "to see it")
        try:
            await expect(page.locator("h1 .badge")).to_have_text("bypassed")
        finally:
            await order(story, "digits:resume", "enough")


async def test_change_is_seen_without_waiting_for_the_next_look(browser: Browser, story: Story) -> None:
    async with visiting(browser, story.gateway.admin) as visit:
        page = visit.page
        await visit.open("#/experiments/digits/history")
        await visit.sign_in(TOKENS["viewer"])
        entries = page.locator(".history > li")
        await expect(entries.first).to_be_visible()
        before = await entries.count()
        await page.clock.install()
        # From here on only events make the page look: its own timers stand still.
        await order(story, "digits:bypass", "an event")
        try:
            await expect(page.get_by_text("bypassed by the-operator: an event").first).to_be_visible()
            # The headline says it, too, and may be first.
            await expect(entries.nth(before)).to_be_attached()
        finally:
            await order(story, "digits:resume", "enough")


async def test_page_that_nobody_sees_gives_its_connection_back(browser: Browser, story: Story) -> None:
    async with visiting(browser, story.gateway.admin) as visit:
        page = visit.page
        await visit.open("#/experiments/digits/traffic")
        await visit.sign_in(TOKENS["viewer"])
        live = page.get_by_role("status").filter(has_text="Live")
        await expect(live).to_be_visible()

        # As when another tab comes to the front.
        await page.evaluate(_SET_HIDDEN, True)
        await expect(live).to_have_count(0)

        await page.evaluate(_SET_HIDDEN, False)
        await expect(live).to_be_visible()


_SET_HIDDEN = """(isHidden) => {
  Object.defineProperty(document, "hidden", { value: isHidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""

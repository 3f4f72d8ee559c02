"""The page at `/`: who may see it, and all experiments with what they have earned."""

import pytest
from playwright.async_api import Browser, expect

from tests.console.browser import visiting
from tests.console.story import TOKENS, Story

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_token_opens_the_list_of_experiments(browser: Browser, story: Story) -> None:
    async with visiting(browser, story.gateway.admin) as visit:
        await visit.open()
        await visit.sign_in(TOKENS["viewer"])
        card = visit.page.get_by_role("article", name="digits")

        await expect(card).to_contain_text("v2 serves in the place of v1.")
        await expect(card).to_contain_text("concluded")
        await expect(card).to_contain_text("against v1 alone")


async def test_decision_claims_what_the_report_claims(browser: Browser, story: Story) -> None:
    report = await story.get("experiments/digits/report?format=json")
    async with visiting(browser, story.gateway.admin) as visit:
        await visit.open("#/experiments/digits/decision")
        await visit.sign_in(TOKENS["viewer"])
        ended = visit.page.get_by_role("article", name="It has ended")

        await expect(ended).to_contain_text(report["why"]["reason"])
        await expect(ended.locator(".claim")).to_contain_text(report["why"]["claim"][1:])


async def test_wrong_token_is_refused_in_words_and_may_be_tried_again(browser: Browser, story: Story) -> None:
    async with visiting(browser, story.gateway.admin) as visit:
        page = visit.page
        await visit.open()
        await page.get_by_label("Token of the admin API").fill("turpin_nobody")
        await page.keyboard.press("Enter")

        await expect(page.get_by_role("alert")).to_have_text("The gateway does not know this token.")
        await visit.sign_in(TOKENS["operator"])
        await expect(page.get_by_text("the-operator, operator")).to_be_visible()


async def test_token_is_in_memory_alone_and_a_reload_forgets_it(browser: Browser, story: Story) -> None:
    async with visiting(browser, story.gateway.admin) as visit:
        page, token = visit.page, TOKENS["viewer"]
        await visit.open()
        await visit.sign_in(token)
        await expect(page.get_by_role("article", name="digits")).to_be_visible()

        kept = await page.evaluate(
            "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])"
        )
        assert token not in kept
        assert not [url for url in visit.requests if token in url]
        await page.reload()
        await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


async def test_sign_out_closes_everything(browser: Browser, story: Story) -> None:
    async with visiting(browser, story.gateway.admin) as visit:
        await visit.open("#/backends")
        await visit.sign_in(TOKENS["viewer"])
        await expect(visit.page.get_by_role("heading", name="tfs-a")).to_be_visible()

        await visit.page.get_by_role("button", name="Sign out").click()

        await expect(visit.page.get_by_role("heading", name="Sign in")).to_be_visible()
        await expect(visit.page.get_by_text("tfs-a")).to_have_count(0)


async def test_all_is_reached_with_the_keyboard_alone(browser: Browser, story: Story) -> None:
    async with visiting(browser, story.gateway.admin) as visit:
        page = visit.page
        await visit.open()
        await expect(page.get_by_label("Token of the admin API")).to_be_focused()
        await page.keyboard.type(TOKENS["viewer"])
        await page.keyboard.press("Enter")
        link = page.get_by_role("link", name="digits")
        await link.wait_for()
        for _ in range(20):
            if await link.evaluate("one => one === document.activeElement"):
                break
            await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")

        await expect(page.get_by_role("heading", name="digits")).to_be_visible()
        # Whoever goes on with the keyboard is at the new view.
        await expect(page.get_by_role("main")).to_be_focused()

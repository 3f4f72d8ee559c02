"""The page at `/`: whoever signs in sees all experiments with what they have earned, and nothing goes anywhere else."""

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
        assert visit.complaints == []
        assert visit.strangers == []

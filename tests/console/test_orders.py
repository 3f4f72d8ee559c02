"""Orders in the browser: what they would do is shown first, they want a reason, and are obeyed; by role, end to end."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, expect

from tests.console.browser import Visit, visiting
from tests.console.numbers import differences, marked
from tests.console.story import TOKENS, Story

pytestmark = pytest.mark.asyncio(loop_scope="session")

HERE: Final = "#/experiments/bystander/traffic"
HOSTILE: Final = (
    """"><img src=x onerror="window.broken=1"><script>window.broken=1</script> {{7*7}} ${7*7} =cmd() \u202e"""
)


@pytest_asyncio.fixture(loop_scope="session")
async def operating(browser: Browser, story: Story) -> AsyncIterator[Visit]:
    """The lasting experiment as its operator sees it."""
    async with visiting(browser, story.gateway.admin) as visit:
        await visit.open(HERE)
        await visit.sign_in(TOKENS["operator"])
        await expect(visit.page.get_by_role("button", name="Roll back")).to_be_visible()
        yield visit


def row(visit: Visit, arm: str) -> Locator:
    return visit.page.get_by_role("row", name=arm)


async def asked(visit: Visit, button: str, title: str) -> Locator:
    """Press a button; return the dialog once it shows what would be."""
    await visit.page.get_by_role("button", name=button, exact=True).click()
    dialog = visit.page.get_by_role("dialog", name=f"{title}?")
    await expect(dialog.get_by_role("region", name="What it would do")).to_be_visible()
    return dialog


async def obeyed(visit: Visit, button: str, title: str, reason: str = "a test") -> None:
    """Give an order by its dialog, all through."""
    dialog = await asked(visit, button, title)
    confirm = dialog.get_by_role("button", name=title, exact=True)
    await expect(confirm).to_be_disabled()
    await dialog.get_by_label("Reason").fill(reason)
    await confirm.click()
    await expect(dialog).to_have_count(0)


async def test_every_order_is_obeyed_and_its_reason_is_kept(operating: Visit, story: Story) -> None:
    page, badge = operating.page, operating.page.locator("h1 .badge")

    await obeyed(operating, "Pause", "Pause bystander", "the disk is full")
    await expect(badge).to_have_text("paused")
    await obeyed(operating, "Resume", "Resume bystander")
    await expect(badge).to_have_text("running")
    await obeyed(operating, "Bypass", "Bypass bystander")
    await expect(badge).to_have_text("bypassed")
    await obeyed(operating, "Resume", "Resume bystander")
    await expect(badge).to_have_text("running")
    await obeyed(operating, "Drain v8", "Drain v8")
    await expect(row(operating, "v8")).to_contain_text("standby")
    await obeyed(operating, "Restore v8", "Restore v8")
    await expect(row(operating, "v8")).to_contain_text("eligible")
    await obeyed(operating, "Promote v8", "Promote v8", "we know better")
    await expect(page.get_by_text("v8 has won.")).to_be_visible()
    await page.get_by_role("link", name="Decision").click()
    await expect(page.get_by_role("article", name="It has ended")).to_contain_text("we know better")
    # Nothing is claimed of the others: a person has decided.
    await expect(page.locator(".claim")).to_have_count(0)
    await page.get_by_role("link", name="Traffic").click()
    await obeyed(operating, "Roll back", "Roll back bystander")
    await expect(page.get_by_text("v7 has won.")).to_be_visible()
    await obeyed(operating, "Retire v8", "Retire v8")
    await expect(row(operating, "v8")).to_contain_text("retired")
    await obeyed(operating, "Archive", "Archive bystander")
    await expect(badge).to_have_text("archived")

    rows = [one for one in (await story.get("audit"))["audit"] if one["experiment"] == "bystander"][-10:]
    what = ["pause", "resume", "bypass", "resume", "drain v8", "restore v8", "promote v8", "rollback"]
    what += ["retire v8", "archive"]
    assert [one["what"] for one in rows] == what
    assert {one["who"] for one in rows} == {"the-operator"}
    assert (rows[0]["why"], rows[6]["why"]) == ("the disk is full", "we know better")
    await operating.page.get_by_role("link", name="History").click()
    await expect(page.get_by_text("promoted by the-operator: we know better").first).to_be_visible()


async def test_what_it_would_do_is_shown_and_leaving_does_nothing(browser: Browser, story: Story) -> None:
    async with visiting(browser, story.gateway.admin) as visit:
        await visit.open("#/experiments/digits/traffic")
        await visit.sign_in(TOKENS["operator"])
        before = await story.get("experiments/digits/arms")
        button = visit.page.get_by_role("button", name="Promote v1", exact=True)

        dialog = await asked(visit, "Promote v1", "Promote v1")
        await expect(dialog.get_by_role("row", name="v1")).to_contain_text("warming")
        await expect(dialog).to_contain_text("Traffic for v1 begins once it is loaded and measured.")
        assert await visit.violations() == []
        foreseen = await order(story, "digits:promote?dryRun=true", "", arm="v1")
        numbers = [one for one in await marked(visit.page) if one[0].startswith(("before.", "after."))]
        assert differences(numbers, foreseen) == []
        assert len(numbers) == 6
        await visit.page.keyboard.press("Escape")

        await expect(dialog).to_have_count(0)
        await expect(button).to_be_focused()
        assert await story.get("experiments/digits/arms") == before


async def test_viewer_has_no_buttons(browser: Browser, story: Story) -> None:
    async with visiting(browser, story.gateway.admin) as visit:
        await visit.open("#/experiments/digits/traffic")
        await visit.sign_in(TOKENS["viewer"])
        await expect(visit.page.get_by_role("row", name="v2")).to_contain_text("eligible")
        await expect(visit.page.locator("path.band")).to_have_count(3)

        names = [await one.inner_text() for one in await visit.page.get_by_role("button").all()]
        assert names == ["Sign out"]
        assert not [url for url in visit.requests if url.endswith("/orders")]


async def test_order_is_shown_anew_when_somebody_else_was_faster(browser: Browser, story: Story) -> None:
    async with visiting(browser, story.gateway.admin) as visit:
        await visit.open("#/experiments/digits/traffic")
        await visit.sign_in(TOKENS["operator"])
        dialog = await asked(visit, "Bypass", "Bypass digits")
        await dialog.get_by_label("Reason").fill("slow")
        await order(story, "digits:bypass", "faster")
        try:
            await dialog.get_by_role("button", name="Bypass digits", exact=True).click()

            await expect(dialog.get_by_role("alert")).to_contain_text("It was changed meanwhile")
            await expect(dialog.get_by_role("region", name="What it would do")).to_contain_text("Nothing would change.")
        finally:
            await order(story, "digits:resume", "enough")


async def test_hostile_reason_is_text(browser: Browser, story: Story) -> None:
    async with visiting(browser, story.gateway.admin) as visit:
        await visit.open("#/experiments/digits/traffic")
        await visit.sign_in(TOKENS["operator"])
        await obeyed(visit, "Bypass", "Bypass digits", HOSTILE)
        try:
            await expect(visit.page.locator(".headline")).to_contain_text('onerror="window.broken=1"')
            await visit.page.get_by_role("link", name="History").click()
            await expect(
                visit.page.get_by_text("<script>window.broken=1</script> {{7*7}} ${7*7}").first
            ).to_be_visible()
            await visit.page.get_by_role("link", name="Report").click()
            await expect(visit.page.locator(".finding")).to_be_visible()
            assert await visit.page.evaluate("window.broken === undefined && document.images.length === 0")
        finally:
            await order(story, "digits:resume", "enough")


async def order(story: Story, path: str, reason: str, **more: str) -> Any:
    """Give an order past the page."""
    url = f"http://127.0.0.1:{story.gateway.admin}/admin/v1/experiments/{path}"
    headers = {"Authorization": f"Bearer {TOKENS['operator']}"}
    async with asyncio.timeout(10), story.session.post(url, json={"reason": reason, **more}, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()

"""How fast the page is: its first paint, and a large experiment drawn."""

import json
import sys
from typing import Any, Final

import pytest
from playwright.async_api import Browser, Route, expect

from tests.console.browser import visiting
from tests.console.story import TOKENS, Story

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Issue 8. The best of a few counts: what else the machine does only ever adds to it.
FIRST_PAINT_MS_MAX: Final = 300
DRAWN_MS_MAX: Final = 200
TRIES: Final = 4
ARMS: Final = 50
BLOCKS: Final = 14 * 24 * 4
# From the moment the data are there until the frame in which they are seen.
DRAWN: Final = """() => new Promise((done) => {
  const look = () => {
    const [found] = performance.getEntriesByName('shares drawn');
    if (found) done(found.duration);
    else requestAnimationFrame(look);
  };
  look();
})"""


async def test_first_paint_takes_less_than_300_ms(browser: Browser, story: Story) -> None:
    found = []
    for _ in range(TRIES):
        async with visiting(browser, story.gateway.admin) as visit:
            await visit.open()
            await expect(visit.page.get_by_role("heading", name="Sign in")).to_be_visible()
            found.append(
                await visit.page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
            )
        if found[-1] < FIRST_PAINT_MS_MAX:
            break

    sys.stdout.write(f"first paint: {', '.join(f'{one:.0f}' for one in found)} ms\n")
    assert min(found) < FIRST_PAINT_MS_MAX


async def test_50_arms_and_14_days_are_drawn_in_less_than_200_ms(browser: Browser, story: Story) -> None:
    state, report = await story.state(), await story.get("experiments/digits/report?format=json")
    arms = [f"v{number}" for number in range(1, ARMS + 1)]
    state["arms"] = [state["arms"][1] | {"name": name, "weight": 1 / ARMS} for name in arms]
    start = report["started_at"]
    report["ended_at"] = None
    report["blocks"] = [
        {
            "at": start + 900 * block,
            "decisions": {name: 100 + (block * 7 + arm * 13) % 89 for arm, name in enumerate(arms)},
        }
        for block in range(BLOCKS)
    ]
    found: list[float] = []
    for _ in range(TRIES):
        async with visiting(browser, story.gateway.admin) as visit:
            await answer(visit.page, "**/experiments/digits/state", state)
            await answer(visit.page, "**/experiments/digits/report?*", report)
            await visit.open("#/experiments/digits/traffic")
            await visit.sign_in(TOKENS["viewer"])
            await expect(visit.page.locator("path.band")).to_have_count(ARMS)
            found.append(await visit.page.evaluate(DRAWN))
        if found[-1] < DRAWN_MS_MAX:
            break

    sys.stdout.write(f"{ARMS} arms, {BLOCKS} blocks drawn: {', '.join(f'{one:.0f}' for one in found)} ms\n")
    assert min(found) < DRAWN_MS_MAX


async def answer(page: Any, path: str, body: Any) -> None:
    async def fulfil(route: Route) -> None:
        await route.fulfill(body=json.dumps(body), content_type="application/json")

    await page.route(path, fulfil)

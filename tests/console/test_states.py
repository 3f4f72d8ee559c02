"""Empty, loading and failing: the page says what is so, whatever the gateway answers, and shows text as text."""

import json
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Route, expect

from router.deploy.deployment import Deployment, view
from tests.console.browser import Visit, visiting
from tests.console.story import TOKENS, Story

pytestmark = pytest.mark.asyncio(loop_scope="session")

API: Final = "**/admin/v1"
AWAY: Final = {
    "type": "urn:turpin:problem:store_away",
    "title": "The store can't be used now: send this again",
    "status": 503,
    "detail": "no answer within 2 s",
}
HOSTILE: Final = """<img src=x onerror="window.broken=1">'"></script>{{7*7}}"""


@pytest_asyncio.fixture(loop_scope="session")
async def visit(browser: Browser, story: Story) -> AsyncIterator[Visit]:
    """A page that is not signed in yet."""
    async with visiting(browser, story.gateway.admin) as made:
        yield made


async def answered(visit: Visit, path: str, body: Any, status: int = 200) -> None:
    """Have the page get this in the place of what the gateway answers."""

    async def fulfil(route: Route) -> None:
        kind = "application/json" if status == 200 else "application/problem+json"
        await route.fulfill(status=status, body=json.dumps(body), headers={"Content-Type": kind})

    await visit.page.route(f"{API}/{path}", fulfil)


async def opened(visit: Visit, address: str) -> None:
    await visit.open(address)
    await visit.sign_in(TOKENS["viewer"])


async def test_without_experiments_it_says_how_to_begin(visit: Visit) -> None:
    await answered(visit, "experiments", {"experiments": []})
    await opened(visit, "#/")

    await expect(visit.page.get_by_text("No experiment yet.")).to_be_visible()
    assert await visit.violations() == []


async def test_what_is_on_its_way_is_said_to_be(visit: Visit) -> None:
    async def keep(route: Route) -> None:
        """Never answer."""

    await visit.page.route(f"{API}/experiments", keep)
    await opened(visit, "#/")

    await expect(visit.page.get_by_text("Loading the experiments …")).to_be_visible()


async def test_store_that_is_away_is_said_in_the_gateways_words(visit: Visit) -> None:
    await answered(visit, "experiments", AWAY, 503)
    await opened(visit, "#/")

    alert = visit.page.get_by_role("alert")
    await expect(alert).to_contain_text(
        "The store can't be used now: send this again while asking for the experiments."
    )
    await expect(alert).to_contain_text("No answer within 2 s.")
    assert await visit.violations() == []


async def test_last_numbers_stay_while_the_store_is_away(visit: Visit) -> None:
    await opened(visit, "#/experiments/digits/value")
    await expect(visit.page.get_by_role("row", name="v2")).to_be_visible()

    await answered(visit, "experiments/digits/state", AWAY, 503)

    await expect(visit.page.get_by_role("alert")).to_contain_text("What you see is the last that was known.")
    await expect(visit.page.get_by_role("row", name="v2")).to_be_visible()


async def test_experiment_that_is_not_there_is_not_found(visit: Visit) -> None:
    await opened(visit, "#/experiments/nothing/traffic")

    await expect(visit.page.get_by_role("alert")).to_contain_text("There is no experiment 'nothing'.")


async def test_token_that_is_withdrawn_leads_to_signing_in_again(visit: Visit) -> None:
    await opened(visit, "#/")
    await expect(visit.page.get_by_role("article", name="digits")).to_be_visible()

    await answered(visit, "experiments", AWAY | {"status": 401, "title": "A bearer token is needed"}, 401)

    await expect(visit.page.get_by_role("heading", name="Sign in")).to_be_visible()
    await expect(visit.page.get_by_role("alert")).to_contain_text("does not take this token any more")


async def test_names_and_reasons_of_others_are_text(visit: Visit, story: Story) -> None:
    state = await story.state()
    state |= {"name": HOSTILE, "control": HOSTILE, "reason": HOSTILE, "phase": "paused"}
    state["alarms"] = [{"name": "x", "arm": None, "evidence_log": None, "bar_log": None, "words": HOSTILE}]
    for arm in state["arms"]:
        arm |= {"name": f"{HOSTILE} {arm['name']}", "reason": HOSTILE, "state": HOSTILE}
    lasting = await story.state("bystander")
    state["segments"] = [one | {"name": HOSTILE, "serves": HOSTILE} for one in lasting["segments"]]
    kinds = {
        "arm": HOSTILE,
        "waits_for": HOSTILE,
        "against": [HOSTILE],
        "errors": {HOSTILE: 1},
        "dropped": {HOSTILE: 1},
    }
    state["shadow"] = [one | kinds for one in lasting["shadow"]]
    listed = (await story.get("experiments"))["experiments"]
    listed[0] |= {"name": HOSTILE, "leader": HOSTILE, "shares": {HOSTILE: 1.0}, "phase": HOSTILE}
    await answered(visit, "experiments", {"experiments": listed})
    await answered(visit, "experiments/*/state", state)
    await answered(visit, "experiments/*", {"name": HOSTILE, "spec": (await story.get("experiments/digits"))["spec"]})
    report = await story.get("experiments/digits/report?format=json")
    await answered(visit, "experiments/*/report?*", report | {"winner": HOSTILE, "outcome": "replaced"})
    note = {"now": 1.0, "what": HOSTILE, "before": HOSTILE, "after": HOSTILE, "why": HOSTILE, "numbers": {HOSTILE: 1}}
    await answered(visit, "experiments/*/history?*", {"history": [note]})
    await opened(visit, "#/")
    await visit.page.get_by_role("link", name=HOSTILE).click()

    for tab in ("Traffic", "Segments", "Value", "Decision", "Cost", "Copies", "History", "Report"):
        await visit.page.get_by_role("link", name=tab, exact=True).click()
        await expect(visit.page.get_by_role("heading", name=tab, exact=True)).to_be_attached()
        await expect(visit.page.locator("h1")).to_contain_text(HOSTILE)
        if tab in ("Segments", "Copies"):
            await expect(visit.page.locator("h3").first).to_have_text(HOSTILE)
    assert await visit.page.evaluate("window.broken === undefined && document.images.length === 0")


async def test_deployments_are_shown_with_why_one_failed(visit: Visit) -> None:
    whole = Deployment("tfs-a", "digits", 7, "digits", "v7", "sha256:x", 1, "the-admin", 1.0, 2.0)
    broken = msgspec.structs.replace(whole, version=8, step="check", state="failed", error=HOSTILE)
    await answered(visit, "deployments", {"deployments": [view(broken), view(whole)]})
    await opened(visit, "#/backends")

    rows = visit.page.locator(".history > li")
    await expect(rows.first).to_contain_text("digits/8 as v7 of digits, on tfs-a failed: check")
    await expect(rows.first).to_contain_text(HOSTILE)
    await expect(rows.last).to_contain_text("running: publish")
    assert await visit.violations() == []
    assert await visit.page.evaluate("window.broken === undefined && document.images.length === 0")


async def test_model_server_that_nobody_asks_is_not_said_to_answer(visit: Visit, story: Story) -> None:
    found = await story.get("backends")
    found["backends"][0]["replicas"][0]["models"] = {}
    await answered(visit, "backends", found)
    await opened(visit, "#/backends")

    server = visit.page.get_by_role("article", name="tfs-a")
    await expect(server).to_contain_text("No model on it is named in the configuration or an experiment.")
    await expect(server.get_by_text("answers", exact=True)).to_have_count(0)


async def test_open_gateway_is_looked_at_without_a_token(visit: Visit) -> None:
    await answered(visit, "whoami", {"name": "", "role": "viewer"})
    await answered(visit, "experiments", {"experiments": []})
    await answered(visit, "version", {"version": "1", "token_file": "/somewhere/turpin.db.admin-token"})
    await visit.open()

    await expect(visit.page.get_by_text("No experiment yet.")).to_be_visible()
    await visit.page.get_by_role("link", name="Sign in").click()
    await expect(visit.page.get_by_text("/somewhere/turpin.db.admin-token")).to_be_visible()

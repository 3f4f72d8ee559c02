"""A page of somebody else's, open in the browser of somebody who may reach the admin port: it changes and learns nothing.

Without configured tokens reading is open on loopback: the worst case, for there the gateway knows nobody.
"""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web
from playwright.async_api import Browser, Page, Response

from router.fronts.http import serve_http
from tests.console.browser import PATIENCE_MS
from tests.system.gateway import serving

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.system, pytest.mark.timeout(60)]

# By name it is another origin of the same site as the console's, as any other server of the machine is; by address a page
# of the internet would be of another site, which a test can't have without a name of its own.
PAGES: Final = ("localhost", "127.0.0.1")
# What each way of asking came to: whether anything of the answer could be looked into.
TRIES: Final = """async (admin) => {
  const tried = {};
  const ask = async (name, path, options) => {
    try {
      const answer = await fetch(admin + path, { signal: AbortSignal.timeout(3000), ...options });
      tried[name] = answer.type === "opaque" ? "opaque" : await answer.text();
    } catch (error) {
      tried[name] = "refused";
    }
  };
  await ask("read", "/admin/v1/whoami", {});
  await ask("read blindly", "/admin/v1/whoami", { mode: "no-cors" });
  await ask("hold a stream", "/admin/v1/events", { mode: "no-cors" });
  await ask("write as a form", "/admin/v1/experiments", { method: "POST", mode: "no-cors", body: "name=x" });
  await ask("write JSON", "/admin/v1/experiments", { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" });
  await ask("write with a token", "/admin/v1/experiments", { method: "POST", headers: { Authorization: "Bearer x" }, body: "{}" });
  const loaded = (tag, path) => new Promise((done) => {
    const one = document.createElement(tag);
    one.onload = () => done("loaded");
    one.onerror = () => done("refused");
    one.src = admin + path;
    document.body.append(one);
  });
  tried["run as a script"] = await loaded("script", "/admin/v1/whoami");
  tried["run the console"] = await loaded("script", "/console/session.js");
  return tried;
}"""

FRAMED: Final = """(url) => new Promise((done) => {
  const frame = document.createElement("iframe");
  frame.onload = done;
  frame.src = url;
  document.body.append(frame);
})"""


@contextlib.asynccontextmanager
async def strange_page(browser: Browser, host: str) -> AsyncIterator[Page]:
    """Open a page of a server that is not ours."""

    async def page_of(request: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><title>Win a phone</title><body></body>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", page_of)
    runner, port = await serve_http(app, "127.0.0.1", 0, is_shared=False)
    context = await browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    try:
        page = await context.new_page()
        await page.goto(f"http://{host}:{port}/")
        yield page
    finally:
        await context.close()
        await runner.cleanup()


def keep_in(answers: list[Response], page: Page) -> None:
    """Have all that a page is answered kept."""
    page.on("response", lambda answer: answers.append(answer))


def settings() -> dict[str, Any]:
    """Return a gateway that anybody on its machine may read."""
    return {
        "store": "memory:",
        "listen": {"grpc": "127.0.0.1:0", "http": "127.0.0.1:0", "admin": "127.0.0.1:0"},
        "backends": {"only": {"target": "127.0.0.1:1", "price_usd_per_hour": 0.5}},
    }


async def test_page_of_others_reads_nothing_and_writes_nothing(browser: Browser, tmp_path: Path) -> None:
    async with serving(tmp_path, settings()) as gateway:
        for host in PAGES:
            async with strange_page(browser, host) as page:
                admin = f"http://127.0.0.1:{gateway.admin}"
                answers: list[Response] = []
                keep_in(answers, page)

                tried = await page.evaluate(TRIES, admin)

                assert {name for name, what in tried.items() if what not in ("refused", "opaque")} == set(), tried
                # Refused by the gateway, too, and not only kept from the page by the browser.
                assert {one.status for one in answers if "/admin/" in one.url} == {403}


async def test_console_is_neither_framed_nor_led_away_by_who_opened_it(browser: Browser, tmp_path: Path) -> None:
    async with serving(tmp_path, settings()) as gateway, strange_page(browser, "localhost") as page:
        admin = f"http://127.0.0.1:{gateway.admin}"
        async with page.expect_popup() as opened:
            await page.evaluate("admin => { window.opened = window.open(admin + '/') }", admin)
        console = await opened.value
        await console.get_by_text("No experiment yet.").wait_for()

        await page.evaluate(FRAMED, f"{admin}/")
        assert [frame.url for frame in page.frames[1:]] == ["chrome-error://chromewebdata/"]
        # Else it could show a copy of the form in its place, at an address nobody reads twice.
        assert await page.evaluate("window.opened.closed")
        assert await console.evaluate("window.opener") is None

"""A real Chromium for tests, and what a page of it did: requests, errors, and violations of its policy."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, async_playwright, expect

from tests.chromium import chromium

# What takes longer hangs: a click and the answer to it take milliseconds on a quiet machine.
PATIENCE_MS: Final = 20_000
DESKTOP: Final = (1200, 900)
PHONE: Final = (400, 800)


@contextlib.asynccontextmanager
async def browsing() -> AsyncIterator[Browser]:
    """Start Chromium; it ends with the `async with`."""
    path = chromium()
    expect.set_options(timeout=PATIENCE_MS)
    async with async_playwright() as playwright:
        # In containers there are no namespaces for its sandbox; the pages here are ours.
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            await browser.close()


@dataclass(slots=True)
class Visit:
    """A page that is looked at. Mutable: what it has done so far."""

    page: Page
    origin: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    async def open(self, hash_: str = "") -> None:
        """Go to a view by the address."""
        await self.page.goto(f"{self.origin}/{hash_}")

    async def sign_in(self, token: str) -> None:
        """Sign in by the form, wherever it is shown."""
        await self.page.get_by_label("Token of the admin API").fill(token)
        await self.page.get_by_role("button", name="Sign in").click()
        await self.page.get_by_role("button", name="Sign out").wait_for()

    async def violations(self) -> list[tuple[str, str, list[str]]]:
        """Return what axe finds wrong with what is seen, for those who see or use it differently: rule, help, elements."""
        found = (await Axe().run(self.page)).response["violations"]
        return [(one["id"], one["help"], [node["html"] for node in one["nodes"]]) for one in found]

    @property
    def strangers(self) -> list[str]:
        """Requests that went anywhere but to the admin port."""
        return [url for url in self.requests if not url.startswith((f"{self.origin}/", "blob:"))]


@contextlib.asynccontextmanager
async def visiting(
    browser: Browser, port: int, *, size: tuple[int, int] = DESKTOP, is_dark: bool = False, **more: Any
) -> AsyncIterator[Visit]:
    """Open an empty page in a profile of its own; in the end it must have complained of nothing, and kept to its port."""
    context = await browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if is_dark else "light",
        reduced_motion="reduce",
        timezone_id="UTC",
        **more,
    )
    context.set_default_timeout(PATIENCE_MS)
    try:
        page = await context.new_page()
        visit = Visit(page, f"http://127.0.0.1:{port}")
        page.on("request", lambda request: visit.requests.append(request.url))
        page.on("pageerror", lambda error: visit.complaints.append(f"error: {error}"))
        page.on("console", lambda said: _note(visit, said.type, said.text, said.location.get("url", "")))
        yield visit
        assert visit.complaints == []
        assert visit.strangers == []
    finally:
        await context.close()


def _note(visit: Visit, kind: str, text: str, url: str) -> None:
    # Chromium complains of every answer that refuses, and of a gateway that is away: the page is to deal with both.
    is_refusal = text.startswith("Failed to load resource") and urlsplit(url).path.startswith("/admin/")
    if kind in ("error", "warning") and not is_refusal:
        visit.complaints.append(f"{kind}: {text}")

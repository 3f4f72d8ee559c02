"""Writes the pictures of the console for README and its page: the demo runs, and a browser looks while it decides.

`python -P -m tests.console.pictures` takes two minutes and writes `docs/console/*.png`. The demo is the real one, with
TensorFlow; what the pictures show is what that run came to.
"""

import asyncio
import contextlib
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import aiohttp
from playwright.async_api import Browser, Page

from tests.console.browser import DESKTOP, PHONE, browsing, visiting
from tests.repo.tree import ROOT
from tests.system.gateway import COMMAND, until
from tests.system.test_demo import free_ports
from turpin.token import read_token

FOLDER: Final = ROOT / "docs" / "console"
# README's own run.
SEED: Final = 5
# Training takes most of it, and this machine may be busy.
PATIENCE_S: Final = 300.0
# While it decides the leader has more than this of the traffic.
DECIDING: Final = 0.5
# Sharp where README is read, and half the bytes of 2.
SCALE: Final = 1.5


@contextlib.asynccontextmanager
async def demonstrating(folder: Path) -> AsyncIterator[int]:
    """Run the demo in a folder of its own, and yield its admin port; in the end it is told to end."""
    base = free_ports()
    words = ["demo", "--keep", "--seed", str(SEED), "--port-base", str(base), "--json", str(folder / "demo.json")]
    process = await asyncio.create_subprocess_exec(str(COMMAND), *words, cwd=folder)
    try:
        yield base + 2
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            await process.wait()


async def state(session: aiohttp.ClientSession, port: int) -> dict[str, Any]:
    """Return the demo's numbers, nothing before there are any."""
    with contextlib.suppress(aiohttp.ClientError):
        async with session.get(f"http://127.0.0.1:{port}/admin/v1/experiments/digits/state") as answer:
            found: dict[str, Any] = await answer.json()
            return found if answer.status == 200 else {}
    return {}


async def take(page: Page, name: str) -> None:
    """Take a picture of what is seen, once nothing is being loaded."""
    await page.locator(".loading").first.wait_for(state="detached")
    # The first numbers of a view come with its first answers.
    await page.wait_for_timeout(1_200)
    await page.screenshot(path=FOLDER / f"{name}.png")
    sys.stdout.write(f"{name}.png\n")


async def look(browser: Browser, port: int, name: str, tab: str, *, size: tuple[int, int], is_dark: bool) -> None:
    """Take a picture of a tab of the demo's experiment."""
    async with visiting(browser, port, size=size, is_dark=is_dark, device_scale_factor=SCALE) as visit:
        await visit.open(f"#/experiments/digits/{tab}")
        await visit.page.get_by_role("heading", name="digits", exact=False).first.wait_for()
        await take(visit.page, name)


async def order(browser: Browser, port: int, token: str) -> None:
    """Take a picture of an order before it is given, and don't give it."""
    async with visiting(browser, port, size=(DESKTOP[0], 760), device_scale_factor=SCALE) as visit:
        await visit.open("#/sign-in")
        await visit.sign_in(token)
        await visit.page.get_by_role("link", name="digits").click()
        await visit.page.get_by_role("button", name="Roll back").click()
        await visit.page.get_by_label("Reason").fill("the new model answers too slowly")
        await take(visit.page, "order")


async def main() -> None:
    """Run the demo and look at it, while it decides and when it has decided."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        async with aiohttp.ClientSession() as session, browsing() as browser, demonstrating(folder) as port:

            async def is_deciding() -> bool:
                found = await state(session, port)
                assert found.get("phase") not in ("draining", "concluded"), "it was over before anybody looked"
                return any(arm["weight"] > DECIDING for arm in found.get("arms", [])) and found["phase"] != "warmup"

            async def is_decided() -> bool:
                return bool((await state(session, port)).get("phase") == "concluded")

            await until("the traffic to shift", is_deciding, PATIENCE_S)
            await look(browser, port, "deciding", "traffic", size=(DESKTOP[0], 760), is_dark=False)
            await look(browser, port, "value-dark", "value", size=(DESKTOP[0], 760), is_dark=True)
            await until("the end of the experiment", is_decided, PATIENCE_S)
            await look(browser, port, "decided", "decision", size=(DESKTOP[0], 760), is_dark=False)
            await look(browser, port, "phone", "traffic", size=PHONE, is_dark=False)
            await look(browser, port, "phone-dark", "value", size=PHONE, is_dark=True)
            async with session.get(f"http://127.0.0.1:{port}/admin/v1/version") as answer:
                file = (await answer.json())["token_file"]
            await order(browser, port, read_token(Path(file)))


if __name__ == "__main__":
    asyncio.run(main())

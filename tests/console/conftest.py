from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from tests.chromium import chromium
from tests.console.browser import browsing, visiting
from tests.console.story import Story, telling

# The first test to ask for the gateway waits until its experiment is over: 10 s, on a busy machine half a minute.
PATIENCE_S = 180


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what looks at the running gateway as what it is: a test of real processes, with time for their start."""
    for item in items:
        if (
            isinstance(item, pytest.Function)
            and {"story", "modules"} & {*item.fixturenames}
            and item.path.parent == Path(__file__).parent
        ):
            item.add_marker(pytest.mark.system)
            item.add_marker(pytest.mark.timeout(PATIENCE_S))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One Chromium for all tests; each looks at a page in a profile of its own."""
    async with browsing() as made:
        yield made


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def story(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Story]:
    """A gateway whose experiment is over; not started where nobody could look at it."""
    chromium()
    async with telling(tmp_path_factory.mktemp("console")) as made:
        yield made


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def modules(browser: Browser, story: Story) -> AsyncIterator[Page]:
    """The page at its form for signing in: for tests of what its modules compute."""
    async with visiting(browser, story.gateway.admin) as visit:
        await visit.open()
        yield visit.page

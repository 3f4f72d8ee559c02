from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.chromium import chromium
from tests.console.browser import browsing
from tests.console.story import Story, telling


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

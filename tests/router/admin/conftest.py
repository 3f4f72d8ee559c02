from collections.abc import AsyncIterator

import pytest

from tests.router.admin.bench import Bench, bench


@pytest.fixture
async def on() -> AsyncIterator[Bench]:
    """The admin port over an empty store."""
    async with bench() as made:
        yield made

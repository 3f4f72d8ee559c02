from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from router.store import Store, open_store


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new store of each kind."""
    return "memory:" if request.param == "memory" else f"sqlite://{tmp_path}/store/turpin.db"


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    """A new, open store of each kind."""
    opened = open_store(url)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where an SQLite store may be made."""
    return tmp_path / "turpin.db"

"""Where Chromium is. Apart from what drives it, so that the suite can say that it is not there."""

import os
import shutil
from typing import Final

import pytest

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str:
    """Return the path of Chromium; skips the test without one, or fails it where TEST_BROWSER=required."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        reason = "chromium is not installed (Debian: apt-get install chromium): the console is not tested"
        if os.environ.get("TEST_BROWSER") == "required":
            pytest.fail(reason)
        pytest.skip(reason)
    return found

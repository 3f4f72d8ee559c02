"""The stories by name. Importing this module must stay cheap: the command line names them."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from load.scenarios.story import Story

NAMES = ("deploy", "price", "rollback", "sick")
TWO_CLOUDS = ("price", "sick")
"""Those that need a second model server, and ports for it."""


def story(name: str) -> "Story":
    """Return a story; KeyError when there is none of this name."""
    if name not in NAMES:
        raise KeyError(name)
    found: Story = importlib.import_module(f"load.scenarios.{name}").STORY
    return found

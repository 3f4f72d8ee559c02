"""All rows of the table of bars (bandit-science.md, Part II §10 as changed by Part I §K)."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from load.learn.cell import Part
from load.learn.rows_regret import DELAY, PRICES, REGRET
from load.learn.rows_rest import EXACT, TIME, VALID
from load.learn.rows_segments import SEGMENTS
from load.learn.rows_stop import STOP

PARTS: Final = (STOP, REGRET, DELAY, PRICES, SEGMENTS, VALID, EXACT, TIME)


def select(parts: Sequence[Part], name: re.Pattern[str]) -> list[Part]:
    """Return the rows whose name, or whose part's heading, the pattern is found in."""
    found = [
        replace(part, rows=tuple(row for row in part.rows if name.search(row.name) or name.search(part.heading)))
        for part in parts
    ]
    return [part for part in found if part.rows]

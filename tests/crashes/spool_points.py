"""Crashes of a spool: killed at each byte and operation, and without power there, of as many stories as are asked for."""

import asyncio
import random
from collections.abc import Iterator

from tests.crashes.spool_story import moments, told, wrong_after


def broken(seed: int, *, every: int = 1) -> Iterator[tuple[str, str]]:
    """Crash at every so-many-th point of a story; yield for each crash what it was, and which law it broke (empty: none)."""
    rng = random.Random(seed)
    with asyncio.Runner() as runner:
        story = runner.run(told(seed))
        for place, (moment, machine) in enumerate(moments(story)):
            if place % every:
                continue
            dark = machine.copy()
            dark.cut_power(rng)
            for what, left in (("killed", machine), ("without power", dark)):
                yield f"story {seed}, point {place}, {what}", runner.run(wrong_after(moment, left))

"""How much slower the arms of a backend run in traffic than alone: a scale common to the replica, times a ratio per arm.

A busy machine slows all arms at once, which changes no decision; what decides is by how much more it slows one than
another, and of that few probes say little. So each arm's own median is drawn towards what is common to all.
"""

import math
from collections.abc import Sequence
from statistics import fmean, median
from typing import Final

from serving.cost import PROBES_COUNTED, PROBES_NEEDED, Line, probe_scale

# With so many probes an arm's own median counts half. Medians of 15 repeated within 11 % (one standard deviation, 7-16 %
# measured), and the arms' own ratios of one machine lay 20 % apart: 15 x 0.11^2 / 0.20^2 = 5.
_HALF_AT: Final = 5.0


def scales(lines: Sequence[Line], probes: Sequence[Sequence[tuple[int, float]]]) -> list[float | None]:
    """Return each arm's scale on its line, of arms on one backend; None for all while none has enough probes.

    `probes` are each arm's (rows, seconds), oldest first. An arm that has not enough of its own gets what is common.
    """
    own = [
        math.log(probe_scale(line, seen)) if len(seen) >= PROBES_NEEDED else None
        for line, seen in zip(lines, probes, strict=True)
    ]
    known = [one for one in own if one is not None]
    if not known:
        return [None] * len(own)
    # Of two the middle lies between them; of more, one arm that reacts to load in its own way moves nobody else.
    common = median(known) if len(known) > 2 else fmean(known)
    return [math.exp(_drawn(one, common, len(seen))) for one, seen in zip(own, probes, strict=True)]


def _drawn(own: float | None, common: float, probes: int) -> float:
    if own is None:
        return common
    counted = min(probes, PROBES_COUNTED)
    return common + (own - common) * counted / (counted + _HALF_AT)

"""How much slower the arms of a backend run in traffic than alone: a level common to the replica, times a ratio per arm.

A busy machine slows all arms at once, which changes no decision; what decides is by how much more it slows one than
another, and of that few probes say little. So the level is what is usual, the middle of all; an arm's own ratio is taken
from its least disturbed probes, and drawn towards 1.
"""

import math
from collections.abc import Sequence
from statistics import fmean, median
from typing import Final

from serving.cost import Line, undisturbed

# Of fewer than five, two disturbed probes would already be the median.
PROBES_NEEDED: Final = 5
# With so many probes an arm's own ratio counts half. In 15 trials at a machine load of 6 to 9 the ratios of three arms, of 5
# to 8 probes each, spread by 7 to 9 %; a calibration that meets a bad moment is off by 20 %, twice in 45 by more than 2x.
# Without own ratios the wide model's cost spread by 23 % when saturated, with them by 10 %; halves at 20 gave 15 %.
_HALF_AT: Final = 5.0

# One batch that ran alone: (rows, seconds).
Probe = tuple[int, float]


def scales(lines: Sequence[Line], probes: Sequence[Sequence[Probe]]) -> list[float | None]:
    """Return each arm's scale on its line, of arms on one backend; None for all while none has enough probes.

    `probes` are each arm's last ones. An arm that has not enough of its own gets what is common.
    """
    ratios = [
        [seconds / line.seconds(rows) for rows, seconds in seen] for line, seen in zip(lines, probes, strict=True)
    ]
    known = [one for one in ratios if len(one) >= PROBES_NEEDED]
    if not known:
        return [None] * len(ratios)
    level = _middle([math.log(median(one)) for one in known])
    calm = _middle([math.log(undisturbed(one)) for one in known])
    return [math.exp(level + _own(one, calm)) for one in ratios]


def _own(ratios: Sequence[float], calm: float) -> float:
    """Return the log of how much more than others an arm is slowed."""
    if len(ratios) < PROBES_NEEDED:
        return 0.0
    return (math.log(undisturbed(ratios)) - calm) * len(ratios) / (len(ratios) + _HALF_AT)


def _middle(logs: Sequence[float]) -> float:
    """Return the middle; of two it lies between them, of more one arm that reacts to load in its own way moves nobody else."""
    return median(logs) if len(logs) > 2 else fmean(logs)

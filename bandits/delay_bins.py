"""In which part of the window a reward arrived: integers that add, counted when the reward arrives.

A worker imports this, so it needs nothing but the standard library. A reward that is learned adds 1 to one of `FIELDS`
in the cell (arm, block) of its decision, beside `rewards`, `reward_q`, `reward_q2` and `delay_ms`.
"""

from bisect import bisect_left
from typing import Final

# Each bin ends at sqrt(2) times the end of the one before, the last at the window: the first at window / 2896, which is
# .6 s of half an hour and 3.5 min of a week. Within a bin a law of delays is taken as straight; of an exponential that
# is at most .008 off.
BINS: Final = 24
ENDS: Final = tuple(2.0 ** (-(BINS - 1 - number) / 2) for number in range(BINS))
"""Where each bin ends, as a share of the window; a bin includes its end."""

FIELDS: Final = tuple(f"delay_bin_{number:02d}" for number in range(BINS))
"""What the bins are called in a store's cell."""


def bin_of(age_s: float, window_s: float) -> int:
    """Return the bin, 0..23, of a reward that came `age_s` seconds after its decision.

    What comes later than the window (clocks differ) belongs to the last bin, what comes too early to the first. The
    bins of an epoch belong together: its window must not change.
    """
    if age_s <= 0.0:
        return 0
    if age_s >= window_s:
        return BINS - 1
    return bisect_left(ENDS, age_s / window_s)

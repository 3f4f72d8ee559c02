"""How far apart the levels of the strata lie: as far as the data leave open.

The reference lets every stratum have a level of its own (standard deviation 2, bandit-science.md, Part I §A; a first
choice, §L). Arms are then compared within strata alone: of 1,000 requests shared out 800 to 200, 160 count, even where
all levels are plainly the same. Here the levels are drawn to each other as far as their spread, found by its likelihood,
allows. A rhythm widens it at once, and one that is seen in neighbours being alike as much as it takes for the mean of
many strata to be as uncertain as it is: that is mostly the reference's again. Few strata leave it open. T strata, K arms.
"""

import numpy as np
from numpy.typing import NDArray

from bandits.logistic import sides
from bandits.posterior import LEVEL_SD, LogitFit

Floats = NDArray[np.float64]

# Standard deviations that are told apart: a level that differs by a hundredth is the same for every purpose, and the
# reference's is the largest.
SPREADS = np.geomspace(0.01, LEVEL_SD, 40)
# What the logarithm of the likelihood may be below its highest: a standard error above the likeliest spread, so that few
# strata are not taken for equal ones.
DROP = 0.5
# Of the correlation of neighbours a standard error is left to chance; it is never taken for complete. With it what is
# believed was as wrong as it says (root mean square of .8 to 1.2 standard deviations at amplitudes of 0 to 50 %, 40 runs
# each), and one run of 15 without any rhythm was taken to have one.
ALIKE_MAX = 0.99


def spread_of(trials: Floats, successes: Floats, fit: LogitFit) -> float:
    """Return the standard deviation that the strata's levels may have, given a fit that left them free; rows are in order
    of time.

    Each level as the data alone say it, a step from the fit's, is normal around a common mean with this spread beside its
    own error.
    """
    rate, rest = sides(fit.alpha[:, None] + fit.beta)
    information = (trials * rate * rest).sum(axis=1)
    known = information > 0.0
    residual = (successes - trials * rate).sum(axis=1)[known]
    error = 1.0 / information[known]
    level = fit.alpha[known] + np.clip(residual * error, -LEVEL_SD, LEVEL_SD)
    variance = SPREADS[:, None] ** 2 + error
    mean = (level / variance).sum(axis=1) / np.maximum((1.0 / variance).sum(axis=1), 1e-300)
    likelihood = -0.5 * (np.log(variance) + (level - mean[:, None]) ** 2 / variance).sum(axis=1)
    place = int(np.flatnonzero(likelihood >= likelihood.max() - DROP)[-1])
    spread = float(SPREADS[place])
    return min(
        LEVEL_SD, spread * _carried_on((level - mean[place]) / np.sqrt(variance[place]), variance[place], spread)
    )


def _carried_on(scaled: Floats, variance: Floats, spread: float) -> float:
    """Return by how much more the mean of many levels wavers than if each were drawn anew, given their deviations in units
    of all that makes them deviate (T,)."""
    pairs = scaled.size - 1
    if pairs < 1:
        return 1.0
    together = max(0.0, float(scaled[1:] @ scaled[:-1]) / pairs - 1.0 / np.sqrt(pairs))
    # Errors of neighbours have nothing to do with each other: what they share is the levels' own.
    alike = min(ALIKE_MAX, together * float(variance.mean()) / spread**2)
    return float(np.sqrt((1.0 + alike) / (1.0 - alike)))

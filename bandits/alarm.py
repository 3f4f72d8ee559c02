"""An alarm: one e-process that watches the numbers, where it stands, and in words what it found.

An e-process starts at 1 and, while nothing is wrong, is not expected to grow. The chance that it ever reaches 1,000 is
then at most 1/1,000, however often one looks (Ville). Source: bandit-science.md, Part I §H and §M.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# One false alarm in a thousand epochs, over the whole epoch: a chi-square test at each look rang 183 times a day.
BAR_LOG = math.log(1000.0)
# Evidence beyond e^1000 says no more, and JSON knows no infinity.
LOG_E_MAX = 1000.0


@dataclass(frozen=True, slots=True)
class Alarm:
    """One e-process: `log_e` against `bar_log`, nats. `arm` is the one it speaks of, None while it speaks of none.

    While an alarm rings nothing is retired, and `words` say why.
    """

    name: str
    arm: str | None
    log_e: float
    bar_log: float
    is_ringing: bool
    words: str


def rated(name: str, arm: str, log_e: float, words: str) -> Alarm:
    """Return the alarm of an e-process over the whole epoch, which speaks of `arm` if it rings."""
    log_e = bounded(log_e)
    is_ringing = log_e >= BAR_LOG
    return Alarm(name, arm if is_ringing else None, log_e, BAR_LOG, is_ringing, words)


def bounded(log_e: float) -> float:
    """Return the evidence within ±`LOG_E_MAX`, a plain float that JSON can carry."""
    return min(LOG_E_MAX, max(-LOG_E_MAX, float(log_e)))


def log_mean_exp(logs: Floats, axes: int | tuple[int, ...] | None = None) -> Floats:
    """Return ln of the mean of e^logs over the axes (None: over all); -inf for none but -inf."""
    top = np.max(logs, axis=axes, keepdims=True)
    finite = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        mean = np.log(np.exp(logs - finite).mean(axis=axes, keepdims=True)) + finite
    return np.asarray(np.squeeze(mean, axis=axes), np.float64)

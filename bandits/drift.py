"""An alarm when an arm's rewards are no longer what they were: a generalised likelihood ratio over recent windows.

A model's rate before and since are compared with one rate for both, for windows of 1, 2, 4 … blocks back from now.
It sees the level too, so that a daily rhythm rings it: it decides nothing (bandit-science.md, Part II §5). Rewards are
shares of their range: for what lies between 0 and 1 the divergence of coins is the cautious one.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import rel_entr

from bandits.alarm import Alarm, bounded
from bandits.strata import Outcomes

Floats = NDArray[np.float64]

# Outcomes on each side of the moment, and the chance of a false alarm, of the reference (Part II §5).
OUTCOMES_MIN = 50.0
FALSE_ALARMS = 0.01


class _Split(NamedTuple):
    """Rates before and since a moment, and how clearly they differ."""

    before: float
    since: float
    blocks: int
    log_e: float
    bar_log: float


def drifts(names: Sequence[str], outcomes: Outcomes, low: float, span: float) -> tuple[Alarm, ...]:
    """Return an alarm for each model (T, G) that has changed, at the moment that shows it best.

    `names` are those of the models; rates are told in the reward's own unit, low + span x share.
    """
    changed = {}
    for model, name in enumerate(names):
        splits = _splits(outcomes.trials[:, model], outcomes.total[:, model])
        best = max(splits, key=lambda one: one.log_e - one.bar_log, default=None)
        if best is not None and best.log_e > best.bar_log:
            changed[name] = best
    rises = {split.since > split.before for split in changed.values()}
    together = " (all arms moved alike: the traffic changed)" if len(changed) == len(names) > len(rises) else ""
    return tuple(
        Alarm(
            "drift",
            name,
            bounded(split.log_e),
            split.bar_log,
            True,
            f"arm {name} earned {low + span * split.before:.4g} before and {low + span * split.since:.4g} "
            f"in the last {split.blocks} blocks{together}",
        )
        for name, split in changed.items()
    )


def _splits(trials: Floats, total: Floats) -> Iterator[_Split]:
    """Yield what each dyadic window says that has enough outcomes on both sides."""
    length = 1
    while length < trials.size:
        n_1, n_2 = float(trials[:-length].sum()), float(trials[-length:].sum())
        if min(n_1, n_2) >= OUTCOMES_MIN:
            s_1, s_2 = float(total[:-length].sum()), float(total[-length:].sum())
            joint = (s_1 + s_2) / (n_1 + n_2)
            ratio = n_1 * _divergence(s_1 / n_1, joint) + n_2 * _divergence(s_2 / n_2, joint)
            yield _Split(s_1 / n_1, s_2 / n_2, length, ratio, 1.5 * math.log(n_1 + n_2) - math.log(FALSE_ALARMS))
        length *= 2


def _divergence(p: float, q: float) -> float:
    """Return the Kullback-Leibler divergence of two coins."""
    p, q = min(p, 1.0), min(q, 1.0)
    return float(rel_entr(p, q) + rel_entr(1.0 - p, 1.0 - q))

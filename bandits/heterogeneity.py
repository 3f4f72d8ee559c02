"""Whether an arm's advantage is the same at all times: heterogeneity between blocks, arm by block.

Each arm is compared with control, stratum by stratum, by the likelihood in which the stratum's own level falls out.
Claim tested: the strata's effects are one constant, or independent normals around one of spread at most .1. Bet
against it: normals of spread .25 to 1. The mean likelihood of the bet over the highest under the claim is an e-value,
and in the order in which strata end an e-process. A rhythm that multiplies all arms' rates moves log odds by less than
.1 in all but extreme cases (.70 and .72 by 25 %: .096), and is no alarm. Ours; bandit-science.md §11 asks for a warning.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bandits.alarm import BAR_LOG, Alarm, log_mean_exp, rated
from bandits.evidence import GRID, LOG_MIXTURE, Tables, log_likelihood
from bandits.running import RunningSums

Floats = NDArray[np.float64]

# In log odds. The first three belong to the claim: 0 is the constant that the gate assumes.
SPREADS = (0.0, 0.05, 0.1, 0.25, 0.5, 1.0)
_CLAIMED = 3
# At a rate of one half a step of .1 in log odds is .025 of the reward, a twentieth of its spread: what continuous
# rewards are measured in.
_SHARE_OF_SD = 0.5
# Spreads of the mean effect of continuous rewards, in the rewards' sd (Part I §J).
_MEANS = (0.02, 0.1, 0.5)
# A mean of fewer effective rewards is not near enough to normal (Part I §D).
_REWARDS_MIN = 30
# Each zoom makes the bracket of the likeliest effect four times smaller: .4 becomes 1e-5, the standard error of 1e10.
_ZOOMS = 8


@dataclass(frozen=True, slots=True, eq=False)
class Effects:
    """Of strata whose window has passed, (strata, arms): decisions with a known outcome, the sum of their rewards and of
    the rewards' squares as shares of the range. `control` is an arm's number."""

    control: int
    trials: Floats
    total: Floats
    square: Floats
    is_binary: bool


def heterogeneity(names: Sequence[str], effects: Effects, cache: RunningSums | None = None) -> Alarm:
    """Return the alarm; it names the arm whose advantage over control varies most surely."""
    rivals = [arm for arm in range(len(names)) if arm != effects.control]
    if not rivals:
        return Alarm("heterogeneity", None, 0.0, BAR_LOG, is_ringing=False, words="there is nothing to compare")
    if effects.is_binary:
        found = _of_odds(effects, rivals, cache or RunningSums())
    else:
        found = [_of_means(effects, arm) for arm in rivals]
    log_e = float(log_mean_exp(np.array([log for log, _ in found])))
    place = int(np.argmax([log for log, _ in found]))
    unit = "in log odds" if effects.is_binary else "of the reward's sd"
    words = (
        f"the advantage of arm {names[rivals[place]]} over {names[effects.control]} varies between blocks "
        f"by about {found[place][1]:.2g} {unit}"
    )
    return rated("heterogeneity", names[rivals[place]], log_e, words)


def _kernels() -> Floats:
    """Return for each spread above 0 the normal law around each grid point, as columns (grid, spreads × grid)."""
    distance = (GRID[:, None] - GRID[None, :]) / np.array(SPREADS[1:])[:, None, None]
    # Points are denser near 0; each stands for its share of the line.
    density = np.exp(-0.5 * distance**2) * np.gradient(GRID)
    laws = density / density.sum(axis=2, keepdims=True)
    return np.ascontiguousarray(laws.reshape(-1, GRID.size).T, np.float64)


_KERNELS: Floats = _kernels()


def _of_odds(effects: Effects, rivals: Sequence[int], cache: RunningSums) -> list[tuple[float, float]]:
    """Return log E and the likeliest spread of each rival's binary rewards."""
    trials, total, control = effects.trials, effects.total, effects.control
    tables = {
        arm: np.stack([trials[:, arm], trials[:, control], total[:, arm], total[:, control]], axis=1) for arm in rivals
    }
    sums = cache.over(tables, spread_logs, (len(SPREADS), GRID.size))
    return [against_claim(summed, tables[arm]) for arm, summed in sums.items()]


def spread_logs(rows: Floats) -> Floats:
    """Return ln E[likelihood] (rows, spreads, grid) of tables whose effect is drawn around each grid point."""
    logs = log_likelihood(GRID, Tables(rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3]))
    top = logs.max(axis=1, keepdims=True)
    with np.errstate(divide="ignore"):
        mixed = np.log(np.exp(logs - top) @ _KERNELS).reshape(len(rows), len(SPREADS) - 1, GRID.size) + top[:, None]
    return np.concatenate([logs[:, None], mixed], axis=1)


def against_claim(summed: Floats, rows: Floats) -> tuple[float, float]:
    """Return log E of likelihoods (spreads, grid) summed over these tables, and the bet's likeliest spread."""
    bets = summed[_CLAIMED:] + LOG_MIXTURE
    # LOG_MIXTURE sums to 1 over the grid, the mean is over the bet's spreads.
    by_spread = log_mean_exp(bets, 1) + np.log(GRID.size)
    log_e = float(log_mean_exp(by_spread)) - float(summed[:_CLAIMED].max())
    # Only what would speak against the claim is worth the search: at 1,344 strata it takes 14 ms.
    if log_e > 0.0:
        log_e = min(log_e, float(log_mean_exp(by_spread)) - _highest(rows, int(summed[0].argmax())))
    return (log_e if np.isfinite(log_e) else 0.0), SPREADS[_CLAIMED + int(by_spread.argmax())]


def _highest(rows: Floats, near: int) -> float:
    """Return the highest log likelihood of one constant effect, searched around a grid point: the grid is too coarse."""
    tables = Tables(rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3])
    low, high = GRID[max(0, near - 1)], GRID[min(GRID.size - 1, near + 1)]
    best = -np.inf
    for _ in range(_ZOOMS):
        points = np.linspace(low, high, 9)
        logs = log_likelihood(points, tables).sum(axis=0)
        place = int(logs.argmax())
        best = max(best, float(logs[place]))
        low, high = points[max(0, place - 1)], points[min(8, place + 1)]
    return best


def _of_means(effects: Effects, arm: int) -> tuple[float, float]:
    """Return log E and the likeliest spread, in sd, of rewards of any kind; normal means, so asymptotic (Part I §J)."""
    pair = [arm, effects.control]
    trials, total, square = (field[:, pair] for field in (effects.trials, effects.total, effects.square))
    heavy = np.divide(total**2, square, out=np.zeros_like(total), where=square > 0)
    rows = (np.minimum(heavy, trials) >= _REWARDS_MIN).all(axis=1)
    trials, total, square = trials[rows], total[rows], square[rows]
    variance = (square - total**2 / trials).sum(axis=0) / np.maximum((trials - 1.0).sum(axis=0), 1.0)
    sd = float(np.sqrt(variance.mean())) if rows.any() else 0.0
    if not sd > 0.0:
        return 0.0, 0.0
    gaps = (total / trials) @ np.array([1.0, -1.0])
    noise = (variance / trials).sum(axis=1)
    spreads = _SHARE_OF_SD * np.array(SPREADS)
    precision = 1.0 / (noise + (spreads[:, None] * sd) ** 2)
    weight = precision.sum(axis=1)
    mean = precision @ gaps / weight
    likeliest = 0.5 * np.log(precision).sum(axis=1) - 0.5 * (precision * (gaps - mean[:, None]) ** 2).sum(axis=1)
    priors = (np.array(_MEANS) * sd)[:, None] ** 2
    penalty = 0.5 * np.log1p(priors * weight) + 0.5 * mean**2 / (priors + 1.0 / weight)
    bets = log_mean_exp(likeliest - penalty, 0)[_CLAIMED:]
    return float(log_mean_exp(bets) - likeliest[:_CLAIMED].max()), float(spreads[_CLAIMED + int(bets.argmax())])

"""Whether the numbers can be trusted: traffic split as published, rewards coming back alike, advantages that last.

`alarms` answers with one e-process per question, each over the whole epoch. Sums in, no memory but a cache. What they
assume: the request is what was randomised, and each is a draw of its own. With sticky units it is not; leave `draws`
and `reports` out then. Source: bandit-science.md, Part I §H.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bandits.alarm import Alarm, log_mean_exp, rated
from bandits.evidence import Tables, log_likelihood
from bandits.heterogeneity import Effects, heterogeneity
from bandits.running import RunningSums
from bandits.sample_ratio import Draws, sample_ratio

__all__ = ["Alarm", "Draws", "Effects", "HealthCache", "Reports", "alarms"]

Floats = NDArray[np.float64]

# The effects that the mixture bets on, as log odds of being reported (Part I §H).
REPORT_EFFECTS: Floats = np.array([-2.0, -1.0, -0.5, -0.25, -0.1, 0.1, 0.25, 0.5, 1.0, 2.0])
# Tables with at most so many possible outcomes are summed out: in the smallest the saddlepoint would add .05 to what
# one stratum is expected to multiply by, which 1,000 of them make a false alarm. From here on it is below .0012.
_OUTCOMES_MAX = 64


@dataclass(frozen=True, slots=True, eq=False)
class Reports:
    """Of strata whose window has passed, (strata, arms): decisions, and how many of them a reward came back for."""

    decisions: Floats
    reported: Floats


@dataclass(slots=True)
class HealthCache:
    """What need not be computed again while strata are only added. Mutable, one per experiment, safe to throw away."""

    reports: RunningSums = field(default_factory=RunningSums)
    effects: dict[str, RunningSums] = field(default_factory=dict)


def alarms(
    names: Sequence[str],
    *,
    draws: Draws | None = None,
    reports: Reports | None = None,
    effects: Mapping[str, Effects] | None = None,
    cache: HealthCache | None = None,
) -> tuple[Alarm, ...]:
    """Return the alarm of every question that can be asked, ringing or not, for arms of these names.

    Leave out `draws` and `reports` when units are sticky, and `reports` when silence means 0: then a lost reward can't
    be told from a bad arm. `effects` are by the segment's name; what is no segment is called nothing.
    """
    cache = cache or HealthCache()
    found = []
    if draws is not None:
        found.append(sample_ratio(names, draws))
    if reports is not None:
        found.append(_reporting(names, reports, cache.reports))
    if effects:
        found.append(_heterogeneity(names, effects, cache))
    return tuple(found)


def _heterogeneity(names: Sequence[str], effects: Mapping[str, Effects], cache: HealthCache) -> Alarm:
    """Return the loudest segment's alarm, as quiet as the mean of all of them would be if the others were silent."""
    every = {
        segment: heterogeneity(names, one, cache.effects.setdefault(segment, RunningSums()))
        for segment, one in effects.items()
    }
    segment, loudest = max(every.items(), key=lambda item: item[1].log_e)
    if not segment or loudest.arm is None:
        return loudest
    words = f"in segment {segment} {loudest.words}"
    return rated(loudest.name, loudest.arm, loudest.log_e - math.log(len(every)), words)


def _reporting(names: Sequence[str], reports: Reports, cache: RunningSums) -> Alarm:
    """Compare each arm's share of decisions that got a reward with the others', stratum by stratum.

    Given how many of a stratum's decisions were reported, the arm's part of them follows the hypergeometric law: the
    common rate falls out, and may swing.
    """
    decisions = reports.decisions
    # Rewards of several events may exceed decisions: the share then is 1.
    reported = np.minimum(reports.reported, decisions)
    of_all, reported_of_all = decisions.sum(axis=1), reported.sum(axis=1)
    tables = {
        arm: np.stack([own, of_all - own, back, reported_of_all - back], axis=1)
        for arm, (own, back) in enumerate(zip(decisions.T, reported.T, strict=True))
    }
    logs = np.stack(list(cache.over(tables, report_logs, REPORT_EFFECTS.shape).values()))
    loudest = logs.max(axis=1)
    # Two arms are equally loud: it is the one that gets less that loses rewards.
    tied = np.flatnonzero(loudest >= loudest.max() - 1e-6)
    shares = reported.sum(axis=0) / np.maximum(decisions.sum(axis=0), 1.0)
    worst = int(tied[shares[tied].argmin()])
    own, others = (_share(reported, decisions, arms) for arms in ([worst], np.arange(len(names)) != worst))
    words = f"rewards came back for {own} of arm {names[worst]}'s decisions, for {others} of the others'"
    return rated("reporting_rate", names[worst], float(log_mean_exp(logs)), words)


def report_logs(rows: Floats) -> Floats:
    """Return ll(effect) - ll(0) (rows, effects) of tables (decisions of k, of others; reported of k, of others)."""
    own, others, reported = rows[:, 0], rows[:, 1], rows[:, 2] + rows[:, 3]
    lowest = np.maximum(0.0, reported - others)
    outcomes = np.minimum(own, reported) - lowest + 1.0
    found = np.zeros((len(rows), REPORT_EFFECTS.size))
    is_small = (outcomes > 1) & (outcomes <= _OUTCOMES_MAX)
    found[is_small] = _summed_out(rows[is_small], lowest[is_small], outcomes[is_small])
    is_large = outcomes > _OUTCOMES_MAX
    columns = rows[is_large].T
    logs = log_likelihood(np.append(REPORT_EFFECTS, 0.0), Tables(*columns))
    found[is_large] = logs[:, :-1] - logs[:, -1:]
    return found


def _summed_out(rows: Floats, lowest: Floats, outcomes: Floats) -> Floats:
    """Return ll(effect) - ll(0) exactly, from the number of ways to every possible outcome."""
    own, others, reported = rows[:, 0, None], rows[:, 1, None], (rows[:, 2] + rows[:, 3])[:, None]
    count = lowest[:, None] + np.arange(_OUTCOMES_MAX - 1)
    # How many more ways there are to one more of the arm's own; beyond the last possible outcome none.
    is_possible = np.arange(1, _OUTCOMES_MAX) < outcomes[:, None]
    more = np.where(is_possible, (own - count) * (reported - count), 1.0)
    less = np.where(is_possible, (count + 1.0) * (others - reported + count + 1.0), 1.0)
    ways = np.zeros((len(rows), _OUTCOMES_MAX))
    ways[:, 1:] = np.where(is_possible, np.cumsum(np.log(more / less), axis=1), -np.inf)
    shares = np.exp(ways - ways.max(axis=1, keepdims=True))
    # At most e^126: 64 outcomes, effects up to 2.
    lifted = shares @ np.exp(np.arange(_OUTCOMES_MAX)[:, None] * REPORT_EFFECTS)
    above = (rows[:, 2] - lowest)[:, None] * REPORT_EFFECTS
    return np.asarray(above - np.log(lifted / shares.sum(axis=1, keepdims=True)), np.float64)


def _share(reported: Floats, decisions: Floats, arms: "Sequence[int] | NDArray[np.bool_]") -> str:
    count = float(decisions[:, arms].sum())
    return f"{float(reported[:, arms].sum()) / count:.1%}" if count else "none"

"""Jobs that ask whether what is claimed is ever false: claims at their boundary, and alarms without cause."""

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from bandits import aims, binary, gate, strata
from bandits.alarm import log_mean_exp
from bandits.evidence import GridCache
from bandits.health import HealthCache, Reports, alarms
from bandits.question import ArmFacts, Question
from bandits.rules import Objective, Policy, StopRule
from bandits.sample_ratio import LAMBDAS, SHARP_BITS, log_e_of_draws, log_moments
from bandits.sums import STEPS, Sums
from bandits.weights import to_parts

Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]
Parameters = Mapping[str, Any]

_SEED: Final = 20_260
# Strata of a claim at its boundary, requests in each, and looks at each: the last one when it is whole.
_STRATA: Final = 100
_REQUESTS: Final = 1000
_LOOKS: Final = 2
_CYCLE: Final = 50
# Leader and challenger, as the sprint would have them.
_SHARES: Final = (0.6, 0.4)
_MARGIN: Final = 0.05
_ALPHA: Final = 0.05
_AMPLITUDE: Final = 0.5
# The alarms' looks (bandit-science.md, Part I §H).
_ALARM_LOOKS: Final = 1000
_ALARM_REQUESTS: Final = 200
_LOST: Final = 0.2
_BAR: Final = math.log(1000.0)


def boundary(parameters: Parameters, number: int) -> dict[str, Any]:
    """Let a challenger be better by exactly the margin, and look again and again whether that is called refuted.

    Parameters: `rate` of the leader, `cost_l` and `cost_k` as shares of what its reward is worth, `has_cycle`.
    """
    rate, cost_l, cost_k = (float(parameters[name]) for name in ("rate", "cost_l", "cost_k"))
    costs = rate * np.array([cost_l, cost_k])
    wanted = (1 + _MARGIN) * (rate - costs[0]) + costs[1]
    waves = _waves() if parameters["has_cycle"] else np.zeros(_STRATA)
    cycle = _CYCLE if parameters["has_cycle"] else _STRATA
    levels = _level(rate, waves[:cycle]) + waves
    effect = _level(wanted, (levels - logit(rate))[:cycle]) - logit(rate)
    truth = expit(levels[:, None] + np.array([0.0, effect]))
    rng = np.random.default_rng([_SEED, number])
    cache = GridCache()
    decisions, won = np.zeros((_STRATA, 2), np.int64), np.zeros((_STRATA, 2), np.int64)
    for look in range(_STRATA * _LOOKS):
        row = look // _LOOKS
        sent = rng.multinomial(_REQUESTS // _LOOKS, _SHARES)
        decisions[row] += sent
        won[row] += rng.binomial(sent, truth[row])
        has_cycle = bool(parameters["has_cycle"])
        if _is_refuted(decisions[: row + 1], won[: row + 1], costs, look + 1, cache, has_cycle=has_cycle):
            return {"refuted_at": (look + 1) * _REQUESTS // _LOOKS}
    return {"refuted_at": None}


def _waves() -> Floats:
    """Return the rhythm of the levels, as odds (T,)."""
    wave = np.sin(2 * np.pi * (np.arange(_STRATA) + 0.5) / _CYCLE)
    return np.asarray(np.log1p(_AMPLITUDE * wave), np.float64)


def _level(rate: float, waves: Floats) -> float:
    """Return the level at which the rates over one rhythm have this mean; by halving."""
    low, high = logit(rate) - 5.0, logit(rate) + 5.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if float(expit(middle + waves).mean()) < rate else (low, middle)
    return float((low + high) / 2)


def _is_refuted(
    decisions: Int64s, won: Int64s, costs: Floats, looks: int, cache: GridCache, *, has_cycle: bool
) -> bool:
    """Ask the production gate, with arm 0 for the leader whatever the data say."""
    block_s, age_s = float(_REQUESTS), looks * _REQUESTS / _LOOKS
    rows = np.arange(1, decisions.shape[0] + 1)
    question = Question(
        arms=(ArmFacts("l", float(costs[0])), ArmFacts("k", float(costs[1]))),
        control=0,
        sums=Sums(rows, decisions, decisions, won * STEPS, won * STEPS**2),
        open_block=int(rows[-1]),
        age_s=age_s,
        objective=Objective(1.0),
        policy=Policy(block_s=block_s),
        stop=StopRule(margin=_MARGIN, alpha=_ALPHA, cycle_s=_CYCLE * block_s if has_cycle else None),
        blocks_closed=int(rows[-1]) - 1,
    )
    spans = strata.spans_from((rows - 1) * block_s, age_s)
    known = strata.in_window(strata.resolve(question.sums, question.objective, spans), spans, question.stop.cycle_s)
    belief = binary.believe(question, known, known, 2, cache)
    aim = aims.aim_of(
        question.objective, costs, belief.rate, lambda _: _MARGIN, is_live=np.ones(2, np.bool_), slack=0.0
    )
    return bool(gate.examine(belief, aim, [0, 1], [1], 0, _ALPHA).refuted[1])


def sample_ratio_runs(parameters: Parameters, number: int) -> dict[str, Any]:
    """Draw with weights that wander, honestly and with a fifth of arm 0's draws lost: when does the alarm ring?"""
    rng = np.random.default_rng([_SEED, number])
    arms = int(parameters["arms"])
    honest, lossy, moments = np.zeros(arms), np.zeros(arms), np.zeros((arms, len(LAMBDAS)))
    rang: dict[str, int | None] = {"false_at": None, "found_at": None}
    for look, weights in enumerate(_wandering(arms, rng), 1):
        parts = to_parts(weights)
        drawn = rng.multinomial(_ALARM_REQUESTS, np.array(parts) / sum(parts))
        honest += drawn
        lossy += drawn - np.array([rng.binomial(drawn[0], _LOST), *[0] * (arms - 1)])
        moments += _ALARM_REQUESTS * np.array(log_moments(parts), np.float64) / 2.0**SHARP_BITS
        for name, assigned in (("false_at", honest), ("found_at", lossy)):
            if rang[name] is None and float(log_mean_exp(log_e_of_draws(assigned, moments))) >= _BAR:
                rang[name] = look * _ALARM_REQUESTS
    return dict(rang)


def reporting_runs(parameters: Parameters, number: int) -> dict[str, Any]:
    """Let rewards come back for a share of the requests, then for a fifth less of arm 0's: when does the alarm ring?"""
    rng = np.random.default_rng([_SEED, number])
    arms, rate = int(parameters["arms"]), float(parameters["rate"])
    decisions, honest, lossy = (np.zeros((_ALARM_LOOKS, arms)) for _ in range(3))
    caches = {"false_at": HealthCache(), "found_at": HealthCache()}
    rang: dict[str, int | None] = dict.fromkeys(caches)
    names = [str(arm) for arm in range(arms)]
    for look, weights in enumerate(_wandering(arms, rng)):
        sent = rng.multinomial(_ALARM_REQUESTS, weights)
        decisions[look], honest[look] = sent, rng.binomial(sent, rate)
        lossy[look] = honest[look] - np.array([rng.binomial(int(honest[look, 0]), _LOST), *[0] * (arms - 1)])
        for name, reported in (("false_at", honest), ("found_at", lossy)):
            if rang[name] is None:
                reports = Reports(decisions[: look + 1], reported[: look + 1])
                [alarm] = alarms(names, reports=reports, cache=caches[name])
                rang[name] = (look + 1) * _ALARM_REQUESTS if alarm.is_ringing else None
    return dict(rang)


def _wandering(arms: int, rng: np.random.Generator) -> Floats:
    """Return weights (looks, arms) that wander as a learner's do, each at least 1 %."""
    walk = np.cumsum(rng.normal(0.0, 0.2, (_ALARM_LOOKS, arms)), axis=0)
    shares = np.exp(walk - walk.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    return np.asarray(0.01 + (1 - 0.01 * arms) * shares, np.float64)

"""Rows about what it costs not to know: against other policies, under rhythm, delay, prices and change."""

import math
from collections.abc import Sequence
from typing import Any, Final

from load.learn.cell import Answer, Part, Row, simulated
from load.learn.judge import (
    Demand,
    mean_at_most,
    mean_error,
    mean_within,
    median_at_most,
    quantile_at_most,
    ratio_at_most,
    share_at_least,
    share_at_most,
)

Answers = Sequence[Sequence[Answer]]

# The moment at which prices change in load/worlds/price-flip-*.yaml.
_FLIP_AT: Final = 100_000
_PARITY: Final = (
    "Plain sampling has no floor and no equal first split: a floor of 1 % costs arms x 1 % of an equal split's "
    "regret, and splitting equally until each arm has 200 outcomes, with a delay of 1,000, about 1.4 %."
)
_STARVED: Final = (
    "The arm that was dearer is starved until the flip, and what is known of it then decides: the median of few runs "
    "says little."
)
_LOSER: Final = {"rate": 0.05, "delay_mean": 1000}
_NEEDLE: Final = {"rate": 0.06, "delay_mean": 1000}


def regrets(answers: Sequence[Answer]) -> list[float]:
    """Return the regret of each run."""
    return [answer["regret"] for answer in answers]


def wrong(answers: Sequence[Answer]) -> int:
    """Return how many runs end on an arm that is not the best."""
    return sum(not answer["is_right"] for answer in answers)


def _day(name: str, arms: int, regret: float, wrong_share: float) -> Row:
    def judge(answers: Answers) -> list[Demand]:
        [runs] = answers
        return [
            mean_at_most("regret", regrets(runs), regret),
            share_at_most("wrong", wrong(runs), len(runs), wrong_share),
        ]

    return Row(
        f"day cycle, +5 %, K={arms}, 300k, no stop",
        f"regret <= {regret:g}, wrong final arm <= {wrong_share:g}",
        (simulated(name, 60, 400),),
        judge,
        is_required=True,
    )


def _parity(arms: int, share: float, runs: int) -> Row:
    """Compare with plain Thompson sampling, an even split and the textbooks', one needle among equal arms."""
    drawn = [_LOSER] * (arms - 1) + [_NEEDLE]
    others = ("pooled", "uniform", "epsilon_greedy", "ucb1", "exp3")
    cells = (
        simulated("parity", runs, 200, arms=drawn),
        *(simulated("parity", 60, 200, arms=drawn, policy=policy) for policy in others),
    )

    def judge(answers: Answers) -> list[Demand]:
        own, *rest = (regrets(runs) for runs in answers)
        by_name = dict(zip(others, rest, strict=True))
        uniform, _ = mean_error(by_name["uniform"])
        rivals = ["ucb1", "exp3"] + (["epsilon_greedy"] if arms <= 3 else [])
        return [
            ratio_at_most("regret / plain TS", own, by_name["pooled"], 1.10),
            mean_at_most("% of uniform", [100 * regret / uniform for regret in own], share),
            *(ratio_at_most(f"/ {name}", own, by_name[name], 1.0) for name in rivals),
        ]

    beats = "beats UCB1, Exp3" + (", eps-greedy" if arms <= 3 else "")
    return Row(
        f"parity, +20 %, K={arms}, 100k, delay 1k",
        f"<= 1.10 plain TS + 3 s.e.; <= {share:g} % of uniform; {beats}",
        cells,
        judge,
        note=_PARITY,
    )


def _ids() -> Row:
    drawn = [_LOSER] * 9 + [_NEEDLE]
    cells = (
        simulated("parity", 8, 100, arms=drawn, policy="ids"),
        simulated("parity", 60, 200, arms=drawn, policy="uniform"),
    )

    def judge(answers: Answers) -> list[Demand]:
        own, uniform = (regrets(runs) for runs in answers)
        whole, _ = mean_error(uniform)
        return [mean_at_most("% of uniform", [100 * regret / whole for regret in own], 30)]

    return Row("parity, IDS, +20 %, K=10, 100k", "<= 30 % of uniform", cells, judge)


def _conversions(answers: Answers) -> list[Demand]:
    [runs] = answers
    return [
        mean_at_most("regret", regrets(runs), 1000),
        share_at_least("right arm", len(runs) - wrong(runs), len(runs), 0.95),
    ]


def _equal_delay(answers: Answers) -> list[Demand]:
    [runs] = answers
    return [mean_within("weight of the slow arm", [answer["weights"][1] for answer in runs], 0.25, 0.75)]


def _bimodal(answers: Answers) -> list[Demand]:
    [runs] = answers
    stopped = [answer for answer in runs if answer["stopped_at"] is not None]
    return [
        share_at_most("wrong stops", wrong(stopped), len(runs), 0.02),
        Demand(f"stopped {len(stopped)} of {len(runs)}", "met"),
    ]


def _switches(runs: Sequence[Answer]) -> list[float]:
    """Return after how many requests the arm that is cheaper from the flip on has 90 % of the traffic."""
    found = []
    for answer in runs:
        later = (at - _FLIP_AT for at, _, cheaper in answer["path"] if at >= _FLIP_AT and cheaper >= 0.9)
        found.append(float(next(later, math.inf)))
    return found


def _flip_20(answers: Answers) -> list[Demand]:
    [runs] = answers
    took = _switches(runs)
    return [
        median_at_most("requests", took, 1000),
        quantile_at_most("requests", took, 0.95, 5000),
        share_at_least("switched", sum(map(math.isfinite, took)), len(took), 1.0),
    ]


def _flip_6(answers: Answers) -> list[Demand]:
    [runs] = answers
    took = _switches(runs)
    return [
        median_at_most("requests", took, 5000),
        share_at_least("switched by 100k", sum(map(math.isfinite, took)), len(took), 0.95),
    ]


def _watch(what: str, bar: float, **changes: Any) -> Row:
    def judge(answers: Answers) -> list[Demand]:
        [runs] = answers
        return [mean_at_most("regret", regrets(runs), bar)]

    return Row(f"always on: {what}, 200k", f"regret <= {bar:g}", (simulated("watch", 24, 100, **changes),), judge)


def _lag(answers: Answers) -> list[Demand]:
    slow, fast = (regrets(runs) for runs in answers)
    return [ratio_at_most("regret", slow, fast, 1.10)]


_DAY: Final = {"period": 100_000, "amplitude": 0.4}
_HALVED: Final = [{"at": 100_000, "arm": 1, "rate": 0.03}]
_DOUBLED: Final = [{"at": 100_000, "arm": 2, "rate": 0.09}]

REGRET: Final = Part(
    "Regret",
    (
        _day("day-k2", 2, 125, 0.02),
        _day("day-k3", 3, 235, 0.05),
        _parity(2, 9, 24),
        _parity(3, 13, 24),
        _parity(10, 38, 8),
        _ids(),
        Row(
            "lag of 1 s against .1 s",
            "regret ratio <= 1.10",
            (simulated("lag", 40, 200), simulated("lag", 16, 200, refresh=100)),
            _lag,
        ),
    ),
)

DELAY: Final = Part(
    "Delay",
    (
        Row(
            "conversions only, the better arm 50 times slower, 500k",
            "regret <= 1000, right arm >= .95",
            (simulated("conversions", 24, 100),),
            _conversions,
            is_required=True,
        ),
        Row(
            "equal arms, one 50 times slower, 500k",
            "mean weight of the slow one .25-.75",
            (simulated("conversions-equal", 24, 100),),
            _equal_delay,
            is_required=True,
        ),
        Row(
            "conversions, bimodal delays, window 250k",
            "wrong stops <= .02",
            (simulated("conversions-bimodal", 16, 60),),
            _bimodal,
        ),
    ),
)

PRICES: Final = Part(
    "Prices and change",
    (
        Row(
            "price flip, 20 % of value",
            "requests to 90 %: median <= 1 refresh, p95 <= 5k, all runs",
            (simulated("price-flip-20", 40, 200, has_path=True),),
            _flip_20,
            is_required=True,
        ),
        Row(
            "price flip, 6 %",
            "median <= 5k, >= .95 of runs by 100k",
            (simulated("price-flip-6", 120, 400, has_path=True),),
            _flip_6,
            is_required=True,
            note=_STARVED,
        ),
        _watch("nothing happens", 230),
        _watch("nothing but a daily rhythm", 230, cycle=_DAY),
        _watch("the leader halves", 450, changes=_HALVED),
        _watch("the leader halves, daily rhythm", 450, changes=_HALVED, cycle=_DAY),
        _watch("a loser doubles", 600, changes=_DOUBLED),
    ),
)

"""Rows about the end: how soon it comes, and whether it is right."""

import math
from collections.abc import Sequence
from typing import Any, Final

from load.learn.cell import Answer, Part, Row, simulated
from load.learn.judge import Demand, median_at_most, share_at_least, share_at_most

Answers = Sequence[Sequence[Answer]]

# The demo counts as over after a minute of 1,000 requests a second.
_DEMO_END: Final = 60_000
_DEMO_SEEDS: Final = 20
_DEMO_COSTS: Final = {
    "equal": (0.0, 0.0, 0.0),
    ".01/.05/.20": (0.01, 0.05, 0.20),
    ".02/.10/.11": (0.02, 0.10, 0.11),
    ".01/.15/.30": (0.01, 0.15, 0.30),
    ".10/.10/.16": (0.10, 0.10, 0.16),
}
# Five closed strata (bandit-science.md, Part I §D) take six looks; §B's medians were measured without them.
_SIX_LOOKS: Final = 1_500
# Median stops of §B, in thousands of requests, by rate and case.
_MEDIANS: Final = {
    0.05: (35, 18, 14, 46, 45),
    0.30: (4.0, 1.3, 0.25, 3.6, 4.8),
    0.70: (0.5, 0.25, 0.25, 0.75, 0.75),
    0.97: (0.25, 0.25, 0.25, 0.25, 0.25),
}
_CASES: Final = ("10 % dearer", "20 % dearer", "50 % dearer", "better, too dear", "better, worth it")


def stops(answers: Sequence[Answer]) -> list[float]:
    """Return when each run stopped; infinity when it did not."""
    return [math.inf if answer["stopped_at"] is None else float(answer["stopped_at"]) for answer in answers]


def wrong_stops(answers: Sequence[Answer]) -> int:
    """Return how many runs stopped on an arm that is not the best."""
    return sum(answer["stopped_at"] is not None and not answer["is_right"] for answer in answers)


def _close(name: str, arms: int, runs: int) -> Row:
    def judge(answers: Answers) -> list[Demand]:
        [found] = answers
        stopped = sum(map(math.isfinite, stops(found)))
        middle = sorted(stops(found))[len(found) // 2]
        return [
            share_at_most("wrong", wrong_stops(found), len(found), 0.025),
            share_at_least("stopped by 400k", stopped, len(found), 0.85),
            Demand(f"median {middle:,.0f}", "met"),
        ]

    bar = "wrong <= .025, >= .85 stopped by 400k"
    return Row(f"stop, day cycle, +5 %, K={arms}", bar, (simulated(name, runs, 400),), judge, is_required=True)


def _clear(arms: int, median: int, wrong: float, runs: int, runs_full: int) -> Row:
    drawn = [{"rate": 0.05}] * (arms - 1) + [{"rate": 0.06}]

    def judge(answers: Answers) -> list[Demand]:
        [found] = answers
        return [
            median_at_most("median", stops(found), median),
            share_at_most("wrong", wrong_stops(found), len(found), wrong),
        ]

    bar = f"median <= {median:,}, wrong <= {wrong:g}"
    return Row(
        f"stop, day cycle, +20 %, K={arms}",
        bar,
        (simulated("stop-20", runs, runs_full, arms=drawn),),
        judge,
        is_required=True,
    )


def _demo() -> Row:
    rates = (0.83, 0.96, 0.98)
    cells = tuple(
        simulated(
            "demo", _DEMO_SEEDS, 200, arms=[{"rate": r, "cost_usd": c} for r, c in zip(rates, costs, strict=True)]
        )
        for costs in _DEMO_COSTS.values()
    )

    def judge(answers: Answers) -> list[Demand]:
        demands = []
        for name, found in zip(_DEMO_COSTS, answers, strict=True):
            right = sum(answer["is_right"] and answer["stopped_at"] is not None for answer in found)
            is_met = right == len(found)
            last = max(stops(found)) / 1000
            demands.append(Demand(f"{name}: {right} of {len(found)}, last {last:.1f} s", "met" if is_met else "missed"))
        return demands

    bar = f"each of {_DEMO_SEEDS} seeds ends on the right arm within {_DEMO_END // 1000} s"
    return Row("demo .83/.96/.98, 5 cost cases", bar, cells, judge)


def _priced(rate: float, case: str) -> list[dict[str, Any]]:
    """Return two arms of the cost grid, the first costing a tenth of what its reward is worth where it costs at all.

    A better arm is a fifth better, or half of what is left to 1; its cost makes its value a tenth less or more.
    """
    dearer = {"10 % dearer": 0.1, "20 % dearer": 0.2, "50 % dearer": 0.5}
    if case in dearer:
        return [{"rate": rate}, {"rate": rate, "cost_usd": dearer[case] * rate}]
    better = min(1.2 * rate, (1 + rate) / 2)
    value = 0.9 * rate * (0.9 if case == "better, too dear" else 1.1)
    # At .97 even a perfect arm is not worth a tenth more: then it is as much more as it can be, and free.
    return [{"rate": rate, "cost_usd": 0.1 * rate}, {"rate": better, "cost_usd": max(0.0, better - value)}]


def _cost_grid(rate: float, runs: int) -> Row:
    cells = tuple(simulated("cost-grid", runs, 60, arms=_priced(rate, case)) for case in _CASES)

    def judge(answers: Answers) -> list[Demand]:
        demands = []
        for case, found, median in zip(_CASES, answers, _MEDIANS[rate], strict=True):
            most = max(1500 * median, _SIX_LOOKS)
            demands.append(median_at_most(case, stops(found), most))
            demands.append(share_at_most("wrong", wrong_stops(found), len(found), 0.02))
        return demands

    bar = "wrong <= .02, medians <= 1.5 x §B (or six looks, which five strata take)"
    note = "§B was measured without asking for 200 outcomes of each arm and five closed strata."
    return Row(f"cost grid at {rate:g}", bar, cells, judge, note=note)


def _trough() -> Row:
    dearer = [{"rate": 0.05, "cost_usd": 0.002}, {"rate": 0.06, "cost_usd": 0.0105}]
    cells = (simulated("trough", 40, 200), simulated("trough", 40, 200, arms=dearer))

    def judge(answers: Answers) -> list[Demand]:
        first, second = answers
        return [
            share_at_most("gap .0065: wrong", wrong_stops(first), len(first), 0.03),
            share_at_most("gap .0085: wrong", wrong_stops(second), len(second), 0.08),
            Demand(f"stopped {sum(map(math.isfinite, stops(first)))}, {sum(map(math.isfinite, stops(second)))}", "met"),
        ]

    return Row("cost against rate, from the trough", "wrong <= .03; the .0085 variant <= .08", cells, judge)


STOP: Final = Part(
    "The end",
    (
        _clear(2, 15_000, 0.01, 100, 400),
        _clear(3, 27_000, 0.01, 80, 200),
        _clear(5, 60_000, 0.01, 60, 200),
        _clear(10, 170_000, 0.0, 16, 60),
        _close("stop-k2-5", 2, 240),
        _close("stop-k3-5", 3, 60),
        _demo(),
        *(_cost_grid(rate, runs) for rate, runs in ((0.05, 12), (0.30, 20), (0.70, 20), (0.97, 20))),
        _trough(),
    ),
)

"""Rows about validity, exactness and time, and those that tests hold."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from load.learn.cell import Answer, Cell, Elsewhere, Part, Row, simulated, world_of
from load.learn.judge import Demand, median_at_most, share_at_most, worst_at_most

Answers = Sequence[Sequence[Answer]]

_LAWS: Final[dict[str, dict[str, Any]]] = {
    "binary": {},
    "gaussian": {
        "reward": {"law": "gaussian", "spread": 1.0, "range": [-9, 11]},
        "arms": [{"rate": 1.0}, {"rate": 1.0}],
    },
    "lognormal": {
        "reward": {"law": "lognormal", "spread": 1.0, "range": [0, 200]},
        "arms": [{"rate": 1.0}, {"rate": 1.0}],
    },
    "beta": {"reward": {"law": "beta", "spread": 4.0, "range": [0, 1]}, "arms": [{"rate": 0.5}, {"rate": 0.5}]},
    "5 % x lognormal": {
        "reward": {"law": "sparse", "spread": 0.05, "range": [0, 2000]},
        "arms": [{"rate": 1.0}, {"rate": 1.0}],
    },
}
_RATES: Final = (0.05, 0.30, 0.70, 0.83, 0.96)
_COSTS: Final = ((0.0, 0.0), (0.1, 0.2), (0.1, 0.02), (0.2, 0.5), (0.5, 0.2))
_MARGIN: Final = 0.05
# A day and a fortnight of quarter hours.
_BLOCKS: Final = (96, 1344)


def _boundary_cells(*, has_cycle: bool) -> tuple[Cell, ...]:
    """Return the cells in which a challenger can be better by the margin: those whose rate stays below 1."""
    return tuple(
        Cell("boundary", {"rate": rate, "cost_l": cost_l, "cost_k": cost_k, "has_cycle": has_cycle}, 24, 400)
        for rate in _RATES
        for cost_l, cost_k in _COSTS
        if rate * ((1 + _MARGIN) * (1 - cost_l) + cost_k) < 0.99
    )


def _boundary(answers: Answers) -> list[Demand]:
    """Judge each cell; show the worst, and all together."""
    hits = [sum(answer["refuted_at"] is not None for answer in runs) for runs in answers]
    sizes = [len(runs) for runs in answers]
    worst = max(range(len(hits)), key=lambda cell: hits[cell] / sizes[cell])
    return [
        share_at_most(f"worst of {len(hits)} cells", hits[worst], sizes[worst], 0.05),
        share_at_most("all", sum(hits), sum(sizes), 0.05),
    ]


def _peeked(answers: Answers) -> list[Demand]:
    return [
        share_at_most(name, sum(answer["claimed_at"] is not None for answer in runs), len(runs), 0.05)
        for name, runs in zip(_LAWS, answers, strict=True)
    ]


def _alarm(bar: float) -> Any:
    def judge(answers: Answers) -> list[Demand]:
        runs = [answer for some in answers for answer in some]
        found = [float("inf") if answer["found_at"] is None else float(answer["found_at"]) for answer in runs]
        false = sum(answer["false_at"] is not None for answer in runs)
        return [share_at_most("false alarms", false, len(runs), 0.005), median_at_most("found after", found, bar)]

    return judge


def _largest(**bars: float) -> Any:
    def judge(answers: Answers) -> list[Demand]:
        [runs] = answers
        return [worst_at_most(name, [answer[name] for answer in runs], bar) for name, bar in bars.items()]

    return judge


def _refresh(*bars_ms: float) -> Callable[[Answers], list[Demand]]:
    def judge(answers: Answers) -> list[Demand]:
        return [
            median_at_most(f"{blocks:,} blocks, ms", [1e3 * answer["median_s"] for answer in runs], bar_ms)
            for blocks, runs, bar_ms in zip(_BLOCKS, answers, bars_ms, strict=False)
        ]

    return judge


def _refreshed(name: str, **like: Any) -> Row:
    cells = tuple(Cell("refresh", {"arms": 10, "blocks": blocks} | like, 1, 3, is_alone=True) for blocks in _BLOCKS)
    return Row(f"refresh with 10 arms{name}", "<= 8 ms at 96 blocks, <= 20 ms at 1,344", cells, _refresh(8.0, 20.0))


def _draw(answers: Answers) -> list[Demand]:
    [runs] = answers
    return [worst_at_most("µs", [1e6 * answer["draw_s"] for answer in runs], 2.0)]


def _speed(answers: Answers) -> list[Demand]:
    return [worst_at_most("slowest, s", [answer["seconds"] for runs in answers for answer in runs], 3.0)]


def _timed(name: str) -> Cell:
    base = simulated(name, 2, 4)
    return Cell("world", {**base.parameters, "is_timed": True}, 2, 4, is_alone=True)


TIME: Final = Part(
    "Time",
    (
        _refreshed(""),
        _refreshed(", ratio", kind="ratio"),
        _refreshed(", cheapest_within_margin", kind="cheapest_within_margin"),
        _refreshed(", information-directed", policy="ids"),
        _refreshed(", conversions", feedback="conversions"),
        Row(
            "refresh with 10 arms, 4 segments",
            "<= 20 ms at 96 blocks",
            (Cell("refresh", {"arms": 10, "blocks": 96, "segments": 4}, 1, 3, is_alone=True),),
            _refresh(20.0),
        ),
        Row("draw of an arm", "<= 2 µs", (Cell("draw", {"arms": 10}, 3, 5, is_alone=True),), _draw),
        Row("300,000 simulated requests, K=2 and 3", "<= 3 s a run", (_timed("day-k2"), _timed("day-k3")), _speed),
    ),
)

EXACT: Final = Part(
    "Exactness",
    (
        Row(
            "decision arithmetic against quadrature",
            "P(best), P(exceed) within 1e-3, losses 1 %",
            (Cell("decide", {}, 30, 200),),
            _largest(probability=1e-3, loss=0.01),
        ),
        Row(
            "posterior and evidence against the exact law",
            "eta 1e-6, covariance 1e-4 rel., log E .01",
            (Cell("evidence", {}, 60, 400),),
            _largest(eta=1e-6, covariance=1e-4, log_e=0.01),
        ),
        Elsewhere(
            "integers: 1e7 rewards, squares exact; overflow leaves no partial write",
            "exact",
            "tests/bandits/test_sums.py, tests/router/store",
        ),
        Elsewhere(
            "duplicates: each reward sent 3 times, 2 gateways, crash in mid-flush",
            "exactly once",
            "tests/system/test_kill.py, tests/router/store",
        ),
        Elsewhere("identical arms, costs from busy time", "mean weights .4-.6", "tests/serving/test_cost.py"),
        Elsewhere(
            "Open Bandit Dataset: IPS, SNIPS, ESS",
            "1e-9, refuses ESS < 200",
            "tests/bandits/test_replay.py, tests/bandits/test_replay_on_real_logs.py",
        ),
    ),
)

VALID: Final = Part(
    "Validity",
    (
        Row(
            "equal arms, 100 looks",
            "P(strict claim) <= .05, five laws of rewards",
            tuple(Cell("peeked", {"world": world_of("equal-arms", **law)}, 60, 400) for law in _LAWS.values()),
            _peeked,
            is_required=True,
        ),
        Row(
            "claims at their boundary, flat", "<= .05 in each of 21 cells", _boundary_cells(has_cycle=False), _boundary
        ),
        Row(
            "claims at their boundary, day cycle",
            "<= .05 in each of 21 cells",
            _boundary_cells(has_cycle=True),
            _boundary,
        ),
        Row(
            "sample ratio, adaptive weights",
            "false <= .005 in 1,000 looks, 20 % loss found in <= 5k",
            tuple(Cell("sample_ratio", {"arms": arms}, 60, 700) for arms in (2, 3, 5)),
            _alarm(5_000),
        ),
        Row(
            "reporting rate .9, adaptive weights",
            "false <= .005 in 1,000 looks, 20 % loss found in <= 6k",
            (Cell("reporting", {"arms": 3, "rate": 0.9}, 40, 400),),
            _alarm(6_000),
        ),
    ),
)

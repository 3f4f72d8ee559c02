"""The JSON of `turpin simulate` (design §13): every run, and over the runs the means with their standard errors."""

import math
from collections.abc import Sequence
from typing import Any

from load.simulate.run import Result, SegmentResult


def answer(results: Sequence[Result]) -> dict[str, Any]:
    """Return `{runs, mean, se}`. `stopped` and `right` are shares of the runs; `stopped_at` is over those that stopped.

    A standard error needs two runs: it is null of a single one.
    """
    columns = _columns(results)
    return {
        "runs": [_run(result) for result in results],
        "mean": {name: _each(column, _mean) for name, column in columns.items()},
        "se": {name: _each(column, _error) for name, column in columns.items()},
    }


def _run(result: Result) -> dict[str, Any]:
    return {
        "regret": result.regret,
        "weights": result.weights.tolist(),
        "leader": result.leader,
        "best": list(result.best),
        "stopped_at": result.stopped_at,
        "retired": [{"arm": arm, "at": at} for arm, at in result.retired],
        "shares": result.shares.tolist(),
    } | ({"segments": [_segment(one) for one in result.segments]} if result.segments else {})


def _segment(one: SegmentResult) -> dict[str, Any]:
    return {"share": one.share, "weights": one.weights.tolist(), "leader": one.leader, "best": list(one.best)}


def _columns(results: Sequence[Result]) -> dict[str, list[Any]]:
    """Return what is averaged: a list of numbers, or of lists of numbers, for each name."""
    return {
        "regret": [result.regret for result in results],
        "weights": [result.weights.tolist() for result in results],
        "shares": [result.shares.tolist() for result in results],
        "stopped": [float(result.stopped_at is not None) for result in results],
        "stopped_at": [float(result.stopped_at) for result in results if result.stopped_at is not None],
        "right": [float(result.leader in result.best) for result in results],
    } | _of_segments(results)


def _of_segments(results: Sequence[Result]) -> dict[str, list[Any]]:
    """Return, in a world with segments, which of them ended on the right arm."""
    right = [[float(one.leader in one.best) for one in result.segments] for result in results]
    return {"segments_right": right} if any(right) else {}


def _each(column: list[Any], statistic: Any) -> Any:
    if column and isinstance(column[0], list):
        return [statistic(numbers) for numbers in zip(*column, strict=True)]
    return statistic(column)


def _mean(numbers: Sequence[float]) -> float | None:
    return math.fsum(numbers) / len(numbers) if numbers else None


def _error(numbers: Sequence[float]) -> float | None:
    if len(numbers) < 2:
        return None
    centre = math.fsum(numbers) / len(numbers)
    return math.sqrt(math.fsum((number - centre) ** 2 for number in numbers) / (len(numbers) - 1) / len(numbers))

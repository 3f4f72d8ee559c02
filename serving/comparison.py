"""How far two answers to one request agree: classes, numbers and strings, output by output. Pure.

A float output whose last dim is 2 or more is taken for scores of classes: the highest one is the answer. Other floats
agree within a tolerance, and everything else must be equal.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from serving.arrays import to_numpy
from serving.errors import InvalidArgument
from serving.wire import Message

FAULTS: Final = ("missing", "extra", "dtype", "shape", "unreadable")
"""Why an output could not be compared: the copy's answer has none of this name; only the copy's has it; other types; other
shapes; contents that don't fit the shape, or of a type that is not known here."""

_FLOATS: Final = "fV"  # V: bfloat16, see arrays.py
_NUMBERS: Final = "fViuc"


@dataclass(frozen=True, slots=True)
class Difference:
    """How two outputs of one name differ.

    `agreement` is the share of their answers (classes, numbers or strings) that are the same; 0 with a `fault`. The
    others are of numbers, over the places where both are finite, None where there are none: the largest and the mean
    absolute difference, and the largest relative to the larger of the two. `not_finite` counts places where one is NaN
    or infinite and the other is not the same.
    """

    agreement: float
    fault: str = ""
    max_abs: float | None = None
    mean_abs: float | None = None
    max_relative: float | None = None
    not_finite: int = 0


def compare(answered: Message, copied: Message, tolerance: float) -> dict[str, Difference]:
    """Compare two PredictResponses output by output; `tolerance` is relative to the larger of two numbers."""
    names = sorted(answered.outputs.keys() | copied.outputs.keys())
    return {name: _compare_output(name, answered.outputs, copied.outputs, tolerance) for name in names}


def agreement(differences: Mapping[str, Difference]) -> float:
    """Return how far two answers agree: as far as their outputs all do; 1 when there are none."""
    return min((one.agreement for one in differences.values()), default=1.0)


def _compare_output(
    name: str, answered: Mapping[str, Message], copied: Mapping[str, Message], tolerance: float
) -> Difference:
    # Looked up in a protobuf map, a name that is not there would be made.
    if name not in copied:
        return Difference(0.0, "missing")
    if name not in answered:
        return Difference(0.0, "extra")
    if answered[name].dtype != copied[name].dtype:
        return Difference(0.0, "dtype")
    try:
        first, second = to_numpy(answered[name]), to_numpy(copied[name])
    except InvalidArgument:
        return Difference(0.0, "unreadable")
    if first.shape != second.shape:
        return Difference(0.0, "shape")
    return compare_arrays(first, second, tolerance)


def compare_arrays(first: NDArray[Any], second: NDArray[Any], tolerance: float) -> Difference:
    """Compare two arrays of one dtype and shape."""
    if first.size == 0:
        return Difference(1.0)
    if first.dtype.kind not in _NUMBERS:
        return Difference(float(np.mean(first == second)))
    if first.ndim == 0:
        first, second = first.reshape(1), second.reshape(1)
    is_float = first.dtype.kind in _FLOATS
    equal = first == second
    if first.dtype.kind in "fVc":
        # Exact before anything is widened; half types are compared as doubles, which hold them exactly.
        kind = np.complex128 if first.dtype.kind == "c" else np.float64
        first, second = first.astype(kind), second.astype(kind)
        equal = (first == second) | (np.isnan(first) & np.isnan(second))
    finite = np.isfinite(first) & np.isfinite(second)
    gaps, ratios = _gaps(first[finite], second[finite])
    if is_float and first.ndim >= 2 and first.shape[-1] >= 2:
        rows_equal, rows_finite = equal.all(axis=-1), finite.all(axis=-1)
        # A row with NaN or infinity has no highest class, unless the other is the same.
        agrees = rows_equal | (rows_finite & (first.argmax(axis=-1) == second.argmax(axis=-1)))
    else:
        agrees = equal.copy()
        if first.dtype.kind in "fc":
            agrees[finite] |= ratios <= tolerance
    return Difference(
        agreement=float(np.mean(agrees)),
        max_abs=float(gaps.max()) if gaps.size else None,
        mean_abs=_mean(gaps) if gaps.size else None,
        max_relative=float(ratios.max()) if gaps.size else None,
        not_finite=int(np.sum(~finite & ~equal)),
    )


def _gaps(first: NDArray[Any], second: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the absolute differences, and the same relative to the larger of two numbers."""
    if first.dtype.kind in "iu":
        first, second = first.astype(np.float64), second.astype(np.float64)
    with np.errstate(over="ignore"):
        # Two doubles may be further apart than a double can say.
        gaps = np.minimum(np.abs(first - second), np.finfo(np.float64).max)
        larger = np.minimum(np.maximum(np.abs(first), np.abs(second)), np.finfo(np.float64).max)
    return gaps, np.divide(gaps, larger, out=np.zeros_like(gaps), where=gaps > 0)


def _mean(gaps: NDArray[np.float64]) -> float:
    with np.errstate(over="ignore"):
        # Divided first, and no more than the largest: a sum of doubles may be more than a double can say.
        return min(float((gaps / gaps.size).sum()), float(gaps.max()))

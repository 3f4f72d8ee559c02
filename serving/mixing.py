"""Whether a model's rows depend on one another: asked of it with made-up rows.

A model that normalises over its batch, or ranks within it, answers a merged request wrongly and in the right shape, which
no look at one answer can tell (TF Serving has no such check; tf-serving.md, §6).
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from serving import tensors, wire
from serving.arrays import from_numpy, to_numpy
from serving.calibrate import example_request
from serving.errors import InternalError
from serving.upstream import Servable, Upstream

# Two beside two make four: sizes that calibration has asked for, so that nothing is compiled for them now.
_ROWS: Final = 2
# Of the largest number of an output, between batches of different sizes, whose kernels differ: bfloat16 has 8 bits.
_TOLERANCE: Final = 0.01
# Between batches of one size: the same kernels, but sums in another order.
_TOLERANCE_ALIKE: Final = 1e-3


async def mixing(servable: Servable, upstream: Upstream, signature: wire.Message, timeout_s: float) -> str:
    """Return how the default signature's answer to a row depends on the others of its batch; empty if it does not.

    Some rows are asked alone and beside others, twice, and beside others again: four calls of `timeout_s` at most. Numbers
    are random, always the same; strings are empty, so models of text alone are asked little. Empty, too, for requests of
    a form that is never merged. ServingError when no example can be made, or an answer does not come.
    """
    rng = np.random.default_rng(5)
    mine, others, again = (
        _varied(example_request(servable, wire.DEFAULT_SIGNATURE, signature, _ROWS), rng) for _ in range(3)
    )
    if any(tensors.measure(part)[0] is None for part in (mine, others)):
        return ""
    alone = await _answer(upstream, mine, timeout_s)
    merged = [await _answer(upstream, tensors.join([mine, beside]), timeout_s) for beside in (others, others, again)]
    try:
        first, repeated, changed = (tensors.split(one, [_ROWS, _ROWS])[0] for one in merged)
    except InternalError as error:
        return error.message
    if _difference(first, repeated, _TOLERANCE_ALIKE):
        return "its answers differ from call to call, so that nothing can be said of its rows"
    if why := _difference(first, changed, _TOLERANCE_ALIKE):
        return f"the same rows beside others: {why}"
    why = _difference(alone, first, _TOLERANCE, is_float_only=True)
    return f"{_ROWS} rows alone and among {2 * _ROWS}: {why}" if why else ""


async def _answer(upstream: Upstream, request: wire.Message, timeout_s: float) -> wire.Message:
    body = await upstream.call(wire.PREDICT, request.SerializeToString(), timeout_s)
    return wire.parse(wire.PredictResponse, body)


def _varied(request: wire.Message, rng: np.random.Generator) -> wire.Message:
    """Fill a request's numbers: floats around 0, whole numbers and flags with 0 and 1, which every model should bear."""
    for name in sorted(request.inputs):
        zeros = to_numpy(request.inputs[name])
        if zeros.dtype.kind in "fcV":
            filled = rng.standard_normal(zeros.shape).astype(zeros.dtype)
        elif zeros.dtype.kind in "iub":
            filled = rng.integers(0, 2, zeros.shape).astype(zeros.dtype)
        else:
            continue
        request.inputs[name].CopyFrom(from_numpy(filled, as_content=True))
    return request


def _difference(first: wire.Message, second: wire.Message, tolerance: float, *, is_float_only: bool = False) -> str:
    """Say which output of two answers differs; empty if they are the same but for rounding.

    `is_float_only`: whole numbers and strings are not looked at, for between kernels one rounding may choose another.
    """
    if first.outputs.keys() != second.outputs.keys():
        return f"outputs {sorted(first.outputs)} and {sorted(second.outputs)}"
    for name in sorted(first.outputs):
        one, other = to_numpy(first.outputs[name]), to_numpy(second.outputs[name])
        if one.shape != other.shape:
            return f'output "{name}" has the shapes {one.shape} and {other.shape}'
        if is_float_only and one.dtype.kind not in "fVc":
            continue
        if why := _apart(one, other, tolerance):
            return f'output "{name}" differs {why}'
    return ""


def _apart(one: NDArray[Any], other: NDArray[Any], tolerance: float) -> str:
    if one.dtype.kind not in "fVc":
        share = float(np.mean(one != other)) if one.size else 0.0
        return f"in {share:.0%} of its values" if share else ""
    kind = np.complex128 if one.dtype.kind == "c" else np.float64
    one, other = one.astype(kind), other.astype(kind)
    finite = np.isfinite(one) & np.isfinite(other)
    if not np.array_equal(one[~finite], other[~finite], equal_nan=True):
        return "in what is not finite"
    largest = np.max(np.abs([one[finite], other[finite]]), initial=0.0)
    gap = np.max(np.abs(one[finite] - other[finite]), initial=0.0)
    return f"by {gap:.3g}, its largest value being {largest:.3g}" if gap > tolerance * largest else ""

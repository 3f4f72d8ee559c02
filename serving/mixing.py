"""Whether a model's rows depend on one another: asked of it with made-up rows, alone and together.

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

# Different numbers, so that a split in the wrong place would show.
_PARTS: Final = (2, 3)
# Of the largest number of an output. Kernels differ by the size of the batch: bfloat16 has 8 bits, 1 in 256.
_TOLERANCE: Final = 0.01


async def mixing(servable: Servable, upstream: Upstream, signature: wire.Message, timeout_s: float) -> str:
    """Return how the default signature's answer to a row depends on the others of its batch; empty if it does not.

    Four calls of `timeout_s` at most. Numbers are random, always the same; strings are empty, so models of text alone are
    asked little. ServingError when no example can be made, or an answer does not come.
    """
    rng = np.random.default_rng(5)
    parts = [_varied(example_request(servable, wire.DEFAULT_SIGNATURE, signature, rows), rng) for rows in _PARTS]
    alone = [await _answer(upstream, part, timeout_s) for part in parts]
    merged = await _answer(upstream, tensors.join(parts), timeout_s)
    again = await _answer(upstream, parts[0], timeout_s)
    if _difference(alone[0], again):
        return "its answers differ from call to call, so that nothing can be said of its rows"
    try:
        together = tensors.split(merged, _PARTS)
    except InternalError as error:
        return error.message
    for rows, first, second in zip(_PARTS, alone, together, strict=True):
        if why := _difference(first, second):
            return f"{rows} rows alone and among {sum(_PARTS)}: {why}"
    return ""


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


def _difference(first: wire.Message, second: wire.Message) -> str:
    """Say which output of two answers differs; empty if they are the same but for rounding."""
    if first.outputs.keys() != second.outputs.keys():
        return f"outputs {sorted(first.outputs)} and {sorted(second.outputs)}"
    for name in sorted(first.outputs):
        one, other = to_numpy(first.outputs[name]), to_numpy(second.outputs[name])
        if one.shape != other.shape:
            return f'output "{name}" has the shapes {one.shape} and {other.shape}'
        if why := _apart(one, other):
            return f'output "{name}" differs {why}'
    return ""


def _apart(one: NDArray[Any], other: NDArray[Any]) -> str:
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
    return f"by {gap:.3g}, its largest value being {largest:.3g}" if gap > _TOLERANCE * largest else ""

"""How sure a model was: the distance of the best two scores of a row. Pure."""

from collections.abc import Mapping

import numpy as np

from serving import dtypes
from serving.arrays import to_numpy
from serving.errors import InvalidArgument
from serving.wire import Message

# bfloat16 wants a package that the gateway does not have.
_SCORES = (dtypes.FLOAT, dtypes.DOUBLE, dtypes.HALF)


def margin(outputs: Mapping[str, Message]) -> float | None:
    """Return how near the best two scores of any row are, in the row where they are nearest; None where there are none.

    Floats whose last dim is 2 or more are scores of classes, as where answers are compared (serving/comparison.py).
    """
    return min((found for found in map(_nearest, outputs.values()) if found is not None), default=None)


def _nearest(tensor: Message) -> float | None:
    if tensor.dtype not in _SCORES:
        return None
    try:
        scores = to_numpy(tensor)
    except InvalidArgument:
        return None
    if scores.ndim < 2 or scores.shape[-1] < 2 or scores.size == 0:
        return None
    best = np.partition(scores.reshape(-1, scores.shape[-1]).astype(np.float64), -2, axis=-1)[:, -2:]
    with np.errstate(over="ignore", invalid="ignore"):
        gaps = best[:, 1] - best[:, 0]
    # Rows with NaN or infinity say nothing.
    gaps = gaps[np.isfinite(gaps)]
    return float(gaps.min()) if gaps.size else None

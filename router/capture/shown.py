"""Captures and their examples as JSON. Pure; a page of examples takes tens of milliseconds, and belongs in a thread."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from router.capture.messages import Example
from router.capture.shelf import Capture
from serving import wire
from serving.arrays import to_numpy
from serving.errors import InvalidArgument
from serving.wire import Message

# Beyond this a page ends with the example that it holds: 1 MiB of floats are 5 MB of JSON, and take 0.2 s of a thread.
PAGE_BYTES: Final = 1 << 20


def capture_view(capture: Capture) -> dict[str, Any]:
    """Return what is known of a capture, without anything of what it has."""
    order = capture.order
    return {
        "id": order.id,
        "experiment": order.experiment,
        "arms": order.arms,
        "margin_below": order.margin_below,
        "redact": order.redact,
        "per_minute": capture.per_minute,
        "examples_max": order.examples_max,
        "who": capture.who,
        "why": capture.why,
        "began_at": capture.began_at,
        "until": order.until,
        "state": "ended" if capture.ended else "running",
        "ended_by": capture.ended or None,
        "ended_at": capture.ended_at,
        "examples": len(capture.examples),
        "size_bytes": capture.size_bytes,
    }


def page(
    examples: Sequence[Example], after: int, limit: int, *, bytes_max: int = PAGE_BYTES
) -> tuple[msgspec.Raw, int | None]:
    """Return the examples after so many as JSON, and how many are known then; None when these are the last ones."""
    found, size_bytes, number = [], 0, after
    for example in examples[after : after + limit]:
        found.append(example_view(number + 1, example))
        number, size_bytes = number + 1, size_bytes + example.size_bytes
        if size_bytes >= bytes_max:
            break
    return msgspec.Raw(msgspec.json.encode(found)), number if number < len(examples) else None


def example_view(number: int, example: Example) -> dict[str, Any]:
    """Return one example: `inputs` and `outputs` as TF Serving's REST API writes columns."""
    request = wire.PredictRequest.FromString(example.request)
    response = wire.PredictResponse.FromString(example.response)
    return {
        "number": number,
        "at": example.at,
        "arm": example.arm,
        "version": response.model_spec.version.value,
        "decision": example.decision,
        "margin": example.margin,
        "signature_name": request.model_spec.signature_name,
        "inputs": _tensors(request.inputs),
        "outputs": _tensors(response.outputs),
    }


def _tensors(tensors: Mapping[str, Message]) -> dict[str, Any]:
    return {name: _tensor(tensor) for name, tensor in sorted(tensors.items())}


def _tensor(tensor: Message) -> Any:
    """Return a tensor as nested lists; `{"tensor_b64": …}`, its protobuf, where JSON has no such numbers."""
    try:
        values = to_numpy(tensor)
    except InvalidArgument:
        values = None
    if values is None or values.dtype.kind not in "biufO":
        return {"tensor_b64": base64.b64encode(tensor.SerializeToString()).decode()}
    if values.dtype.kind == "O":
        values = np.array([_text(value) for value in values.reshape(-1)] + [None], object)[:-1].reshape(values.shape)
    return values.tolist()


def _text(value: bytes) -> Any:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}

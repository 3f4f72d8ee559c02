"""One small call of each signature at load: the first call of a graph is slow, and a model that can't run says so here."""

import logging
import math
from collections.abc import Mapping
from typing import Any, Final, Protocol

from serving import dtypes, wire
from serving.errors import Code, ServingError

log: Final = logging.getLogger(__name__)

# Zeros are a guess. What a model answers to a guess it does not like (a decoder given an empty string, say) proves
# nothing about the model.
_FAULTS_OF_THE_GUESS: Final = frozenset({Code.INVALID_ARGUMENT, Code.OUT_OF_RANGE})

# A signature made for large inputs (images in, images out) is not worth more memory than this at load.
_ELEMENTS_MAX: Final = 1 << 24


class Predictor(Protocol):
    """What can be tried out."""

    signatures: Mapping[str, Any]

    def predict(self, request: wire.Message) -> wire.Message:
        """Answer a PredictRequest."""
        ...


def try_out(engine: Predictor) -> None:
    """Call each signature once, best effort; raise the first error when not one of those called can run."""
    has_run = False
    failure: ServingError | None = None
    for name, signature in sorted(engine.signatures.items()):
        request = request_for(name, signature)
        if request is None:
            continue
        try:
            engine.predict(request)
        except ServingError as error:
            if error.code in _FAULTS_OF_THE_GUESS:
                has_run = True
            failure = failure or error
            log.info("signature %s failed when tried with zeros: %s", name, error)
        else:
            has_run = True
    if failure is not None and not has_run:
        raise failure


def request_for(name: str, signature: wire.Message) -> wire.Message | None:
    """Return a PredictRequest of zeros, 1 for every unknown dimension; None when the signature does not say enough."""
    if not signature.inputs or not signature.outputs:
        return None
    request = wire.PredictRequest()
    request.model_spec.signature_name = name
    for alias, info in signature.inputs.items():
        encoding = dtypes.ENCODINGS.get(info.dtype)
        if info.WhichOneof("encoding") != "name" or info.tensor_shape.unknown_rank:
            return None
        if encoding is None and info.dtype != dtypes.STRING:
            return None
        tensor = request.inputs[alias]
        tensor.dtype = info.dtype
        dims = [1 if dim.size < 0 else dim.size for dim in info.tensor_shape.dim]
        if math.prod(dims) > _ELEMENTS_MAX:
            return None
        for size in dims:
            tensor.tensor_shape.dim.add(size=size)
        if encoding is not None:
            # Strings need nothing: no values at all stand for empty ones.
            tensor.tensor_content = bytes(math.prod(dims) * encoding.item_bytes)
    return request

"""One SavedModel version in one TensorFlow session, run the way tensorflow_model_server runs it.

The session is TF 1's and is called through a callable made once per (signature, outputs): 10-45 µs a call of a small
model, where `saved_model.load(...).signatures[...]` takes 130-200 µs. This is also what the C++ server does,
Session::Run on the tensor names of the signature, so shapes are checked as it checks them.
Importing this module imports TensorFlow.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

from serving import arrays, wire
from serving.errors import BackendError, Code, FailedPrecondition, InvalidArgument
from serving.local import warmup
from serving.local.options import EngineOptions
from serving.local.signatures import Signature

log: Final = logging.getLogger(__name__)

Run = Callable[..., Sequence[Any]]

SERVE_TAG: Final = "serve"

# A client may name any subset of the outputs; each needs a pruned graph of its own in TensorFlow. Real clients use one
# or two subsets, and one that tries them all must not fill the memory.
CALLABLES_MAX: Final = 32

# What TensorFlow's Python loader raises, beside its own errors, for wrong tags, unknown ops and broken files.
_LOADER_ERRORS: Final = (OSError, ValueError, RuntimeError, KeyError, TypeError)


class SavedModelEngine:
    """A loaded version. Thread-safe: TensorFlow's sessions are, and callables are made under a lock."""

    def __init__(self, path: str, options: EngineOptions) -> None:
        """Load the SavedModel with the tag `serve`; ServingError with TensorFlow's own words when that fails."""
        self._options = options
        self._callables: dict[tuple[tuple[str, ...], tuple[str, ...]], Run] = {}
        self._making = threading.Lock()
        self._session = tf.compat.v1.Session(graph=tf.Graph(), config=_session_config(options))
        try:
            self.signatures: Mapping[str, Any] = self._load(path)
            self._prepared = {name: Signature.of(definition) for name, definition in self.signatures.items()}
            warmup.try_out(self)
        except BaseException:
            self.close()
            raise

    def _load(self, path: str) -> dict[str, Any]:
        try:
            with self._session.graph.as_default():
                meta_graph = tf.compat.v1.saved_model.load(self._session, [SERVE_TAG], path)
        except tf.errors.OpError as error:
            raise _serving_error(error) from error
        except _LOADER_ERRORS as error:
            if not tf.saved_model.contains_saved_model(path):
                text = f"Could not find SavedModel .pb or .pbtxt at supplied export directory path: {path}"
                raise BackendError(Code.NOT_FOUND, text) from error
            raise BackendError(Code.INVALID_ARGUMENT, f"the SavedModel at {path} can't be loaded: {error}") from error
        return {
            name: wire.SignatureDef.FromString(signature.SerializeToString())
            for name, signature in meta_graph.signature_def.items()
        }

    def predict(self, request: wire.Message) -> wire.Message:
        """Answer a PredictRequest; the response's model_spec is left to the caller. Checks in TF Serving's order."""
        name = request.model_spec.signature_name or wire.DEFAULT_SIGNATURE
        signature = self._prepared.get(name)
        if signature is None:
            raise FailedPrecondition(f'Serving signature key "{name}" not found.')
        feeds = signature.feeds(request.inputs)
        outputs = signature.wanted(request.output_filter)
        fetched = self.run(signature.tensors, tuple(signature.outputs[alias] for alias in outputs), feeds)
        response = wire.PredictResponse()
        for alias, array in zip(outputs, fetched, strict=True):
            response.outputs[alias].CopyFrom(arrays.from_numpy(array, as_content=self._options.answers_as_content))
        return response

    def run(self, feeds: tuple[str, ...], fetches: tuple[str, ...], inputs: Sequence[Any]) -> Sequence[Any]:
        """Put arrays into the tensors `feeds` and return the arrays of `fetches`."""
        try:
            run = self._callables.get((feeds, fetches)) or self._make_callable(feeds, fetches)
            return [_as_array(each) for each in run(*inputs)]
        except tf.errors.OpError as error:
            raise _serving_error(error) from error

    def close(self) -> None:
        """Free the session; calls still under way end first."""
        self._callables.clear()
        self._session.close()

    def _make_callable(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> Run:
        make = make_callable if hasattr(self._session, "_make_callable_from_options") else make_plain_callable
        with self._making:
            run = self._callables.get((feeds, fetches)) or make(self._session, feeds, fetches)
            while len(self._callables) >= CALLABLES_MAX:
                # The oldest goes. A thread that is just in it holds its own reference.
                del self._callables[next(iter(self._callables))]
            self._callables[(feeds, fetches)] = run
        return run


def make_callable(session: Any, feeds: Sequence[str], fetches: Sequence[str]) -> Run:
    """Return a function of the feeds' arrays, in order, that returns the fetches' arrays."""
    options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
    # Not public, but TensorFlow's own Keras backend is built on it, and there is a fallback.
    run: Run = session._make_callable_from_options(options)
    return run


def make_plain_callable(session: Any, feeds: Sequence[str], fetches: Sequence[str]) -> Run:
    """Do what `make_callable` does with TensorFlow's public API alone: slower, and it refuses some shapes."""
    graph = session.graph
    run: Run = session.make_callable(
        [graph.as_graph_element(name) for name in fetches], [graph.as_graph_element(name) for name in feeds]
    )

    def checked(*arrays: Any) -> Sequence[Any]:
        try:
            return run(*arrays)
        except ValueError as error:  # a shape that Python refuses before the graph is asked
            raise InvalidArgument(str(error)) from error

    return checked


def prepare_tensorflow() -> str:
    """Keep TensorFlow from logging deprecations and restored parameters; look for devices now, and say what is there."""
    tf.get_logger().setLevel(logging.ERROR)
    devices = ", ".join(device.name for device in tf.config.list_physical_devices())
    return f"TensorFlow {tf.__version__} on {devices}"


def _session_config(options: EngineOptions) -> Any:
    session_config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=options.intra_op_threads, inter_op_parallelism_threads=options.inter_op_threads
    )
    session_config.gpu_options.per_process_gpu_memory_fraction = options.gpu_memory_fraction
    return session_config


def _as_array(value: Any) -> np.ndarray[Any, Any]:
    """Return what a session fetched as an array: a scalar comes as a numpy scalar or, for a string, as bytes."""
    if isinstance(value, np.ndarray):
        return value
    return np.array(value, dtype=object) if isinstance(value, bytes) else np.asarray(value)


def _serving_error(error: Any) -> BackendError:
    return BackendError(Code.from_number(error.error_code), error.message)

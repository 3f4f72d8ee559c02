"""A model's signature: what a request must hold to be run by it, checked in TF Serving's order and with its words.

Source: tensorflow_serving/servables/tensorflow/predict_util.cc and util.cc (commit 9d981c5c).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from serving import arrays, dtypes, wire
from serving.errors import InvalidArgument, ServingError


@dataclass(frozen=True, slots=True)
class Input:
    """One input: its alias in requests, its tensor in the graph, its DataType."""

    alias: str
    tensor: str
    dtype: int


@dataclass(frozen=True, slots=True)
class Signature:
    """Inputs and outputs sorted by alias; `defaults` are TensorProtos for inputs that may be left out."""

    inputs: tuple[Input, ...]
    outputs: Mapping[str, str]  # alias -> tensor in the graph
    defaults: Mapping[str, wire.Message]
    tensors: tuple[str, ...]  # those of the inputs

    @classmethod
    def of(cls, definition: wire.Message) -> "Signature":
        """Read a SignatureDef."""
        return cls(
            inputs=tuple(Input(alias, info.name, info.dtype) for alias, info in sorted(definition.inputs.items())),
            outputs={alias: info.name for alias, info in sorted(definition.outputs.items())},
            defaults=dict(definition.defaults),
            tensors=tuple(info.name for _, info in sorted(definition.inputs.items())),
        )

    def feeds(self, inputs: Mapping[str, wire.Message]) -> list[NDArray[Any]]:
        """Return the arrays of a request's inputs, in the order of `self.inputs`; InvalidArgument when they don't fit.

        Shapes are not looked at: the graph itself refuses what it can't take.
        """
        if len(inputs) != len(self.inputs):
            self._check_count(inputs)
        feeds = []
        for position, wanted in enumerate(self.inputs):
            tensor = self._tensor(wanted.alias, inputs)
            if tensor.dtype != wanted.dtype:
                expected, sent = dtypes.name(wanted.dtype), dtypes.name(tensor.dtype)
                raise InvalidArgument(f"Expects arg[{position}] to be {expected} but {sent} is provided")
            try:
                feeds.append(arrays.to_numpy(tensor))
            except ServingError as error:
                raise InvalidArgument(f"tensor parsing error: {wanted.alias}") from error
        return feeds

    def wanted(self, output_filter: Sequence[str]) -> tuple[str, ...]:
        """Return the outputs asked for, all when none are named, sorted: two orders are one and the same call."""
        if not output_filter:
            return tuple(self.outputs)
        seen: set[str] = set()
        for alias in output_filter:
            if alias not in self.outputs:
                raise InvalidArgument(
                    f"output tensor alias not found in signature: {alias}"
                    f" Outputs expected to be in the set {_braces(self.outputs)}."
                )
            if alias in seen:
                raise InvalidArgument(f"duplicate output tensor alias: {alias}")
            seen.add(alias)
        return tuple(sorted(seen))

    def _tensor(self, alias: str, inputs: Mapping[str, wire.Message]) -> wire.Message:
        # A protobuf map of messages makes an entry when it is asked for one it lacks: look first.
        if alias in inputs:
            return inputs[alias]
        if alias in self.defaults:
            return self.defaults[alias]
        expected = [each.alias for each in self.inputs]
        raise InvalidArgument(
            f"input tensor alias not found in signature: {min(set(inputs) - set(expected))}."
            f" Inputs expected to be in the set {_braces(expected)}."
        )

    def _check_count(self, inputs: Mapping[str, wire.Message]) -> None:
        """Refuse a request with another number of inputs, unless defaults make up for what it lacks."""
        expected = [each.alias for each in self.inputs]
        extra = sorted(set(inputs) - set(expected))
        missing = sorted(set(expected) - set(inputs) - set(self.defaults))
        if extra or missing:
            raise InvalidArgument(
                f"input size does not match signature: {len(inputs)}!={len(expected)}"
                f" len({_braces(sorted(inputs))}) != len({_braces(expected)})."
                f" Sent extra: {_braces(extra)}. Missing but required: {_braces(missing)}."
            )


def _braces(names: Iterable[str]) -> str:
    return "{" + ",".join(names) + "}"

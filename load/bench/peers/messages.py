"""What peers are asked, one row of 256 numbers each in the form that the peer reads, and whether an answer is right."""

import functools
import json
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from numpy.typing import NDArray

from load.bench.measure import CLASSES, numbers
from load.bench.push import Asked, framed

# Whether the bytes of an answer are right; KeyError, TypeError or ValueError where they can't even be read.
Check = Callable[[bytes], bool]
_JSON: Final = ("content-type: application/json",)
_ARMS: Final = 2
_FIELD: Final = descriptor_pb2.FieldDescriptorProto


def instances(path: str) -> Asked:
    """Return JSON as TF Serving's: `{"instances": [[…]]}`."""
    return Asked(path, json.dumps({"instances": numbers().tolist()}).encode(), _JSON, is_grpc=False)


def raw(path: str) -> Asked:
    """Return the numbers as they lie in memory, float32."""
    headers = ("content-type: application/octet-stream",)
    return Asked(path, numbers().astype(np.float32).tobytes(), headers, is_grpc=False)


def seldon_rest(path: str) -> Asked:
    """Return Seldon's JSON."""
    return Asked(path, json.dumps({"data": {"ndarray": numbers().tolist()}}).encode(), _JSON, is_grpc=False)


def seldon_grpc(path: str) -> Asked:
    """Return Seldon's message with a tensor of float64, as its own client sends it."""
    row = numbers()
    tensor = {"shape": list(row.shape), "values": row.ravel().tolist()}
    return framed(path, seldon_message()(data={"tensor": tensor}).SerializeToString())


def predictions(body: bytes) -> bool:
    """Say whether the answer is `{"predictions": [[…]]}` with the row's first numbers."""
    return _is_the_row(json.loads(body)["predictions"])


def bare_rows(body: bytes) -> bool:
    """Say whether the answer is `[[…]]` with the row's first numbers."""
    return _is_the_row(json.loads(body))


def raw_rows(body: bytes) -> bool:
    """Say whether the answer is the row's first numbers as they lie in memory."""
    return _is_the_row(np.frombuffer(body, np.float32)[np.newaxis])


def seldon_rest_arm(body: bytes) -> bool:
    """Say whether the answer in JSON names one of the arms."""
    return _is_an_arm(json.loads(body)["data"]["ndarray"])


def seldon_grpc_arm(body: bytes) -> bool:
    """Say whether the answer in protobuf names one of the arms."""
    tensor = seldon_message().FromString(body).data.tensor
    return _is_an_arm(np.reshape(tensor.values, tuple(tensor.shape)))


def _is_the_row(found: Any) -> bool:
    expected: NDArray[np.float32] = numbers().astype(np.float32)[:, :CLASSES]
    return np.array_equal(np.asarray(found, np.float32), expected)


def _is_an_arm(found: Any) -> bool:
    arms = np.asarray(found, np.float64)
    return arms.shape == (1, 1) and arms.item() in range(_ARMS)


@functools.cache
def seldon_message() -> Any:
    """Return what of Seldon's `SeldonMessage` (seldon-core 1.18, proto/prediction.proto) is used here."""
    file = descriptor_pb2.FileDescriptorProto(name="bench/seldon.proto", package="seldon.protos", syntax="proto3")
    tensor = file.message_type.add(name="Tensor")
    tensor.field.add(name="shape", number=1, label=_FIELD.LABEL_REPEATED, type=_FIELD.TYPE_INT32)
    tensor.field.add(name="values", number=2, label=_FIELD.LABEL_REPEATED, type=_FIELD.TYPE_DOUBLE)
    outer = (("DefaultData", "tensor", 2, "Tensor"), ("SeldonMessage", "data", 3, "DefaultData"))
    for message, name, number, inner in outer:
        file.message_type.add(name=message).field.add(
            name=name,
            number=number,
            label=_FIELD.LABEL_OPTIONAL,
            type=_FIELD.TYPE_MESSAGE,
            type_name=f".seldon.protos.{inner}",
        )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("seldon.protos.SeldonMessage"))

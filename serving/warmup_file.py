"""The requests with which a version is warmed: its maker's own, in TF Serving's warm-up file, or made up from metadata.

TF Serving plays that file (`assets.extra/tf_serving_warmup_requests`: records of TFRecord, each a PredictionLog) by
itself when it loads; other servers may not, so it is played again.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from serving import wire
from serving.calibrate import example_request
from serving.errors import InvalidArgument
from serving.upstream import Servable

PATH: Final = "assets.extra/tf_serving_warmup_requests"
# TF Serving itself refuses files with more.
RECORDS_MAX: Final = 1_000
# One row, and batches as they are common: graphs are compiled, and memory is laid out, by shape.
_ROWS: Final = (1, 2, 8)
# Length and its checksum before a record, a checksum after it.
_HEAD: Final = struct.Struct("<QI")
_FOOT_BYTES: Final = 4


def _log_class() -> Any:
    """Build the two messages of prediction_log.proto that matter, in one: the request in it is only passed on."""
    file = descriptor_pb2.FileDescriptorProto(name="turpin/log.proto", package="turpin", syntax="proto3")
    message = file.message_type.add(name="Log")
    for name, number in (("request", 1), ("predict_log", 6)):
        message.field.add(name=name, number=number, type=descriptor_pb2.FieldDescriptorProto.TYPE_BYTES, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("turpin.Log"))


_Log: Final = _log_class()


def read_requests(content: bytes, servable: Servable) -> list[bytes]:
    """Return the file's Predict requests, each naming this version; what it holds of other kinds is left out.

    InvalidArgument when the file can't be read or holds more than RECORDS_MAX records.
    """
    requests = []
    for number, record in enumerate(_records(content)):
        if number == RECORDS_MAX:
            raise InvalidArgument(f"{PATH} must hold at most {RECORDS_MAX} requests")
        try:
            body = _Log.FromString(_Log.FromString(record).predict_log).request
        except DecodeError as error:
            raise InvalidArgument(f"record {number} of {PATH} is no PredictionLog") from error
        if body:
            requests.append(_named(wire.parse(wire.PredictRequest, body), servable))
    return requests


def made_requests(signatures: Mapping[str, wire.Message], servable: Servable) -> list[bytes]:
    """Return requests of zeros for each signature, in a few sizes; none for those that no example can be made of."""
    requests = []
    for name, signature in sorted(signatures.items()):
        for rows in _ROWS:
            try:
                requests.append(example_request(servable, name, signature, rows).SerializeToString())
            except InvalidArgument:
                continue
    return requests


def _named(request: wire.Message, servable: Servable) -> bytes:
    request.model_spec.name = servable.model
    if servable.version is not None:
        request.model_spec.version.value = servable.version
    return bytes(request.SerializeToString())


def _records(content: bytes) -> Iterator[bytes]:
    """Yield the records; their checksums are not looked at, for the digest of the whole version was."""
    place = 0
    while place < len(content):
        try:
            size, _ = _HEAD.unpack_from(content, place)
        except struct.error as error:
            raise InvalidArgument(f"{PATH} ends in the middle of a record") from error
        begin = place + _HEAD.size
        place = begin + size + _FOOT_BYTES
        if place > len(content):
            raise InvalidArgument(f"{PATH} ends in the middle of a record")
        yield content[begin : begin + size]


def example_bodies(
    content: bytes | None, signatures: Mapping[str, wire.Message], servable: Servable
) -> Sequence[bytes]:
    """Return the maker's own requests if there are any in `content`, else made-up ones."""
    own = read_requests(content, servable) if content else []
    return own or made_requests(signatures, servable)

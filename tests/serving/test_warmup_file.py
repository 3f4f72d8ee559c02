"""Warm-up requests are the maker's own where there are any, and name the version that is to be warmed."""

import struct

import pytest

from serving import wire
from serving.errors import InvalidArgument
from serving.upstream import Servable
from serving.warmup_file import RECORDS_MAX, example_bodies, made_requests, read_requests

SERVABLE = Servable("tfs-a", "digits", 7)


def request(name: str, *values: float) -> bytes:
    made = wire.PredictRequest(model_spec={"name": name, "signature_name": "serving_default"})
    made.inputs["x"].CopyFrom(wire.TensorProto(dtype=1, float_val=values))
    return bytes(made.SerializeToString())


def field(number: int, content: bytes) -> bytes:
    length = bytes([len(content) & 0x7F | 0x80, len(content) >> 7])
    return bytes([number << 3 | 2]) + length + content


def record(content: bytes) -> bytes:
    return struct.pack("<QI", len(content), 0) + content + bytes(4)


def predict_log(body: bytes) -> bytes:
    return record(field(1, b"metadata") + field(6, field(1, body) + field(2, b"response")))


def test_requests_of_the_file_are_played_to_the_new_version() -> None:
    content = predict_log(request("digits", 1.0)) + predict_log(request("", 2.0))

    found = [wire.PredictRequest.FromString(body) for body in read_requests(content, SERVABLE)]

    assert [(one.model_spec.name, one.model_spec.version.value) for one in found] == [("digits", 7)] * 2
    assert [list(one.inputs["x"].float_val) for one in found] == [[1.0], [2.0]]


def test_logs_of_other_kinds_are_left_out() -> None:
    assert read_requests(record(field(2, field(1, b"classify"))), SERVABLE) == []


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"short", "ends in the middle"),
        (struct.pack("<QI", 2**63, 0), "ends in the middle"),
        (record(b"\xff\xff"), "is no PredictionLog"),
        (predict_log(b"\xff\xff"), "PredictRequest"),
        (record(b"") * (RECORDS_MAX + 1), "at most 1000"),
    ],
)
def test_file_that_can_not_be_read_is_refused(content: bytes, word: str) -> None:
    with pytest.raises(InvalidArgument, match=word):
        read_requests(content, SERVABLE)


def signature(*sizes: int) -> wire.Message:
    shape = {"dim": [{"size": size} for size in sizes]}
    return wire.SignatureDef(inputs={"x": {"name": "x:0", "dtype": 1, "tensor_shape": shape}})


def test_requests_are_made_in_several_sizes_where_there_are_none() -> None:
    bodies = example_bodies(None, {"serving_default": signature(-1, 4), "fixed": signature(2, 4)}, SERVABLE)

    shapes = [
        (one.model_spec.signature_name, [dim.size for dim in one.inputs["x"].tensor_shape.dim])
        for one in map(wire.PredictRequest.FromString, bodies)
    ]
    assert shapes == [("fixed", [2, 4]), *(("serving_default", [rows, 4]) for rows in (1, 2, 8))]


def test_own_requests_take_the_place_of_made_up_ones() -> None:
    content = predict_log(request("digits", 1.0))

    assert len(example_bodies(content, {"serving_default": signature(-1, 4)}, SERVABLE)) == 1
    assert len(example_bodies(record(b""), {"serving_default": signature(-1, 4)}, SERVABLE)) == 3


def test_signature_without_an_example_makes_no_request() -> None:
    resource = wire.SignatureDef(inputs={"x": {"name": "x:0", "dtype": 20}})

    assert made_requests({"serving_default": resource}, SERVABLE) == []

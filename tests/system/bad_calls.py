"""The bad calls of test_bad_input.py: what is sent, and the code and words with which it must be refused."""

import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from router.decisions import Decision, Keyring, Mode
from serving import wire
from tests.system.client import predict_request, token_fields
from tests.system.model_server import MODEL

# Planted in every place a client or an operator can put a secret; none may ever reach a log or a metric.
CANARY: Final = "canary-7f3a-do-not-log"
KEY: Final = f"{CANARY}-the-decision-key"
MESSAGE_BYTES_MAX: Final = 100_000
PREDICT_PATH: Final = f"/v1/models/{MODEL}:predict"
GOOD_BODY: Final = b'{"instances": [[1, 2, 3, 4]]}'

# gRPC: method, body, code, words


def _changed(change: Callable[[wire.Message], object]) -> bytes:
    request = predict_request([1.0, 2.0, 3.0, 4.0])
    change(request)
    return bytes(request.SerializeToString())


def _input(change: Callable[[wire.Message], object]) -> bytes:
    return _changed(lambda request: change(request.inputs["images"]))


def _dim(number: int, size: int) -> bytes:
    return _input(lambda images: setattr(images.tensor_shape.dim[number], "size", size))


def _spec(**spec: Any) -> bytes:
    return bytes(predict_request([1.0, 2.0, 3.0, 4.0], **spec).SerializeToString())


def _twice(request: wire.Message) -> None:
    request.inputs["z"].CopyFrom(request.inputs["images"])


def _renamed(request: wire.Message) -> None:
    _twice(request)
    del request.inputs["images"]


def _about(message_class: Any, **fields: Any) -> bytes:
    return bytes(message_class(**fields).SerializeToString())


GRPC: Final[Mapping[str, tuple[str, bytes, str, str]]] = {
    "unknown model": (
        wire.PREDICT,
        _spec(model="nope"),
        "NOT_FOUND",
        r"Servable not found for request: Latest\(nope\)",
    ),
    "unknown version of an unknown model": (
        wire.PREDICT,
        _spec(model="nope", version={"value": 9}),
        "NOT_FOUND",
        r"Servable not found for request: Specific\(nope, 9\)",
    ),
    "unknown version": (
        wire.PREDICT,
        _spec(version={"value": 99}),
        "NOT_FOUND",
        r"Servable not found for request: Specific\(digits, 99\)",
    ),
    "negative version": (wire.PREDICT, _spec(version={"value": -1}), "NOT_FOUND", r"Specific\(digits, -1\)"),
    "unknown label": (
        wire.PREDICT,
        _spec(version_label="nope"),
        "INVALID_ARGUMENT",
        "Unrecognized servable version label: nope",
    ),
    "no model": (wire.PREDICT, _spec(model=""), "INVALID_ARGUMENT", r"ModelSpec has no name specified\."),
    "long name": (wire.PREDICT, _spec(model="x" * 50_000), "NOT_FOUND", r"Latest\(x+\.\.\.TRUNCATED"),
    "long name of emoji": (wire.PREDICT, _spec(model="\U0001f600" * 2_000), "NOT_FOUND", "TRUNCATED"),
    "name with control characters": (wire.PREDICT, _spec(model="a\r\n\x1b[31m\0"), "NOT_FOUND", "Servable not found"),
    "wrong dtype": (
        wire.PREDICT,
        _input(lambda images: setattr(images, "dtype", 2)),
        "INVALID_ARGUMENT",
        r"Expects arg\[0\] to be float but double is provided",
    ),
    "unknown dtype": (wire.PREDICT, _input(lambda images: setattr(images, "dtype", 99)), "INVALID_ARGUMENT", "99"),
    "wrong shape": (wire.PREDICT, _dim(1, 3), "INVALID_ARGUMENT", "Matrix size-incompatible"),
    "rows beyond any memory": (wire.PREDICT, _dim(0, 2**62), "INVALID_ARGUMENT", "tensor parsing error: images"),
    "negative rows": (wire.PREDICT, _dim(0, -1), "INVALID_ARGUMENT", "tensor parsing error: images"),
    "scalar": (
        wire.PREDICT,
        _input(lambda images: images.ClearField("tensor_shape")),
        "INVALID_ARGUMENT",
        "Matrix size-incompatible",
    ),
    "content that does not fit its shape": (
        wire.PREDICT,
        _input(lambda images: setattr(images, "tensor_content", b"xx")),
        "INVALID_ARGUMENT",
        "tensor parsing error: images",
    ),
    "missing key": (
        wire.PREDICT,
        _changed(lambda request: request.inputs.clear()),
        "INVALID_ARGUMENT",
        r"input size does not match signature: 0!=1 .* Missing but required: \{images\}",
    ),
    "extra key": (wire.PREDICT, _changed(_twice), "INVALID_ARGUMENT", r"Sent extra: \{z\}"),
    "wrong key": (wire.PREDICT, _changed(_renamed), "INVALID_ARGUMENT", "input tensor alias not found in signature"),
    "wrong signature": (
        wire.PREDICT,
        _spec(signature_name="zzz"),
        "FAILED_PRECONDITION",
        'Serving signature key "zzz" not found.',
    ),
    "malformed protobuf": (
        wire.PREDICT,
        b"\xff\xff\xff" + CANARY.encode(),
        "INVALID_ARGUMENT",
        r"the body is no PredictRequest: \d+ bytes that protobuf can't parse",
    ),
    "empty body": (wire.PREDICT, b"", "INVALID_ARGUMENT", "Missing ModelSpec"),
    "over-large message": (
        wire.PREDICT,
        _input(lambda images: images.float_val.extend([1.0] * MESSAGE_BYTES_MAX)),
        "RESOURCE_EXHAUSTED",
        f"larger than max .*{MESSAGE_BYTES_MAX}",
    ),
    "unknown method": ("/tensorflow.serving.PredictionService/Nope", b"", "UNIMPLEMENTED", "Method not found"),
    "unknown service": ("/nope.Nope/Nope", b"", "UNIMPLEMENTED", "Method not found"),
    "metadata, malformed": (wire.GET_MODEL_METADATA, b"\xff\xff", "INVALID_ARGUMENT", "no GetModelMetadataRequest"),
    "metadata of no model": (wire.GET_MODEL_METADATA, b"", "INVALID_ARGUMENT", "Missing ModelSpec"),
    "metadata of no field": (
        wire.GET_MODEL_METADATA,
        _about(wire.GetModelMetadataRequest, model_spec={"name": MODEL}),
        "INVALID_ARGUMENT",
        "must specify at least one metadata_field",
    ),
    "metadata of an unknown model": (
        wire.GET_MODEL_METADATA,
        _about(wire.GetModelMetadataRequest, model_spec={"name": "nope"}, metadata_field=["signature_def"]),
        "NOT_FOUND",
        "Servable not found for request",
    ),
    "status, malformed": (wire.GET_MODEL_STATUS, b"\xff\xff", "INVALID_ARGUMENT", "no GetModelStatusRequest"),
    "status of no model": (wire.GET_MODEL_STATUS, b"", "INVALID_ARGUMENT", "Missing ModelSpec"),
    "status of an unknown model": (
        wire.GET_MODEL_STATUS,
        _about(wire.GetModelStatusRequest, model_spec={"name": "nope"}),
        "NOT_FOUND",
        "Could not find any versions of model nope",
    ),
    "status of an unknown version": (
        wire.GET_MODEL_STATUS,
        _about(wire.GetModelStatusRequest, model_spec={"name": MODEL, "version": {"value": 9}}),
        "NOT_FOUND",
        "Could not find version 9 of model digits",
    ),
}


GRPC_METADATA: Final[Mapping[str, tuple[tuple[str, str], str, str]]] = {
    **{
        f"timeout {text[:6]}": (("turpin-timeout-ms", text), "INVALID_ARGUMENT", "turpin-timeout-ms must be a whole")
        for text in ("0", "-5", "1.5", "abc", "9" * 400, "9" * 5000)
    },
    "huge metadata": (("turpin-unit", CANARY + "x" * 20_000), "RESOURCE_EXHAUSTED", "metadata size exceeds hard limit"),
}


# REST


@dataclass(frozen=True, slots=True)
class Rest:
    """An HTTP call, and the status and words of its refusal. `form` is whose error body it must have."""

    body: bytes | None
    status: int
    words: str
    method: str = "POST"
    path: str = PREDICT_PATH
    headers: Mapping[str, str] = field(default_factory=dict)
    form: Literal["tf-serving", "rfc-9457", "any"] = "tf-serving"


def _rows(*rows: str) -> bytes:
    return f'{{"instances": [{", ".join(rows)}]}}'.encode()


REST: Final[Mapping[str, Rest]] = {
    "empty body": Rest(b"", 400, "JSON Parse error: The document is empty"),
    "malformed JSON": Rest(b'{"inst' + CANARY.encode(), 400, "JSON Parse error"),
    "no object": Rest(b"[]", 400, "Is not object"),
    "no instances": Rest(b"{}", 400, "Missing 'inputs' or 'instances' key"),
    "instances and inputs": Rest(b'{"instances": [[1,2,3,4]], "inputs": [[1,2,3,4]]}', 400, "only one of"),
    "no rows": Rest(_rows(), 400, "No values in 'instances' array"),
    "wrong dtype": Rest(_rows('["x", 2, 3, 4]'), 400, "not of expected type: float"),
    "wrong shape": Rest(_rows("[1, 2, 3]"), 400, "Matrix size-incompatible"),
    "ragged rows": Rest(_rows("[1, 2, 3, 4]", "[1]"), 400, "Expecting tensor size: 4 but got: 1"),
    "wrong key": Rest(_rows('{"nope": [1, 2, 3, 4]}'), 400, "does not have named input: nope"),
    "wrong signature": Rest(
        b'{"signature_name": "zzz", "instances": [[1,2,3,4]]}', 400, '"zzz.*not found in signature'
    ),
    "signature that is a number": Rest(b'{"signature_name": 5, "instances": [[1]]}', 400, "must be a string value"),
    "number too large": Rest(_rows("[1e999, 2, 3, 4]"), 400, "Number too big"),
    "integer of 5000 digits": Rest(_rows(f"[{'9' * 5000}, 2, 3, 4]"), 400, "Number too big"),
    "deep arrays": Rest(b"[" * 40_000, 400, "nested too deeply"),
    "deep instances": Rest(_rows("[" * 40_000 + "]" * 40_000), 400, "nested too deeply"),
    "deep objects": Rest(b'{"x":' + b'{"a":' * 9_000 + b"1" + b"}" * 9_001, 400, "nested too deeply"),
    "no UTF-8": Rest(b'{"instances": "\xff\xfe"}', 400, "Expecting 'instances' to be"),
    "half a surrogate": Rest(b'{"signature_name": "\\ud800", "instances": [[1]]}', 400, "not found in signature"),
    "over-large message": Rest(_rows(*["[1, 2, 3, 4]"] * 10_000), 429, "larger than limits.message_bytes = 100000"),
    "body that is no gzip": Rest(
        GOOD_BODY, 400, "Failed to uncompress request body", headers={"Content-Encoding": "gzip"}
    ),
    "small body of many zeros": Rest(
        gzip.compress(bytes(10_000_000)), 400, "more than 100000 bytes", headers={"Content-Encoding": "gzip"}
    ),
    "body packed in another way": Rest(
        GOOD_BODY, 400, "compressed body is not accepted", headers={"Content-Encoding": "br"}
    ),
    "unknown model": Rest(GOOD_BODY, 404, r"Latest\(nope\)", path="/v1/models/nope:predict"),
    "unknown version": Rest(GOOD_BODY, 404, r"Specific\(digits, 99\)", path="/v1/models/digits/versions/99:predict"),
    "version of 20 digits": Rest(
        GOOD_BODY, 400, "Failed to convert version", path=f"/v1/models/digits/versions/{'9' * 20}:predict"
    ),
    "unknown label": Rest(
        GOOD_BODY, 400, "Unrecognized servable version label", path="/v1/models/digits/labels/nope:predict"
    ),
    "unknown verb": Rest(GOOD_BODY, 400, "Malformed request: POST", path="/v1/models/digits:nope"),
    "name that is no UTF-8": Rest(GOOD_BODY, 400, "Failed to decode model name", path="/v1/models/%ff:predict"),
    "name that is a surrogate": Rest(
        GOOD_BODY, 400, "Failed to decode model name", path="/v1/models/%ed%a0%80:predict"
    ),
    "name that is NUL": Rest(GOOD_BODY, 404, "Servable not found", path="/v1/models/%00:predict"),
    "no name": Rest(None, 400, "Missing model name in request", method="GET", path="/v1/models/versions/1"),
    "path garbage": Rest(GOOD_BODY, 400, "Malformed request", path="/v1/" + "%0d%0a;../" * 20),
    "path in capitals": Rest(GOOD_BODY, 404, r"Latest\(NOPE\)", path="/V1/MODELS/NOPE:PREDICT"),
    **{
        f"{method} of predict": Rest(None, 400, f"Malformed request: {method}", method=method)
        for method in ("GET", "PUT", "DELETE", "PATCH")
    },
    "outside the API": Rest(None, 404, "GET /v2", method="GET", path="/v2/models", form="rfc-9457"),
    "wrong method of health": Rest(b"", 405, "POST /healthz", path="/healthz", form="rfc-9457"),
    **{
        f"timeout {text[:6]}": Rest(
            GOOD_BODY, 400, "turpin-timeout-ms must be a whole number", headers={"turpin-timeout-ms": text}
        )
        for text in ("0", "-5", "1.5", "abc", "9" * 400, "9" * 5000)
    },
    "huge header": Rest(GOOD_BODY, 400, "Got more than", headers={"x": CANARY + "y" * 20_000}, form="any"),
    "metadata of an unknown model": Rest(
        None, 404, "Servable not found", method="GET", path="/v1/models/nope/metadata"
    ),
    "status of an unknown model": Rest(None, 404, "Could not find any versions", method="GET", path="/v1/models/nope"),
}


# HTTP below the level of a client library: bytes, and what the status line of the answer must have

RAW: Final[Mapping[str, tuple[bytes, bytes]]] = {
    "no HTTP": (b"GARBAGE\r\n\r\n", b" 400 "),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40), b" 400 "),
    "unknown method": (b"BREW /v1/models/digits:predict HTTP/1.1\r\nHost: x\r\n\r\n", b" 400 "),
    "length that is no number": (b"POST /v1/rewards HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n", b" 400 "),
    "two lengths": (
        b"POST /v1/rewards HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        b" 400 ",
    ),
    "path that is no text": (b"GET /v1/models/\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n", b" 400 "),
    "path with an escape": (b"GET /v1/models/\x1b[31m" + CANARY.encode() + b" HTTP/1.1\r\nHost: x\r\n\r\n", b" 400 "),
    "URL that is none": (b"GET http://[::1/v1/models HTTP/1.1\r\nHost: x\r\n\r\n", b" 400 "),
    "endless path": (b"GET /v1/" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b" 400 "),
    "header with NUL": (b"GET /healthz HTTP/1.1\r\nHost: x\r\nx: a\0b\r\n\r\n", b" 400 "),
    # Header values are bytes; these are none of ours to judge.
    **{
        f"{name} that is no text": (
            b"POST /v1/models/digits:predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 29\r\n"
            + name.encode()
            + b": \xff\xfe\r\n\r\n"
            + GOOD_BODY,
            b" 200 ",
        )
        for name in ("turpin-unit", "turpin-request-id", "Authorization")
    },
}


# Rewards: a body made from a good token, status, problem, words of its detail


def claim(**fields: Any) -> Callable[[str], bytes]:
    """Return what makes the body of a reward from a token; the token can be overridden."""
    return lambda token: json.dumps({"decision": token, **fields}).encode()


def _altered(token: str) -> bytes:
    return json.dumps({"decision": token[:-4] + token[:4], "reward": 1}).encode()


def literal(literal: str) -> Callable[[str], bytes]:
    return lambda token: f'{{"decision": "{token}", "reward": {literal}}}'.encode()


def _signed(**changes: Any) -> Callable[[str], bytes]:
    """Return what makes a reward for a decision that the gateway never took, signed with its own key."""

    def make(token: str) -> bytes:
        seen = token_fields(token)
        decision = {
            "mode": Mode.EXPERIMENT,
            "segment": 0,
            "weights_version": seen["version"],
            **{name: seen[name] for name in ("epoch", "arm", "parts", "block", "time_us", "rows", "nonce")},
            **changes,
        }
        return json.dumps(
            {"decision": Keyring([("k1", KEY.encode())]).sign(Decision(**decision)), "reward": 1}
        ).encode()

    return make


REWARDS: Final[Mapping[str, tuple[Callable[[str], bytes], int, str, str]]] = {
    "empty body": (lambda _: b"", 400, "malformed", "no JSON object of a reward"),
    "malformed JSON": (lambda token: token.encode(), 400, "malformed", "no JSON object of a reward"),
    "trailing garbage": (lambda token: claim(reward=1)(token) + b"x", 400, "malformed", "trailing characters"),
    "no UTF-8": (lambda _: b'{"decision": "\xff\xfe", "reward": 1}', 400, "malformed", "UTF-8"),
    "half a surrogate": (lambda _: b'{"decision": "\\ud800", "reward": 1}', 400, "malformed", "surrogate"),
    "deep JSON": (lambda _: b"[" * 90_000, 422, "invalid", "Expected `object`"),
    "list": (lambda _: b"[1]", 422, "invalid", "Expected `object`, got `array`"),
    "NaN": (literal("NaN"), 422, "invalid", "must be a finite number"),
    "Infinity": (literal("Infinity"), 422, "invalid", "must be a finite number"),
    "-Infinity": (literal("-Infinity"), 422, "invalid", "must be a finite number"),
    "1e999": (literal("1e999"), 422, "invalid", "Number out of range"),
    "true": (literal("true"), 422, "invalid", "got `bool`"),
    "string": (literal('"1"'), 422, "invalid", "got `str`"),
    "null": (literal("null"), 422, "invalid", "exactly one of"),
    "above the range": (literal("1.5"), 422, "invalid", r"must be within \[0, 1\], got 1.5"),
    "below the range": (literal("-0.1"), 422, "invalid", r"must be within \[0, 1\], got -0.1"),
    "neither reward nor rewards": (claim(), 422, "invalid", "exactly one of"),
    "reward and rewards": (claim(reward=1, rewards=[1]), 422, "invalid", "exactly one of"),
    "too many rows": (claim(rewards=[1, 1]), 422, "invalid", "the request had 1 rows, got 2 rewards"),
    "no rows": (claim(rewards=[]), 422, "invalid", "the request had 1 rows, got 0 rewards"),
    "a row of NaN": (lambda token: claim(rewards=[float("nan")])(token), 422, "invalid", "must be a finite number"),
    "no event": (claim(reward=1, event=""), 422, "invalid", "event must have 1 to 64 characters"),
    "long event": (claim(reward=1, event="x" * 65), 422, "invalid", "event must have 1 to 64 characters"),
    "event that is a number": (claim(reward=1, event=5), 422, "invalid", "Expected `str`, got `int`"),
    "unknown field": (claim(reward=1, secret=CANARY), 422, "invalid", "unknown field"),
    "no token": (lambda _: b'{"reward": 1}', 422, "invalid", "missing required field `decision`"),
    "token that is a number": (claim(reward=1, decision=5), 422, "invalid", "Expected `str`, got `int`"),
    "token cut short": (lambda token: claim(reward=1)(token[:50]), 401, "forged", "has 94 characters"),
    "token of other letters": (claim(reward=1, decision="é" * 94), 401, "forged", "base64url"),
    "altered token": (_altered, 401, "forged", "signature of the decision token does not fit"),
    "token of another key": (
        lambda token: claim(reward=1)(
            Keyring([("k1", b"another key of 16 bytes")]).sign(
                Decision(Mode.EXPERIMENT, 0, token_fields(token)["epoch"], 0, 2**30, 1, 1, 1, 1, bytes(16))
            )
        ),
        401,
        "forged",
        "another key made it",
    ),
    "token of an unknown epoch": (_signed(epoch=12345), 410, "unknown_epoch", "not known here"),
    "token of an arm that is none": (_signed(arm=9), 410, "unknown_epoch", "not known here"),
    "token of another year": (_signed(time_us=10**15), 410, "late", r"the window is 10 s"),
    "token from the future": (_signed(time_us=2**62), 401, "forged", "in the future"),
    "over-large body": (
        lambda _: b" " * (MESSAGE_BYTES_MAX + 1),
        413,
        "too_large",
        "larger than limits.message_bytes = 100000",
    ),
}

"""Classify and regress over REST."""

import pytest

from serving import wire
from serving.errors import InvalidArgument
from serving.rest_examples import decode_classify, decode_regress, encode_classify, encode_regress


def features(example: wire.Message) -> dict[str, tuple[str | None, list[object]]]:
    return {
        name: (kind := feature.WhichOneof("kind"), list(getattr(feature, kind).value) if kind else [])
        for name, feature in example.features.feature.items()
    }


def test_classify() -> None:
    request = decode_classify(b'{"signature_name":"classify_x_to_y","examples":[{"x":2.0}]}')

    assert request.DESCRIPTOR.name == "ClassificationRequest"
    assert request.model_spec.signature_name == "classify_x_to_y"
    assert [features(one) for one in request.input.example_list.examples] == [{"x": ("float_list", [2.0])}]


def test_regress() -> None:
    request = decode_regress(b'{"examples":[{"x":[1,2]},{}]}')

    assert request.DESCRIPTOR.name == "RegressionRequest"
    assert [features(one) for one in request.input.example_list.examples] == [{"x": ("int64_list", [1, 2])}, {}]


def test_features_of_all_kinds() -> None:
    request = decode_classify(
        b'{"examples":[{"i":[true,-9223372036854775808],"f":[NaN,1e300,18446744073709551616],'
        b'"s":["a",{"b64":"aGk="},"\xff"],"none":[]}]}'
    )

    found = features(request.input.example_list.examples[0])
    assert found["i"] == ("int64_list", [1, -(2**63)])
    assert str(found["f"]) == f"('float_list', [nan, inf, {2.0**64}])"
    assert found["s"] == ("bytes_list", [b"a", b"hi", b"\xff"])
    assert found["none"] == (None, [])


def test_context() -> None:
    request = decode_regress(b'{"context":{"c":1},"examples":[{"x":2.0}]}')

    listed = request.input.example_list_with_context
    assert features(listed.context) == {"c": ("int64_list", [1])}
    assert [features(one) for one in listed.examples] == [{"x": ("float_list", [2.0])}]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"1", "JSON Value: 1 Is not object"),
        (b'{"signature_name":1}', "'signature_name' key must be a string value."),
        (b"{}", "JSON Value: {} When method is classify, key 'examples' is expected and was not found"),
        (b'{"examples":1}', "Expecting 'examples' value to be an list/array"),
        (b'{"examples":[]}', "'examples' value is an empty array"),
        (b'{"examples":[1]}', "Example must be JSON object but got JSON Number"),
        (b'{"context":[],"examples":[{}]}', "Example must be JSON object but got JSON Array"),
        (b'{"examples":[{"x":null}]}', "Feature: x has element with unexpected JSON type: Null"),
        (b'{"examples":[{"x":[[1]]}]}', "Feature: x has element with unexpected JSON type: Array"),
        (b'{"examples":[{"x":{"a":1}}]}', "Feature: x has element with unexpected JSON type: Object"),
        (b'{"examples":[{"x":[1,2.0]}]}', "Unexpected element type in feature: x expecting type: int64"),
        (b'{"examples":[{"x":["a",1]}]}', "Unexpected element type in feature: x expecting type: bytes"),
        (b'{"examples":[{"x":[1.0,"a"]}]}', "Unexpected element type in feature: x expecting type: float"),
        (b'{"examples":[{"x":9223372036854775808}]}', "Feature: x has uint64_t element. Only int64_t is supported."),
        (b'{"examples":[{"x":' + b"9" * 309 + b"}]}", "Number too big to be stored in double."),
        (b'{"examples":[{"x":{"b64":"?"}}]}', "Unable to base64 decode"),
        (b'{"examples":[{"\\ud800":1}]}', "The surrogate pair in string is invalid."),
        (b'{"signature_name":"\\ud800","examples":[{}]}', "The surrogate pair in string is invalid."),
    ],
)
def test_bodies_without_examples(body: bytes, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        decode_classify(body)

    assert caught.value.message.endswith(message)


def test_names_that_are_no_utf8_are_names_all_the_same() -> None:
    request = decode_classify(b'{"signature_name":"\xff","examples":[{"\xff":1}]}')

    assert request.model_spec.signature_name == "\ufffd"
    assert features(request.input.example_list.examples[0]) == {"\ufffd": ("int64_list", [1])}


def test_classes() -> None:
    response = wire.ClassificationResponse()
    response.result.classifications.add().classes.add(label="", score=3)
    response.result.classifications.add().classes.add(label='"b', score=1 / 3)
    response.result.classifications[1].classes.add(label="c", score=0)

    assert encode_classify(response) == (
        b'{\n    "results": [[["", 3.0]], [["\\"b", 0.333333343], ["c", 0.0]]\n    ]\n}'
    )


def test_values() -> None:
    response = wire.RegressionResponse()
    response.result.regressions.add(value=3)
    response.result.regressions.add(value=0.2)

    assert encode_regress(response) == b'{\n    "results": [3.0, 0.2]\n}'


def test_no_results_are_an_error() -> None:
    with pytest.raises(InvalidArgument, match="empty ClassificationResults"):
        encode_classify(wire.ClassificationResponse())
    with pytest.raises(InvalidArgument, match="empty RegressionResults"):
        encode_regress(wire.RegressionResponse())

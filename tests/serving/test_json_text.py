"""RapidJSON's dialect, its complaints, and TF Serving's decimals."""

import json
import math
import struct
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from serving.decimals import FEW_MAX, decimals
from serving.errors import InvalidArgument
from serving.json_text import decode_base64, is_named, parse, quoted, shown, to_bytes, to_double, type_name

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
)  # fmt: skip


@given(JSON, st.booleans(), st.sampled_from(["", " ", "\ufeff", "\n\t"]), st.sampled_from(["", " ", "]", "garbage {"]))
def test_reads_any_json_between_a_byte_order_mark_and_garbage(
    value: Any, is_ascii: bool, before: str, after: str
) -> None:
    text = json.dumps([value], ensure_ascii=is_ascii)

    assert parse((before + text + after).encode("utf-8", "surrogatepass")) == [value]


def test_numbers_that_are_none() -> None:
    values = parse(b"[NaN, -NaN, Infinity, -Infinity, Inf, -Inf, -0.0]")

    assert [repr(value) for value in values] == ["nan", "nan", "inf", "-inf", "inf", "-inf", "-0.0"]


def test_words_in_strings_are_left_alone() -> None:
    assert parse(b'["Inf \\" -NaN", Inf]') == ['Inf " -NaN', math.inf]


def test_integers_beyond_64_bits_are_decimals_or_whole() -> None:
    values = parse(b"[18446744073709551616, 1" + b"0" * 300 + b", NaN]")

    assert [to_double(value) for value in values[:2]] == [2.0**64, 1e300]


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b"  ", "JSON Parse error: The document is empty. at offset: 2"),
        (b"{", "JSON Parse error: Missing a name for object member. at offset: 1"),
        (b"[1,", "JSON Parse error: Invalid value. at offset: 3"),
        (b"nope", "JSON Parse error: Invalid value. at offset: 0"),
        (b'{"a" 1}', "JSON Parse error: Missing a colon after a name of object member. at offset: 5"),
        (b"[1 2]", "JSON Parse error: Missing a comma or a closing bracket after an element. at offset: 3"),
        (b'["a', "JSON Parse error: Missing a closing quotation mark in string. at offset: 1"),
        (b'["\\x"]', "JSON Parse error: Invalid escape character in string. at offset: 2"),
        (b'["\\u12g4"]', "JSON Parse error: Incorrect hex digit after \\u escape in string. at offset: 3"),
        (b'["\x01"]', "JSON Parse error: Invalid encoding in string. at offset: 2"),
        (b"[1e999]", "JSON Parse error: Number too big to be stored in double. at offset: 1"),
        (b"[" + b"9" * 5000 + b"]", "JSON Parse error: Number too big to be stored in double. at offset: 1"),
        ("[\u00e9".encode(), "JSON Parse error: Invalid value. at offset: 1"),
        ('["\u00e9" 1]'.encode(), "JSON Parse error: Missing a comma or a closing bracket after an element. at offset: 6"),
    ],
)  # fmt: skip
def test_complains_as_rapidjson(body: bytes, complaint: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(body)

    assert caught.value.message == complaint


@pytest.mark.parametrize("bomb", [b"[" * 100_000, b'{"a":' * 100_000, b"[" * 100_000 + b"NaN" + b"]" * 100_000])
def test_depth_is_a_bad_request(bomb: bytes) -> None:
    with pytest.raises(InvalidArgument, match="nested too deeply"):
        parse(bomb)


def test_a_body_full_of_quotes_is_read_in_linear_time() -> None:
    body = b'["Inf' + b'\\"' * 300_000
    started = time.process_time()
    with pytest.raises(InvalidArgument):
        parse(body)

    # 0.05 s when linear, hours when the search starts again at each quote.
    assert time.process_time() - started < 5


@given(st.binary(max_size=50))
def test_any_bytes_are_json_or_a_bad_request(noise: bytes) -> None:
    for body in (noise, b'{"a": [' + noise + b"]}", b'["' + noise + b'", NaN]'):
        try:
            value = parse(body)
        except InvalidArgument:
            continue
        assert len(shown(value)) < 2000


def test_bytes_that_are_no_utf8_come_back() -> None:
    assert to_bytes(parse(b'["\xff\xc3\xa9"]')[0]) == b"\xff\xc3\xa9"


def test_half_a_surrogate_pair_is_a_bad_request() -> None:
    with pytest.raises(InvalidArgument, match="surrogate pair"):
        to_bytes(parse(b'["\\ud800"]')[0])


def test_a_number_too_big_for_a_double() -> None:
    with pytest.raises(InvalidArgument, match="too big"):
        to_double(10**309)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("aGk=", b"hi"), ("aGk", b"hi"), ("a G\nk=", b"hi"), ("", b""), ("+/8=", b"\xfb\xff")],
)
def test_base64(text: str, expected: bytes) -> None:
    assert decode_base64({"b64": text}) == expected


@pytest.mark.parametrize("text", ["a", "aGk==", "-_8=", "aGk=aGk=", "\u00e9", "a=Gk", "\udcff"])
def test_broken_base64(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^Unable to base64 decode$"):
        decode_base64({"b64": text})


def test_only_one_string_called_b64_is_bytes() -> None:
    for value in ({"b64": 1}, {"b64": "aGk=", "a": 1}, {"B64": "aGk="}, {}):
        assert is_named(value)
        with pytest.raises(InvalidArgument, match="not formatted correctly for base64 data"):
            decode_base64(value)
    assert not is_named({"b64": ""})
    assert not is_named([1])


def test_shown_is_laid_out_as_rapidjson_does() -> None:
    value: dict[str, Any] = {"a": [1, 2.5, "x", None, True, math.nan], "b": {"c": []}, "d": {}}

    assert shown(value) == (
        '{\n    "a": [1, 2.5, "x", null, true, NaN],\n    "b": {\n        "c": []\n    },\n    "d": {}\n}'
    )


def test_shown_stops() -> None:
    endless: list[Any] = []
    endless.append(endless)

    assert len(shown(endless)) == 256
    assert len(shown("x" * 10_000_000)) < 300
    assert len(shown([1] * 10_000_000)) < 300


def test_types_have_rapidjsons_names() -> None:
    values: list[Any] = [None, True, False, {}, [], "", 1, 0, 1.0]
    names = [type_name(value) for value in values]

    assert names == ["Null", "True", "False", "Object", "Array", "String", "Number", "Number", "Number"]


def test_strings_are_escaped_only_where_they_must() -> None:
    assert quoted('\u00e9/"\\\n\x1f') == '"\u00e9/\\"\\\\\\n\\u001f"'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3.0"), (0.2, "0.2"), (1 / 3, "0.333333343"), (9e6, "9e+06"), (1435774380, "1.43577434e+09"),
        (0, "0.0"), (-0.0, "-0.0"), (1e-5, "1e-05"), (999999, "999999.0"), (1e-45, "1.4013e-45"),
        (math.nan, "NaN"), (math.inf, "Infinity"), (-math.inf, "-Infinity"), (16777217, "16777216.0"),
    ],
)  # fmt: skip
def test_floats_are_printed_as_tf_serving_does(value: float, text: str) -> None:
    assert decimals(np.array([value], np.float32)) == [text]
    # Many are written another way.
    assert decimals(np.full(100, value, np.float32)) == [text] * 100


def test_doubles_have_17_digits() -> None:
    assert decimals(np.array([0.1, 1 / 3, 1e300, 5e-324])) == [
        "0.1", "0.33333333333333331", "1e+300", "4.94066e-324",
    ]  # fmt: skip


def one_by_one(value: float, is_single: bool) -> str:
    """The rule of WriteDecimal, literally."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    text = f"{value:g}"
    back = float(text)
    if is_single:
        back = struct.unpack("f", struct.pack("f", back))[0]
    if back != value:
        text = f"{value:.9g}" if is_single else f"{value:.17g}"
    return text if "." in text or "e" in text else text + ".0"


SHORT = st.builds(lambda digits, power: float(f"{digits}e{power}"), st.integers(-(10**7), 10**7), st.integers(-45, 30))


@given(st.lists(st.floats(width=32) | SHORT.map(np.float32).map(float), max_size=40))
def test_all_floats_follow_the_rule(values: list[float]) -> None:
    assert decimals(np.array(values, np.float32)) == [one_by_one(value, True) for value in values]
    # Many are written another way.
    many = (values * (FEW_MAX + 1))[: max(len(values), FEW_MAX + 1)]
    assert decimals(np.array(many, np.float32)) == [one_by_one(value, True) for value in many]


@given(st.lists(st.floats() | SHORT, max_size=20))
def test_all_doubles_follow_the_rule(values: list[float]) -> None:
    assert decimals(np.array(values, np.float64)) == [one_by_one(value, False) for value in values]
    many = (values * (FEW_MAX + 1))[: max(len(values), FEW_MAX + 1)]
    assert decimals(np.array(many, np.float64)) == [one_by_one(value, False) for value in many]


def test_few_are_written_as_many() -> None:
    rng = np.random.default_rng(20260727)
    patterns = [
        rng.integers(0, 2**32, 6_000, np.uint32).view(np.float32),
        rng.integers(0, 2**23, 2_000, np.uint32).view(np.float32),
        rng.integers(-(10**10), 10**10, 2_000).astype(np.float32),
        rng.random(2_000).round(6).astype(np.float32),
        rng.random(2_000).astype(np.float32),
    ]
    every = np.concatenate(patterns)
    rng.shuffle(every)

    few = [text for start in range(0, len(every), 40) for text in decimals(every[start : start + 40])]

    assert few == decimals(every)


@given(st_numpy.arrays(np.uint32, st.integers(0, 50)))
def test_printed_floats_read_back_as_the_same(bits: np.ndarray[Any, Any]) -> None:
    values = bits.view(np.float32)
    with np.errstate(invalid="ignore"):
        back = np.array([float(text) for text in decimals(values)]).astype(np.float32)

    np.testing.assert_array_equal(back, values)

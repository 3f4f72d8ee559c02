"""Anybody's log: what is read of it, and what is said of lines that are none."""

import json
from typing import Any

import pytest

from router.replay.loglines import BadLog, read_log

GOOD: dict[str, Any] = {"arm": "a", "propensity": 0.5, "target_propensity": 1, "reward": 0.25}


def texts(*changes: dict[str, Any]) -> list[bytes]:
    return [json.dumps({**GOOD, **change}).encode() for change in changes]


def problems(*written: bytes) -> list[str]:
    with pytest.raises(BadLog) as raised:
        read_log(written)
    return raised.value.problems


def test_arms_may_be_names_or_numbers_and_other_fields_are_let_be() -> None:
    read = read_log([*texts({}, {"arm": 7, "session": [1]}, {"arm": "7"}), b"\n"])

    assert read.log.arms.tolist() == [0, 1, 2]
    assert read.log.reward.tolist() == [0.25] * 3
    assert read.cost_usd is None


def test_costs_are_taken_when_every_line_has_one() -> None:
    read = read_log(texts({"cost_usd": 0.1}, {"cost_usd": 0}))

    assert read.cost_usd is not None
    assert read.cost_usd.tolist() == [0.1, 0.0]
    assert problems(*texts({"cost_usd": 0.1}, {})) == ["cost_usd must be on every line or on none; it is on 1 of 2"]


@pytest.mark.parametrize(
    ("targets", "is_known"),
    [
        ([("a", 0.25), ("b", 0.75), ("a", 0.25)], True),
        # The policy changed its mind about an arm: what it wanted of the others then is not said.
        ([("a", 0.25), ("b", 0.75), ("a", 0.3)], False),
        # Some arm the policy wants is not in the log.
        ([("a", 0.25), ("b", 0.5)], False),
    ],
)
def test_all_shares_are_known_when_each_arm_s_is_constant_and_they_add_up(
    targets: list[tuple[str, float]], is_known: bool
) -> None:
    read = read_log(texts(*({"arm": arm, "target_propensity": target} for arm, target in targets)))

    assert (read.log.everywhere is not None) is is_known


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"propensity": 0}, "propensity must be more than 0 and at most 1, got 0"),
        ({"propensity": 1.5}, "propensity must be more than 0 and at most 1, got 1.5"),
        ({"propensity": 1e-300}, "propensity must be more than 0"),
        ({"target_propensity": -0.1}, "target_propensity must be from 0 to 1, got -0.1"),
        ({"target_propensity": 2}, "target_propensity must be from 0 to 1, got 2"),
        ({"reward": 1e200}, "reward must be a number of at most 1e+100, got 1e+200"),
        ({"cost_usd": -1e200}, "cost_usd must be a number"),
        ({"reward": None}, "Expected `float`, got `null` - at `$.reward`"),
        ({"reward": True}, "Expected `float`, got `bool` - at `$.reward`"),
        ({"arm": 0.5}, "Expected `int | str`, got `float` - at `$.arm`"),
    ],
)
def test_a_line_that_is_none_is_told_with_its_number(change: dict[str, Any], words: str) -> None:
    found = problems(*texts({}, change, {}))

    assert len(found) == 1
    assert found[0].startswith(f"line 2: {words}")


@pytest.mark.parametrize("text", [b"[]", b"{", b'{"arm": "a"}', b"\xff", b'{"arm":"a","reward":NaN}', b"[" * 100_000])
def test_what_is_no_json_object_is_told(text: bytes) -> None:
    assert problems(text)[0].startswith("line 1: ")


def test_a_file_of_another_kind_is_given_up_after_a_page() -> None:
    assert len(problems(*[b"x"] * 1_000)) == 20


def test_an_empty_log_is_a_log() -> None:
    assert read_log([]).log.arms.size == 0

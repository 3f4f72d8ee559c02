"""Phases of load from a file of YAML."""

import pytest

from load.generate.phases import BadScenario, Phase, parse


def test_phases_are_read() -> None:
    text = "phases: [{name: calm, rate: 100, seconds: 10, warm_up: 1}, {in_flight: 64, seconds: 5}]"

    assert parse(text) == (
        Phase("calm", seconds=10.0, rate=100.0, warm_up=1.0),
        Phase("phase 2", seconds=5.0, in_flight=64),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1]", "list `phases`"),
        ("phases: []", "list `phases`"),
        ("phases: [", "no YAML"),
        ("phases: [{rate: 1}]", "must have seconds"),
        ("phases: [{rate: 1, seconds: 1, rows: 2}]", "may have"),
        ("phases: [{seconds: 1}]", "one of rate and in_flight"),
        ("phases: [{seconds: 1, rate: 1, in_flight: 1}]", "one of rate and in_flight"),
        ("phases: [{seconds: 0, rate: 1}]", "seconds must be positive"),
        ("phases: [{seconds: soon, rate: 1}]", "phase 1: could not convert"),
    ],
)
def test_what_can_not_be_used_is_refused_with_what_would_be_right(text: str, words: str) -> None:
    with pytest.raises(BadScenario, match=words):
        parse(text)

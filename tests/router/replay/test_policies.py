"""Policies as people write them."""

import numpy as np
import pytest

from router.replay.policies import BadPolicy, choices

ARMS = ("v1", "v2", "v3")
LOGGED = np.array([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5], [0.0, 1.0, 0.0]])


def test_uniform_is_an_equal_share_of_the_arms_that_had_a_chance() -> None:
    thirds = [1 / 3] * 3

    assert choices("uniform", ARMS, LOGGED).tolist() == [[0.5, 0.5, 0.0], thirds, [0.0, 1.0, 0.0]]


def test_an_arm_gets_everything_at_all_times() -> None:
    assert choices("arm:v3", ARMS, LOGGED).tolist() == [[0.0, 0.0, 1.0]] * 3


def test_weights_are_as_written_and_the_rest_gets_nothing() -> None:
    assert choices("weights:v3=0.25,v1=0.75", ARMS, LOGGED).tolist() == [[0.75, 0.0, 0.25]] * 3


def test_weights_with_few_digits_are_made_to_add_up() -> None:
    found = choices("weights:v1=.333333,v2=.333333,v3=.333333", ARMS, LOGGED)

    assert found[0] == pytest.approx([1 / 3] * 3, abs=1e-12)


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ("", "a policy is uniform, arm:NAME or weights"),
        ("best", "got 'best'"),
        ("uniform:v1", "got 'uniform:v1'"),
        ("arm:v9", "no arm 'v9'; there are v1, v2, v3"),
        ("arm:", "no arm ''"),
        ("weights:", "got ''"),
        ("weights:v1", "got 'v1'"),
        ("weights:v1=nan", "got 'v1=nan'"),
        ("weights:v1=-1,v2=2", "got 'v1=-1'"),
        ("weights:v1=0.5,v1=0.5", "got 'v1=0.5'"),
        ("weights:v1=0.5,v2=0.4", "they add up to 0.9"),
        ("weights:v1=0.5,v9=0.5", "no arm 'v9'"),
    ],
)
def test_what_is_no_policy_is_told(policy: str, words: str) -> None:
    with pytest.raises(BadPolicy, match=words):
        choices(policy, ARMS, LOGGED)

import math

import pytest

from bandits.rules import Objective, Policy, StopRule


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_a_reward_must_be_worth_something(value: float) -> None:
    with pytest.raises(ValueError, match="value_usd must be a finite number above 0"):
        Objective(value)


def test_ranges_are_checked() -> None:
    with pytest.raises(ValueError, match="low < high"):
        Objective(1.0, reward_type="continuous", low=2.0, high=2.0)
    with pytest.raises(ValueError, match=r"a binary reward has the range \[0, 1\]"):
        Objective(1.0, low=-1.0, high=1.0)
    with pytest.raises(ValueError, match="window_s"):
        Objective(1.0, window_s=0.0)


def test_policies_are_checked() -> None:
    with pytest.raises(ValueError, match=r"policy.floor must be in 0..0.5, got 0.6"):
        Policy(floor=0.6)
    with pytest.raises(ValueError, match=r"prior\.mean"):
        Policy(prior_mean=1.0)
    with pytest.raises(ValueError, match="strength"):
        Policy(prior_strength=0.0)
    with pytest.raises(ValueError, match="block"):
        Policy(block_s=-1.0)


def test_stop_rules_are_checked() -> None:
    with pytest.raises(ValueError, match=r"stop\.delta must lie between 0 and 1, got 0"):
        StopRule(delta=0.0)
    with pytest.raises(ValueError, match=r"stop\.alpha"):
        StopRule(alpha=1.0)
    with pytest.raises(ValueError, match=r"stop\.margin"):
        StopRule(margin=-0.1)
    with pytest.raises(ValueError, match="sprint"):
        StopRule(sprint_leader=1.0)
    with pytest.raises(ValueError, match="cycle"):
        StopRule(cycle_s=0.0)
    with pytest.raises(ValueError, match="min_per_arm"):
        StopRule(min_per_arm=0)
    with pytest.raises(ValueError, match="min_age"):
        StopRule(min_age_s=math.nan)
    with pytest.raises(ValueError, match="max_duration"):
        StopRule(max_duration_s=0.0)

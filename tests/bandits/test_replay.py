import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandits.replay import Estimate, Everywhere, Floats, Int64s, Log, evaluate


def log(
    arms: list[int],
    propensity: list[float],
    target: list[float],
    reward: list[float],
    table: list[float] | None = None,
) -> Log:
    return Log(
        np.array(arms, np.int64),
        np.array(propensity, np.float64),
        np.array(target, np.float64),
        np.array(reward, np.float64),
        Everywhere(np.array([table]), np.zeros(len(arms), np.int64)) if table else None,
    )


# Shares .75 and .25 made these four decisions; what would an even split have earned?
FOUR = log([0, 0, 1, 1], [0.75, 0.75, 0.25, 0.25], [0.5] * 4, [1.0, 0.0, 1.0, 1.0], [0.5, 0.5])


def test_four_decisions_by_hand() -> None:
    found = evaluate(FOUR)

    # Weights 2/3, 2/3, 2, 2; weighted rewards 2/3, 0, 2, 2; the arms' means 1/2 and 1.
    expected = {
        "mean": 3 / 4,
        "ips": 7 / 6,
        "ips_se": 1 / 2,
        "snips": 7 / 8,
        "snips_se": math.sqrt(68) / 64,
        "dr": 3 / 4,
        "dr_se": math.sqrt(8 / 27) / 4,
        "gain": 0.0,
        "ess": 3.2,
        "weight_mean": 4 / 3,
    }
    assert {name: getattr(found, name) for name in expected} == pytest.approx(expected, abs=1e-9)
    assert (found.n, found.clipped, found.weight_max) == (4, 0, None)


def test_a_known_floor_cuts_weights_and_says_how_many() -> None:
    found = evaluate(FOUR, floor=0.8)

    assert (found.clipped, found.weight_max) == (2, 1.25)
    # Weights 2/3, 2/3, 5/4, 5/4.
    assert found.ips == pytest.approx((2 / 3 + 5 / 2) / 4, abs=1e-9)
    assert found.snips == pytest.approx((2 / 3 + 5 / 2) / (4 / 3 + 5 / 2), abs=1e-9)


def test_outcome_means_are_per_segment_where_segments_are_given() -> None:
    by_segment = replace(FOUR, segments=np.array([0, 1, 0, 1]))

    found = evaluate(by_segment)

    # Each decision is all that is known of its arm in its segment: nothing is left to correct.
    assert found.dr == pytest.approx((1.0 + 0.5 + 1.0 + 0.5) / 4, abs=1e-9)


def test_an_arm_without_rewards_in_a_segment_is_expected_to_do_as_elsewhere() -> None:
    lopsided = replace(FOUR, segments=np.array([0, 1, 0, 0]))

    found = evaluate(lopsided)

    # Segment 1 saw arm 0 once, with 0; arm 1 earned 1 elsewhere.
    assert found.dr == pytest.approx((1.0 + 0.5 + 1.0 + 1.0) / 4, abs=1e-9)


def test_decisions_of_a_unit_count_as_one() -> None:
    once = evaluate(FOUR)
    thrice = Log(
        np.repeat(FOUR.arms, 3),
        np.repeat(FOUR.propensity, 3),
        np.repeat(FOUR.target, 3),
        np.repeat(FOUR.reward, 3),
        everywhere=Everywhere(np.array([[0.5, 0.5]]), np.zeros(12, np.int64)),
        units=np.repeat(np.array([9, 4, 7, 2]), 3),
    )

    found = evaluate(thrice)

    for name in ("ips", "ips_se", "snips", "snips_se", "dr", "dr_se", "gain_se", "ess"):
        assert getattr(found, name) == pytest.approx(getattr(once, name), abs=1e-9), name


def test_thin_logs_are_refused_with_their_numbers() -> None:
    few = evaluate(FOUR)

    assert few.refused
    assert few.reason == (
        "the log's 4 decisions say as much about this policy as 3.2 of its own would (effective sample size); "
        "at least 200 are needed"
    )
    assert few.snips is not None


@pytest.mark.parametrize(("count", "refused"), [(199, True), (200, False)])
def test_200_decisions_of_its_own_are_enough(count: int, refused: bool) -> None:
    own = log([0] * count, [0.5] * count, [0.5] * count, [1.0] * count)

    assert evaluate(own).ess == pytest.approx(count)
    assert evaluate(own).refused is refused


def test_a_policy_that_wants_what_the_log_never_chose_is_refused() -> None:
    enough = log([0] * 1000, [0.5] * 1000, [0.5] * 1000, [1.0] * 1000)

    found = evaluate(enough, unsupported=0.25)

    assert found.refused
    assert found.reason.startswith("25.0% of this policy's choices are of arms that had no chance")
    assert not evaluate(enough, unsupported=0.009).refused


def test_an_empty_log_says_nothing() -> None:
    found = evaluate(log([], [], [], []))

    assert (found.n, found.ess, found.ips, found.snips, found.dr, found.gain) == (0, 0.0, None, None, None, None)
    assert found.reason == "no decision with a known reward is in the log"


def test_one_decision_has_no_spread() -> None:
    found = evaluate(log([0], [0.5], [1.0], [1.0], [1.0]))

    assert (found.ips, found.ips_se, found.snips, found.dr, found.dr_se) == (2.0, None, 1.0, 1.0, None)


def test_a_policy_that_would_have_chosen_nothing_of_the_log_has_no_ratio() -> None:
    found = evaluate(log([0, 0], [0.5, 0.5], [0.0, 0.0], [1.0, 0.0]))

    assert (found.ips, found.snips, found.snips_se, found.ess) == (0.0, None, None, 0.0)
    assert found.refused


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"propensity": np.array([0.0, 0.5, 0.5, 0.5])}, "propensity of a decision"),
        ({"propensity": np.array([1.1, 0.5, 0.5, 0.5])}, "propensity of a decision"),
        ({"propensity": np.array([math.nan, 0.5, 0.5, 0.5])}, "propensity of a decision"),
        ({"target": np.array([-0.1, 0.5, 0.5, 0.5])}, "target propensity"),
        ({"target": np.array([math.nan, 0.5, 0.5, 0.5])}, "target propensity"),
        ({"reward": np.array([math.nan, 0.5, 0.5, 0.5])}, "reward"),
        ({"reward": np.array([-math.inf, 0.5, 0.5, 0.5])}, "reward"),
        ({"reward": np.zeros(3)}, "equally long"),
        ({"units": np.zeros(3, np.int64)}, "equally long"),
    ],
)
def test_what_is_no_log_is_refused(changed: dict[str, Floats], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(FOUR, **changed)  # type: ignore[arg-type]  # any of its fields


@pytest.mark.parametrize("floor", [0.0, -1.0, 1.5, math.nan])
def test_a_floor_that_is_no_probability_is_refused(floor: float) -> None:
    with pytest.raises(ValueError, match="floor must be"):
        evaluate(FOUR, floor=floor)


Lines = st.lists(
    st.tuples(st.integers(0, 3), st.floats(0.001, 1.0), st.floats(0.0, 1.0), st.floats(-100.0, 100.0)),
    min_size=2,
    max_size=60,
)


def of(lines: list[tuple[int, float, float, float]]) -> Log:
    arms, propensity, target, reward = (list(column) for column in zip(*lines, strict=True))
    return log(arms, propensity, target, reward, [0.1, 0.2, 0.3, 0.4])


@given(Lines)
def test_replaying_the_logging_policy_gives_the_plain_mean(lines: list[tuple[int, float, float, float]]) -> None:
    logged = of([(arm, propensity, propensity, reward) for arm, propensity, _, reward in lines])

    found = evaluate(logged)

    assert found.ips == found.snips == found.mean == pytest.approx(np.mean(logged.reward), abs=1e-12)
    assert found.ess == pytest.approx(len(lines))


@given(Lines, st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_the_order_of_decisions_changes_nothing(lines: list[tuple[int, float, float, float]], rng: object) -> None:
    shuffled = list(lines)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis's Random

    assert numbers(evaluate(of(shuffled))) == pytest.approx(numbers(evaluate(of(lines))), rel=1e-9, abs=1e-9)


@given(Lines, st.floats(0.01, 100.0), st.floats(-50.0, 50.0))
@settings(max_examples=50)
def test_another_unit_of_reward_scales_the_estimates_and_nothing_else(
    lines: list[tuple[int, float, float, float]], scale: float, shift: float
) -> None:
    before = evaluate(of(lines))
    after = evaluate(of([(arm, p, target, scale * reward + shift) for arm, p, target, reward in lines]))

    assert after.ess == before.ess
    if before.snips is not None and after.snips is not None:
        # Snips follows a shift too, ips does not: its weights need not sum to n.
        assert after.snips == pytest.approx(scale * before.snips + shift, rel=1e-6, abs=1e-6)


def numbers(found: Estimate) -> list[float]:
    return [value for name in ("ips", "snips", "snips_se", "dr", "ess") if (value := getattr(found, name)) is not None]


RATES = np.array([0.1, 0.3, 0.2])
TARGET = np.array([0.2, 0.3, 0.5])


def simulated(rng: np.random.Generator, count: int) -> Log:
    """Decisions of a policy that changes its shares as the world's level does: pooled means would be far off."""
    early = np.arange(count) < count // 2
    shares = np.where(early[:, None], [0.6, 0.1, 0.3], [0.05, 0.85, 0.1])
    level = np.where(early, 0.5, 1.5)
    arms = (rng.random(count)[:, None] > shares.cumsum(1)).sum(1).clip(0, 2)
    reward = (rng.random(count) < RATES[arms] * level).astype(np.float64)
    everywhere = Everywhere(TARGET[None, :], np.zeros(count, np.int64))
    return Log(arms, shares[np.arange(count), arms], TARGET[arms], reward, everywhere)


def test_estimates_are_right_and_so_are_their_standard_errors() -> None:
    rng = np.random.default_rng(20)
    runs, truth = 400, float(TARGET @ RATES)
    estimates = [evaluate(simulated(rng, 2_000)) for _ in range(runs)]

    for name in ("ips", "snips", "dr"):
        values = np.array([getattr(one, name) for one in estimates])
        claimed = np.array([getattr(one, f"{name}_se") for one in estimates])
        # A ratio's own bias is of the order of 1/n, five in ten thousand here.
        assert abs(values.mean() - truth) < 4 * values.std() / math.sqrt(runs) + 5e-4, name
        # The standard deviation of 400 runs is known within 1/√800, four of which are 14 %.
        assert claimed.mean() == pytest.approx(values.std(), rel=4 / math.sqrt(2 * runs)), name
        covered = (np.abs(values - truth) < 1.96 * claimed).mean()
        assert covered > 0.95 - 4 * math.sqrt(0.05 * 0.95 / runs), name


def test_the_gain_over_what_was_earned_is_right_and_so_is_its_standard_error() -> None:
    rng = np.random.default_rng(21)
    shares = np.array([0.5, 0.3, 0.2])
    gains, claimed = [], []
    for _ in range(400):
        arms = rng.choice(3, 1_000, p=shares)
        reward = (rng.random(1_000) < RATES[arms]).astype(np.float64)
        everywhere = Everywhere(TARGET[None, :], np.zeros(1_000, np.int64))
        found = evaluate(Log(arms, shares[arms], TARGET[arms], reward, everywhere))
        assert found.gain is not None
        assert found.gain_se is not None
        gains.append(found.gain)
        claimed.append(found.gain_se)

    assert np.mean(gains) == pytest.approx(float((TARGET - shares) @ RATES), abs=4 * float(np.std(gains)) / 20)
    # What was earned varies with the arms that were drawn too, and that is part of it.
    assert np.mean(claimed) == pytest.approx(np.std(gains), rel=4 / math.sqrt(800))


def test_repeated_decisions_of_units_need_their_units() -> None:
    rng = np.random.default_rng(22)
    alone, together = [], []
    values = []
    for _ in range(300):
        unit_arm = (rng.random(200) < 0.5).astype(np.int64)
        unit_rate = np.clip(RATES[unit_arm] + rng.normal(0, 0.1, 200), 0, 1)
        arms, units = np.repeat(unit_arm, 10), np.repeat(np.arange(200), 10)
        reward = (rng.random(2_000) < np.repeat(unit_rate, 10)).astype(np.float64)
        target = np.array([0.1, 0.9])
        made = Log(arms, np.full(2_000, 0.5), target[arms], reward)
        alone.append(evaluate(made).snips_se)
        together.append(evaluate(replace(made, units=units)).snips_se)
        values.append(evaluate(made).snips)

    spread = float(np.std([value for value in values if value is not None]))
    assert np.mean([one for one in together if one]) == pytest.approx(spread, rel=4 / math.sqrt(600))
    assert np.mean([one for one in alone if one]) < 0.9 * spread


def test_integers_of_any_size_name_units() -> None:
    units: Int64s = np.array([2**62, 2**62, -5, 2**62], np.int64)

    assert evaluate(replace(FOUR, units=units)).ess == pytest.approx((16 / 3) ** 2 / ((10 / 3) ** 2 + 4))

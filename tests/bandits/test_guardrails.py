"""A sick arm is known soon, a healthy one is left alone however often one looks."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from bandits.alarm import BAR_LOG
from bandits.guardrails import Guard, guarded, log_evidence, probe_after_s


def guard(events: int, trials: int, share_max: float = 0.01) -> Guard:
    return Guard("error_ratio", "v2", events, trials, share_max)


@pytest.mark.parametrize(("events", "trials", "share_max"), [(0, 5, 0.1), (3, 20, 0.1), (1, 30, 0.2), (9, 9, 0.5)])
def test_evidence_is_the_mixture_over_the_likeliest_rate_within_the_bound(
    events: int, trials: int, share_max: float
) -> None:
    def likelihood(rate: float) -> float:
        return rate**events * (1 - rate) ** (trials - events)

    # The substitution rate = sin^2 takes the poles out of the prior.
    mixed, _ = quad(lambda angle: likelihood(math.sin(angle) ** 2) * 2 / math.pi, 0, math.pi / 2)
    likeliest = max(likelihood(rate) for rate in np.linspace(0.0, share_max, 100_001))

    assert log_evidence(events, trials, share_max) == pytest.approx(math.log(mixed / likeliest), abs=1e-6)


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.2])
def test_evidence_is_expected_to_be_at_most_one_at_every_rate_within_the_bound(rate: float) -> None:
    for trials in range(1, 12):
        expected = sum(
            math.prod(rate if failed else 1 - rate for failed in calls)
            * math.exp(log_evidence(sum(calls), trials, share_max=0.2))
            for calls in product((0, 1), repeat=trials)
        )

        assert expected <= 1.0 + 1e-9, trials


def test_healthy_arm_at_its_bound_is_not_quarantined_by_looking_often() -> None:
    rng = np.random.default_rng(1)
    rang = 0
    for _ in range(100):
        failed = np.cumsum(rng.binomial(20, 0.01, 400))
        rang += any(guarded(guard(int(x), 20 * n)).is_ringing for n, x in enumerate(failed, 1))

    # The bar allows one in 1,000; three of 100 would be seen with probability 1.5e-4.
    assert rang <= 2


def test_arm_at_five_times_its_bound_is_found_within_a_thousand_calls() -> None:
    rng = np.random.default_rng(2)

    found = [guarded(guard(int(rng.binomial(1000, 0.05)), 1000)).is_ringing for _ in range(50)]

    assert sum(found) >= 48


@pytest.mark.parametrize(("events", "trials"), [(0, 0), (0, 10**12), (10**4, 10**6), (10**10, 10**12), (1, 1)])
def test_share_within_the_bound_or_too_little_of_it_never_rings(events: int, trials: int) -> None:
    alarm = guarded(guard(events, trials))

    assert not alarm.is_ringing
    assert math.isfinite(alarm.log_e)


def test_ringing_guardrail_says_of_which_arm_and_how_often() -> None:
    alarm = guarded(guard(40, 1000))

    assert (alarm.name, alarm.arm, alarm.is_ringing, alarm.bar_log) == ("error_ratio", "v2", True, BAR_LOG)
    assert alarm.words == "error_ratio of arm v2: 40 of 1000 calls, 4.000%, 1.000% may be"
    assert guarded(guard(10**12, 10**12)).log_e == 1000.0


@pytest.mark.parametrize(("events", "trials", "share_max"), [(-1, 5, 0.1), (6, 5, 0.1), (1, 5, 0.0), (1, 5, 1.0)])
def test_impossible_guardrail_is_refused(events: int, trials: int, share_max: float) -> None:
    with pytest.raises(ValueError, match="error_ratio of v2"):
        guard(events, trials, share_max)


def test_probes_rest_twice_as_long_after_each_failure_up_to_an_hour() -> None:
    assert [probe_after_s(failed) for failed in range(9)] == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]


@given(st.integers(0, 10**9))
def test_probe_always_comes_within_the_hour(failed: int) -> None:
    assert 30.0 <= probe_after_s(failed) <= 3600.0


def test_fewer_than_no_failed_probes_are_refused() -> None:
    with pytest.raises(ValueError, match="got -1"):
        probe_after_s(-1)

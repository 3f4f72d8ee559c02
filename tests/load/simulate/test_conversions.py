"""The production learner on conversions alone: late rewards are waited for, and nothing ends on a guess."""

from typing import Any

import pytest

from bandits.arrivals import LawCache
from load.simulate import production
from load.simulate.policy import Cells, Policy, Turn
from load.simulate.production import Production
from load.simulate.run import run
from load.simulate.world import World
from router.config.document import validate

# The reference's world of unequal delay (bandit-science.md, Part II §6) made ten times as fast.
WINDOW = 20_000
LATE = {"rate": 0.13, "delay_mean": 5_000}


def world(*arms: dict[str, Any], **more: Any) -> World:
    fixed = {"requests": 40_000, "refresh": 500, "block": 1000, "feedback": "conversions", "window": WINDOW}
    return validate(World, fixed | {"arms": list(arms) or [{"rate": 0.10, "delay_mean": 100}, LATE]} | more)


def test_the_slow_arm_wins_if_it_is_better() -> None:
    found = [run(world(), 1, number) for number in range(3)]

    # Naive, the slow arm never gets more than a fourth (tests/bandits/test_delay_simulated.py).
    assert all(one.weights[1] > 0.9 for one in found)


def test_pooled_counts_that_take_silence_for_failure_lose_the_slow_arm() -> None:
    assert run(world(policy="pooled"), 1).regret > 4 * max(run(world(), 1, number).regret for number in range(3))


def test_nothing_ends_before_the_window_has_passed_over_enough_blocks() -> None:
    clear = [{"rate": 0.3, "delay_mean": 100}, {"rate": 0.5, "delay_mean": 100}]

    explicit = run(world(*clear, feedback="explicit", stop={}), 1)
    found = run(world(*clear, stop={}), 1)

    assert explicit.stopped_at is not None
    assert explicit.stopped_at < WINDOW
    assert found.stopped_at is not None
    # Five blocks of 1,000 that are older than the window; blocks cut short by moving weights may be shorter.
    assert WINDOW + 1_000 <= found.stopped_at <= WINDOW + 6_000
    assert found.leader == 1


def test_laws_are_learned_now_and_then_and_shown() -> None:
    shown: list[Any] = []

    def watch(now: int, cells: Cells, policy: Policy, turn: Turn) -> None:
        assert isinstance(policy, Production)
        if policy.numbers is not None:
            shown.append([arm.delay for arm in policy.numbers.arms])

    run(world(), 1, watch=watch)

    fast, late = shown[-1]
    # Drawn to the mean of all arms like five rewards, of the few hundred it has.
    assert 100.0 * 0.8 < fast.mean_s < 100.0 * 1.2 + 5 * 4_627.0 / 300
    # An exponential of 5,000 cut off at 20,000 has a mean of 4,627.
    assert late.mean_s == pytest.approx(4_627.0, rel=0.2)
    assert {fast.law, late.law} == {"exponential"}
    assert 0.8 < late.arrived < 1.0
    assert fast.arrived > 0.99


def test_without_the_learners_law_it_is_another_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    class Deaf(LawCache):
        def law_of(self, *_: Any, **__: Any) -> Any:
            return None

    monkeypatch.setattr(production, "LawCache", Deaf)

    # Without a law only what is older than the window is believed: an equal split until then.
    assert run(world(requests=20_000), 1).shares == pytest.approx([0.5, 0.5], abs=0.02)

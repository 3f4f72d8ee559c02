"""The demo's experiment and the reference's demo cases, simulated: sums, assessment and life together."""

import math
from dataclasses import dataclass

import numpy as np
import pytest

from bandits.assess import ArmFacts, Question, assess
from bandits.evidence import GridCache
from bandits.experiment import age_s, begin, receives, step, underway
from bandits.life import (
    ArmIdle,
    ArmWarmed,
    Assessed,
    AwaitIdle,
    EndRules,
    Life,
    Start,
    Tick,
    Try,
    Unload,
    Unloaded,
    Warm,
)
from bandits.rules import Objective, Policy, StopRule
from bandits.sums import STEPS, Sums
from bandits.weights import PARTS, to_parts

V = 1e-6


@dataclass(frozen=True)
class World:
    """Arms with constant rates and costs (shares of the value), requests per refresh, times in seconds."""

    rates: tuple[float, ...]
    costs: tuple[float, ...]
    requests: int
    refresh_s: float
    block_s: float = 2.0
    min_age_s: float = 10.0


@dataclass(frozen=True)
class End:
    """What came out: the life, and how many learned requests it took."""

    life: Life
    requests: int


def run(world: World, seed: int, horizon_s: float = 120.0) -> End:
    """Play the world second by second, rewards at once, model servers that always obey."""
    rng = np.random.default_rng(seed)
    arms = len(world.rates)
    life = begin(tuple(f"v{n + 1}" for n in range(arms)), 0, EndRules(grace_s=0.0))
    life = serve(step(life, Start(0.0)).life, 0.0)
    decided = np.zeros((0, arms), np.int64)
    right = np.zeros((0, arms), np.int64)
    weights, now, cache = np.full(arms, 1 / arms), 0.0, GridCache()
    while now < horizon_s and life.phase in ("running", "confirming"):
        block = int(now // world.block_s)
        if block == len(decided):
            decided, right = (np.vstack([table, np.zeros(arms, np.int64)]) for table in (decided, right))
        sent = rng.multinomial(world.requests, np.array(to_parts(weights)) / PARTS)
        decided[block] += sent
        right[block] += rng.binomial(sent, world.rates)
        now += world.refresh_s
        question = Question(
            arms=tuple(
                ArmFacts(arm.name, cost * V, is_live)
                for arm, cost, is_live in zip(life.arms, world.costs, receives(life), strict=True)
            ),
            control=0,
            sums=Sums(np.arange(len(decided)), decided, decided, right * STEPS, right * STEPS**2),
            open_block=block,
            age_s=age_s(life, now),
            objective=Objective(V, window_s=10.0),
            policy=Policy(block_s=world.block_s),
            stop=StopRule(cycle_s=None, min_age_s=world.min_age_s),
            blocks_closed=block,
            open_share=min(1.0, now / world.block_s - block),
        )
        found = assess(question, cache)
        weights = found.weights
        life = step(
            life, Assessed(now, found.leader, tuple(weights.tolist()), found.is_drained, found.is_over, found.retire)
        ).life
        life = serve(life, now)
    return End(life, int(decided.sum()))


def serve(life: Life, now: float) -> Life:
    """Do what is under way, as a prompt gateway and model server would."""
    for _ in range(3):
        life = step(life, Tick(now)).life
        for command in underway(life):
            match command:
                case AwaitIdle(arm):
                    life = step(life, ArmIdle(now, arm)).life
                case Unload(arm):
                    life = step(life, Unloaded(now, arm)).life
                case Warm(arm) | Try(arm):
                    life = step(life, ArmWarmed(now, arm)).life
    return life


DIGITS = World(rates=(0.92, 0.975, 0.98), costs=(0.016, 0.017, 0.071), requests=300, refresh_s=1.0)


def test_the_demo_ends_on_the_right_arm_in_twenty_of_twenty_seeds() -> None:
    ends = [run(DIGITS, seed) for seed in range(20)]

    assert [end.life.phase for end in ends] == ["concluded"] * 20
    assert [end.life.winner for end in ends] == [1] * 20
    assert all([arm.state for arm in end.life.arms] == ["retired", "eligible", "retired"] for end in ends)
    # Measured: 3,300 (11 s; 10 s is its least age).
    assert float(np.median([end.requests for end in ends])) <= 6000


# Part I §C: .83/.96/.98 at 1,000 requests/s, refresh 250 ms. The reference ends at 41 s at the latest, the bar is 60 s.
CASES = {
    "equal costs": (0.0, 0.0, 0.0),
    "best is in the middle": (0.01, 0.05, 0.20),
    "the dear one just wins": (0.02, 0.10, 0.11),
    "the cheap one just wins": (0.01, 0.15, 0.30),
    "the middle one wins": (0.10, 0.10, 0.16),
}


@pytest.mark.parametrize("name", CASES)
def test_the_reference_cases_end_in_a_minute_on_the_right_arm(name: str) -> None:
    rates, costs = (0.83, 0.96, 0.98), CASES[name]
    best = int(np.argmax(np.array(rates) - costs))

    for seed in range(4):
        end = run(World(rates, costs, requests=250, refresh_s=0.25), seed)

        assert (end.life.winner, end.life.phase) == (best, "concluded")
        assert end.requests <= 60_000


def test_equal_arms_may_end_on_either_but_never_claim_what_is_false() -> None:
    # Both claims are true here (nobody is better by the margin): what counts is that it ends and keeps one arm.
    end = run(World((0.97, 0.97), (0.01, 0.01), requests=1000, refresh_s=1.0), 3)

    assert end.life.winner in (0, 1)


def test_arms_one_percent_and_a_bit_apart_are_hardly_ever_confused() -> None:
    # .960 against .975: 1.6 % apart at a margin of 1 %. 40 runs, at most alpha of them wrong (and 4 standard errors).
    world = World((0.975, 0.96), (0.0, 0.0), requests=250, refresh_s=1.0, min_age_s=0.0)
    wrong = [run(world, seed, horizon_s=40.0).life.winner == 1 for seed in range(40)]

    assert sum(wrong) / 40 <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / 40)

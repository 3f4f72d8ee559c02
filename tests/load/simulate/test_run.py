"""Runs of small worlds: the production learner learns in them, and what is counted is what happened."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from bandits.assess import assess
from bandits.question import Assessment, Question
from load.simulate import production
from load.simulate.policy import Cells, Policy, Turn
from load.simulate.pool import Task, results
from load.simulate.run import Result, run
from load.simulate.world import World
from router.config.document import validate
from router.control import learner

STEPS = 1 << 16


def world(*rates: float, **more: Any) -> World:
    arms = [{"rate": rate} for rate in rates or (0.2, 0.3)]
    return validate(World, {"requests": 20_000, "refresh": 500, "block": 1000, "arms": arms} | more)


def test_the_learner_finds_the_better_arm_and_ends() -> None:
    found = run(world(stop={}), 1)

    assert (found.leader, found.best) == (1, (1,))
    assert found.stopped_at is not None
    assert found.stopped_at < 20_000
    assert found.retired == ((0, found.stopped_at),)
    assert found.weights.tolist() == [0.0, 1.0]
    assert found.shares[1] > 0.8


def test_without_stop_it_never_ends_and_keeps_its_floor() -> None:
    found = run(world(floor=0.03), 1)

    assert (found.stopped_at, found.retired) == (None, ())
    assert found.weights.tolist() == pytest.approx([0.03, 0.97])


def test_a_stub_in_the_place_of_the_learner_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def stub(*_: object, **__: object) -> Any:
        raise NotImplementedError("a stub")

    monkeypatch.setattr(production, "refresh", stub)

    with pytest.raises(NotImplementedError):
        run(world(), 1)


def test_a_stub_in_the_place_of_the_assessment_changes_what_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def backwards(question: Question, *memory: Any) -> Assessment:
        found = assess(question, *memory)
        found.weights[:] = found.weights[::-1]
        return found

    before = run(world(), 1)
    monkeypatch.setattr(learner, "assess", backwards)
    after = run(world(), 1)

    assert before.shares[1] > 0.8
    assert after.shares[0] > 0.8
    assert after.regret > 4 * before.regret


def test_regret_of_an_even_split_is_half_the_difference() -> None:
    found = run(world(policy="uniform", value_usd=2.0, arms=[{"rate": 0.2}, {"rate": 0.4, "cost_usd": 0.1}]), 3)

    # Values .2 and .35 in rewards: .15 lost for each request that went to the first.
    assert found.regret == pytest.approx(0.15 * 20_000 * found.shares[0])
    assert found.shares[0] == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(20_000))


def test_regret_follows_the_best_arm_of_each_moment() -> None:
    changing = world(policy="uniform", changes=[{"at": 5_250, "arm": 0, "rate": 0.5}])
    found = run(changing, 3)

    # .1 for half of the first 5,250, and .2 for half of the rest.
    assert found.regret == pytest.approx(0.05 * 5_250 + 0.1 * 14_750, rel=0.03)
    assert found.best == (0,)


def test_equal_arms_cost_nothing() -> None:
    found = run(world(0.3, 0.3, stop={}), 3)

    assert (found.regret, found.best) == (0.0, (0, 1))


def sums_of(of: World, seed: int = 5) -> tuple[dict[str, int], list[Turn]]:
    """All that is counted at the end, and the turns on the way."""
    turns: list[Turn] = []
    last: list[Cells] = []

    def watch(_: int, cells: Cells, __: Policy, turn: Turn) -> None:
        turns.append(turn)
        last[:] = [cells]

    run(of, seed, watch=watch)
    total: dict[str, int] = {}
    for cell in last[0].values():
        for name, number in cell.items():
            total[name] = total.get(name, 0) + number
    return total, turns


def test_every_request_and_every_reward_is_counted_once() -> None:
    total, turns = sums_of(world())

    assert (total["decisions"], total["rewards"]) == (20_000, 20_000)
    assert total["reward_q2"] == total["reward_q"] * STEPS
    assert len(turns) == 40
    assert all(sum(turn.parts) == 2**31 for turn in turns)
    # Twenty blocks of 1,000, and more where weights moved; the last turn opens one that nobody is served in.
    assert turns[-1].block > 20


def test_delayed_rewards_are_counted_in_the_block_of_their_decision_when_they_arrive() -> None:
    arms = [{"rate": 0.2, "delay_mean": 2_000.0}, {"rate": 0.3}]
    total, _ = sums_of(world(arms=arms, policy="uniform"))

    # Of arm 0's 10,000 those still under way at the end are those of the last 2,000 or so.
    waiting = 20_000 - total["rewards"]
    assert waiting == pytest.approx(0.5 * 2_000, rel=0.15)
    # An exponential that has to be over in time is shorter than its mean.
    assert 1_400 < total["delay_ms"] / 1000 / (10_000 - waiting) < 2_000


def test_a_refresh_that_does_not_fit_is_cut_off() -> None:
    total, turns = sums_of(world(requests=1_234))

    assert (total["decisions"], len(turns)) == (1_234, 3)


def test_requests_after_the_end_are_not_learned_from() -> None:
    total, _ = sums_of(world(stop={}))

    assert total["decisions"] + total["unlearned_decisions"] == 20_000
    assert total["rewards"] == total["decisions"]


def test_a_price_reaches_the_weights_at_the_next_refresh() -> None:
    arms = [{"rate": 0.5, "cost_usd": 0.1}, {"rate": 0.5, "cost_usd": 0.2}]
    of = world(arms=arms, changes=[{"at": 10_000, "arm": 0, "cost_usd": 0.4}])
    path = run(of, 2, has_path=True).path

    before, after = path[path[:, 0] == 9_500][0], path[path[:, 0] == 10_000][0]
    assert before[1] > 0.95
    assert after[2] > 0.95


def results_of(tasks: Sequence[Task]) -> list[Result]:
    found = dict(results(tasks))
    return [found[place] for place in range(len(tasks))]


def test_runs_in_other_processes_are_the_same_and_differ_from_each_other() -> None:
    of = world(requests=3_000)
    alone = [run(of, 7, number) for number in range(3)]

    together = results_of([Task(of, 7, number) for number in range(3)])

    assert [one.regret for one in together] == [one.regret for one in alone]
    assert len({one.regret for one in together}) == 3
    assert run(of, 8, 0).regret != alone[0].regret


def test_continuous_rewards_are_learned_from() -> None:
    reward = {"law": "lognormal", "spread": 1.0, "range": [0, 100]}
    found = run(world(1.0, 1.5, reward=reward, stop={}), 2)

    assert (found.leader, found.stopped_at is not None) == (1, True)


def test_many_arms_may_be_retired_one_by_one() -> None:
    found = run(world(0.3, 0.3, 0.35, 0.6, 0.65, stop={}), 2)

    assert found.leader == 4
    assert sorted(arm for arm, _ in found.retired) == [0, 1, 2, 3]
    assert np.diff([at for _, at in found.retired]).min() >= 0

"""Arms of a reward_group: one model, several prices."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bandits.assess import ArmFacts, Question, assess
from bandits.experiment import begin, step, underway
from bandits.life import ArmIdle, ArmWarmed, Assessed, EndRules, Life, Start, Tick, Unload, Unloaded
from bandits.rules import Objective, Policy, StopRule
from bandits.sums import STEPS, Sums

V = 1e-6


def question(trials: Any, wins: Any, arms: tuple[ArmFacts, ...], **changes: Any) -> Question:
    n, s = np.array(trials, np.int64), np.array(wins, np.int64)
    given: dict[str, Any] = {
        "arms": arms,
        "control": 0,
        "sums": Sums(np.arange(len(n)), n, n, s * STEPS, s * STEPS**2),
        "open_block": len(n),
        "age_s": 2.0 * len(n),
        "objective": Objective(V, window_s=10.0),
        "policy": Policy(block_s=2.0),
        "stop": StopRule(cycle_s=None),
        "blocks_closed": len(n),
    }
    return Question(**(given | changes))


def arms(*costs: float, groups: tuple[str | None, ...] = (None, "two", "two")) -> tuple[ArmFacts, ...]:
    return tuple(
        ArmFacts(f"v{number}", cost * V, group=group)
        for number, (cost, group) in enumerate(zip(costs, groups, strict=True))
    )


# v0 earns .90; v1 and v2 are the same model, of which v1 happened to do worse.
TRIALS, WINS = [[400, 200, 200]] * 10, [[360, 190, 196]] * 10


def test_copies_share_their_statistics() -> None:
    found = assess(question(TRIALS, WINS, arms(0.0, 0.0, 0.1)))
    pooled = [[400, 400]] * 10, [[360, 386]] * 10
    alone = assess(question(*pooled, arms(0.0, 0.0, groups=(None, None))))

    assert found.rate == pytest.approx([alone.rate[0], alone.rate[1], alone.rate[1]])
    assert found.p_best == pytest.approx([*alone.p_best, 0.0])
    assert found.evidence_bar_log == alone.evidence_bar_log
    assert found.evidence_log[0] == pytest.approx(alone.evidence_log[0])
    assert found.value_usd == pytest.approx([alone.value_usd[0], alone.value_usd[1], alone.value_usd[1] - 0.1 * V])


def test_dearer_copy_of_the_winner_is_parked() -> None:
    found = assess(question(TRIALS, WINS, arms(0.0, 0.0, 0.1)))

    assert (found.leader, found.is_over, found.retire, found.park) == (1, True, (0,), (2,))
    # Between copies costs alone decide.
    assert found.evidence_log[2] == 1000.0


def test_price_decides_between_copies() -> None:
    assert assess(question(TRIALS, WINS, arms(0.0, 0.02, 0.01))).leader == 2


def test_losing_copies_retire_together() -> None:
    # Nothing is over: v3 is not told from v0 yet. Both copies are refuted; only the cheaper could still be worth something.
    groups = (None, "two", "two", None)
    worse = [[360, 172, 172, 361]] * 10
    trials = [[400, 200, 200, 400]] * 10
    found = assess(question(trials, worse, arms(0.0, 0.0, 0.1, 0.0, groups=groups)))
    close = [[360, 178, 178, 361]] * 10
    waiting = assess(question(trials, close, arms(0.0, 0.0, 0.5, 0.0, groups=groups)))

    assert (found.is_over, found.retire) == (False, (1, 2))
    assert waiting.refuted[2]
    assert (waiting.refuted[1], waiting.retire) == (np.False_, ())


def test_sprint_asks_only_the_cheapest_copy() -> None:
    even, wins = [[900, 450, 450]] * 5, [[882, 440, 440]] * 5
    found = assess(question(even, wins, arms(0.0, 0.0, 0.0), stop=StopRule(cycle_s=None, margin=0.002)))
    sprinting = sorted(found.weights)

    assert found.is_drained
    assert sprinting == pytest.approx([0.01, 0.97 * 0.4 + 0.01, 0.97 * 0.6 + 0.01])


def test_copies_may_all_wait_for_outcomes_of_one() -> None:
    # The copy never got any traffic: its model has enough outcomes all the same.
    found = assess(question([[400, 400, 0]] * 10, [[360, 386, 0]] * 10, arms(0.0, 0.0, 0.1)))

    assert found.is_ready


def running() -> Life:
    life = step(begin(("v0", "v1", "v2"), 0, EndRules(grace_s=5.0)), Start(0.0)).life
    for arm in range(3):
        life = step(life, ArmWarmed(1.0, arm)).life
    return life


def test_parked_copy_is_drained_and_stays_loaded() -> None:
    end = Assessed(2.0, 1, (0.1, 0.8, 0.1), is_drained=True, is_over=True, retire=(0,), park=(2,))
    life = step(running(), end).life
    assert [arm.state for arm in life.arms] == ["draining", "eligible", "draining"]
    assert life.arms[2].reason == "a dearer copy of the winner"

    for event in (ArmIdle(3.0, 0), ArmIdle(3.0, 2), Tick(60.0)):
        life = step(life, event).life
    assert underway(life) == (Unload(0),)
    life = step(life, Unloaded(61.0, 0)).life

    assert [arm.state for arm in life.arms] == ["retired", "eligible", "standby"]
    assert (life.phase, life.winner) == ("concluded", 1)
    assert underway(step(life, Tick(1e9)).life) == ()


def test_experiment_without_a_longest_duration_never_ends_by_itself() -> None:
    life = step(begin(("v0", "v1"), 0, EndRules(max_duration_s=None)), Start(0.0)).life
    for arm in range(2):
        life = step(life, ArmWarmed(1.0, arm)).life

    assert step(life, Tick(1e12)).life.phase == "running"


@pytest.mark.parametrize("kind", ["ratio", "cheapest_within_margin"])
def test_every_kind_of_objective_can_end(kind: Any) -> None:
    # Reward per dollar: .97 / .10 beats .90 / .10 and .99 / .20; good enough and cheapest is v1 too.
    trials, wins = [[2000, 2000, 2000]] * 10, [[1800, 1940, 1980]] * 10
    free = (None, None, None)
    asked = question(trials, wins, arms(0.1, 0.1, 0.2, groups=free), stop=StopRule(cycle_s=None, margin=0.05))
    found = assess(replace(asked, objective=Objective(V, kind=kind, window_s=10.0)))

    assert (found.leader, found.is_over, found.retire) == (1, True, (0, 2))
    assert found.certified_gap <= {"ratio": 0.0, "cheapest_within_margin": 0.05}[kind]


def test_cheapest_is_not_over_while_a_cheaper_arm_may_be_good_enough() -> None:
    # v0 is cheaper, and its .93 just at 5 % below .98.
    trials, wins = [[500, 500, 500]] * 10, [[465, 490, 488]] * 10
    asked = question(
        trials,
        wins,
        arms(0.1, 0.2, 0.3, groups=(None, None, None)),
        objective=Objective(V, kind="cheapest_within_margin", window_s=10.0),
        stop=StopRule(cycle_s=None, margin=0.05),
    )
    found = assess(asked)

    assert not found.is_drained
    assert 0.1 < found.p_best[0] < 0.9
    assert assess(replace(asked, stop=replace(asked.stop, margin=0.02))).leader == 1
    assert assess(replace(asked, stop=replace(asked.stop, margin=0.1))).is_over


@pytest.mark.parametrize("mode", ["always_on", "observe"])
def test_modes_without_an_end_never_end(mode: Any) -> None:
    found = assess(question(TRIALS, WINS, arms(0.0, 0.0, 0.1), policy=Policy(block_s=2.0, mode=mode)))

    assert (found.is_drained, found.is_over, found.retire, found.park) == (False, False, (), ())
    assert found.weights[1] == pytest.approx(0.0 if mode == "observe" else 0.98)


def test_always_on_forgets_what_is_older_than_its_memory() -> None:
    # v1 was better until the last five blocks of 2 s.
    trials, wins = [[200, 200, 0]] * 15, [[180, 196, 0]] * 10 + [[180, 140, 0]] * 5
    policy = Policy(block_s=2.0, mode="always_on", memory_s=10.0)
    arms_ = arms(0.0, 0.0, 1.0)
    found = assess(question(trials, wins, arms_, policy=policy))
    long = assess(question(trials, wins, arms_, policy=replace(policy, memory_s=1e6)))

    assert found.leader == 0
    assert found.rate[1] == pytest.approx(0.7, abs=0.02)
    assert long.rate[1] > 0.85
    assert [alarm.arm for alarm in long.drift] == ["v1"]


def test_ids_puts_a_floor_under_everybody() -> None:
    found = assess(question(TRIALS, WINS, arms(0.0, 0.0, 0.1), policy=Policy(block_s=2.0, kind="ids")))

    assert found.weights.sum() == pytest.approx(1.0)
    assert found.weights.min() == pytest.approx(0.01)
    assert found.weights[1] > 0.9


def test_what_a_capped_arm_may_not_have_goes_to_the_second_best() -> None:
    # Without v1 (capped at a half) v2 is best, v0 hardly ever.
    trials, wins = [[400] * 3] * 10, [[340, 392, 376]] * 10
    free = tuple(ArmFacts(f"v{n}", 0.0, max_share=0.5 if n == 1 else 1.0) for n in range(3))
    found = assess(question(trials, wins, free, stop=StopRule(cycle_s=None, min_age_s=1e6)))

    assert found.weights == pytest.approx([0.01, 0.5, 0.49])


def test_alarms_keep_everything_from_ending() -> None:
    found = assess(question(TRIALS, WINS, arms(0.0, 0.0, 0.1), alarms=("rewards of v1 are lost",)))

    assert (found.is_ready, found.is_over, found.retire) == (False, False, ())
    assert found.not_ready == ("alarm: rewards of v1 are lost",)


def test_continuing_is_worth_less_the_more_is_known() -> None:
    few = assess(question(TRIALS[:2], WINS[:2], arms(0.0, 0.08, 0.1), requests_per_day=1e4))
    many = assess(question(TRIALS * 4, WINS * 4, arms(0.0, 0.08, 0.1), requests_per_day=1e4))

    assert few.worth_usd_day > many.worth_usd_day >= 0.0
    assert assess(question(TRIALS, WINS, arms(0.0, 0.08, 0.1))).worth_usd_day == 0.0

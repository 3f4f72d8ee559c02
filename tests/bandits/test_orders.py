"""Orders of operators: obeyed at once where the arm is loaded, else after warming; refused in words, never half-done."""

import pytest

from bandits import operate
from bandits.experiment import begin, mode, receives, step, underway
from bandits.life import (
    Archive,
    ArmFailed,
    ArmIdle,
    ArmWarmed,
    Assessed,
    AwaitIdle,
    Drain,
    EndRules,
    Event,
    Life,
    Note,
    Order,
    Pause,
    Promote,
    Restore,
    Retire,
    Start,
    Tick,
    Unload,
    Unloaded,
    Warm,
)
from bandits.operation import AddArms, DropArm, Operation, Rollback
from bandits.orders import refusal

WEIGHTS = (0.1, 0.8, 0.1)


def play(life: Life, *events: Event) -> Life:
    for event in events:
        life = step(life, event).life
    return life


def states(life: Life) -> list[str]:
    return [arm.state for arm in life.arms]


def running(rules: EndRules | None = None) -> Life:
    life = begin(("v1", "v2", "v3"), 0, rules or EndRules(grace_s=60.0))
    return play(life, Start(0.0, "ops"), ArmWarmed(1.0, 0), ArmWarmed(1.0, 1), ArmWarmed(2.0, 2))


def ended(rules: EndRules | None = None) -> Life:
    """Arm 1 has won at 10 s, and nothing is in flight to the others from 11 s on."""
    over = Assessed(10.0, 1, WEIGHTS, is_drained=True, is_over=True)
    return play(running(rules), over, ArmIdle(11.0, 0), ArmIdle(11.0, 2))


def concluded() -> Life:
    return play(ended(), Tick(71.0), Unloaded(72.0, 0), Unloaded(73.0, 2))


def test_restoring_within_the_grace_needs_no_loading() -> None:
    life, commands, notes = step(ended(), Restore(20.0, 2, "ops"))

    assert states(life) == ["standby", "eligible", "eligible"]
    assert commands == ()
    assert notes == (Note(20.0, "v3", "standby", "eligible", "restored by ops"),)
    assert receives(life) == (False, True, False)
    # The others leave as they would have.
    assert underway(play(life, Tick(71.0))) == (Unload(0),)


@pytest.mark.parametrize("late", [ended(), concluded()], ids=["while it is being unloaded", "when it is unloaded"])
def test_restoring_after_the_grace_loads_and_warms(late: Life) -> None:
    life, commands, _ = step(play(late, Tick(80.0)), Restore(90.0, 2, "ops"))
    assert (states(life)[2], commands) == ("warming", (Warm(2),))

    life = play(life, ArmFailed(91.0, 2, "not on disk"))
    assert (life.arms[2].state, life.arms[2].reason, Warm(2) in underway(life)) == ("warming", "not on disk", True)

    assert states(play(life, ArmWarmed(95.0, 2)))[2] == "eligible"


def test_what_was_said_of_the_unloading_before_a_restore_does_not_undo_it() -> None:
    life = play(ended(), Tick(71.0), Restore(72.0, 2), Unloaded(73.0, 2))

    assert life.arms[2].state == "warming"


def test_drained_arm_of_a_running_experiment_comes_back_before_it_is_idle() -> None:
    life = play(running(), Drain(5.0, 2, "ops"))
    assert (states(life), underway(life)) == (["eligible", "eligible", "draining"], (AwaitIdle(2),))
    assert receives(life) == (True, True, False)

    life = play(life, Restore(6.0, 2))

    assert (states(life), receives(life)) == (["eligible"] * 3, (True, True, True))


# Both paths by which a person takes an arm out, and the ways back that belong to them.
@pytest.mark.parametrize(
    ("out", "back"),
    [
        (Drain(5.0, 2, "ops"), Restore(7.0, 2, "ops")),
        (Retire(5.0, 2, "ops"), Restore(7.0, 2, "ops")),
        (DropArm(5.0, 2, "ops"), AddArms(7.0, ("v3",), "ops")),
    ],
    ids=["drained and restored", "retired and restored", "dropped and added"],
)
@pytest.mark.parametrize("is_idle", [False, True], ids=["while draining", "in standby"])
def test_arm_taken_out_of_quarantine_comes_back_by_warming(out: Operation, back: Operation, is_idle: bool) -> None:
    life = play(running(), ArmFailed(4.0, 2, "answers are wrong"), out)
    life = play(life, *([ArmIdle(6.0, 2)] if is_idle else []), back)

    assert life.arms[2].state == "warming"
    assert Warm(2) in underway(life)
    assert receives(life) == (True, True, False)
    assert states(play(life, ArmFailed(8.0, 2, "answers are wrong")))[2] == "quarantined"
    assert receives(play(life, ArmWarmed(8.0, 2))) == (True, True, True)


def test_arm_promoted_out_of_quarantine_serves_once_it_is_warm() -> None:
    sick = play(running(), ArmFailed(4.0, 2, "answers are wrong"), Drain(5.0, 2), ArmIdle(6.0, 2))
    life = play(sick, Promote(7.0, 2, "ops"))

    assert (life.winner, life.arms[2].state) == (None, "warming")
    assert play(life, ArmWarmed(8.0, 2)).winner == 2


def test_retiring_waits_for_what_is_in_flight_and_not_for_the_grace() -> None:
    life = play(running(), Retire(5.0, 2, "ops"))
    assert underway(life) == (AwaitIdle(2),)

    life, commands, _ = step(life, ArmIdle(6.0, 2))

    assert commands == (Unload(2),)
    assert underway(play(ended(), Retire(12.0, 0))) == (Unload(0),)


def test_arm_taken_out_after_the_end_leaves_when_its_grace_is_over() -> None:
    life = play(ended(), Restore(20.0, 2), Tick(71.0), Unloaded(72.0, 0))
    assert life.phase == "concluded"

    life = play(life, Drain(100.0, 2), ArmIdle(101.0, 2), Tick(160.9))
    assert underway(life) == ()

    assert underway(play(life, Tick(161.0))) == (Unload(2),)


def test_rollback_loads_and_warms_then_routes_then_unloads_what_went_out() -> None:
    life, commands, _ = step(concluded(), Promote(100.0, 0, "ops"))
    assert commands == (Warm(0),)
    assert (life.winner, receives(life)) == (1, (False, True, False))

    life, commands, notes = step(life, ArmWarmed(110.0, 0))
    assert (life.winner, life.outcome, life.phase, mode(life)) == (0, "kept", "draining", "settled")
    assert (receives(life), commands) == ((True, False, False), (AwaitIdle(1),))
    assert Note(110.0, "winner", "v2", "v1", "loaded and warm, as it was promoted") in notes

    life = play(life, ArmIdle(111.0, 1), Tick(171.0))
    assert underway(life) == (Unload(1),)
    life = play(life, Unloaded(172.0, 1))
    assert (life.phase, states(life)) == ("concluded", ["eligible", "retired", "retired"])


def test_rollback_to_an_arm_that_served_before_leaves_the_winner_its_traffic_until_that_arm_is_warm() -> None:
    life, commands, _ = step(concluded(), Rollback(100.0, "ops", arm=2))
    assert commands == (Warm(2),)
    assert (life.winner, receives(life)) == (1, (False, True, False))

    life = play(life, ArmFailed(105.0, 2, "not on disk"))
    assert (life.arms[2].state, life.arms[2].reason, receives(life)) == ("warming", "not on disk", (False, True, False))

    life = play(life, ArmWarmed(110.0, 2), ArmIdle(111.0, 1), Tick(171.0), Unloaded(172.0, 1))
    assert (life.phase, life.winner, life.is_promoted) == ("concluded", 2, True)
    assert states(life) == ["retired", "retired", "eligible"]


def test_rollback_to_an_arm_is_refused_before_the_end_where_the_question_is_open() -> None:
    assert operate.refusal(running(), Rollback(5.0, arm=2)).startswith("the experiment is running: before the end")
    assert operate.refusal(running(), Rollback(5.0)) == ""
    assert operate.refusal(concluded(), Rollback(5.0, arm=1)) == "v2 serves already"


def test_promoting_a_warm_arm_ends_the_experiment_at_once() -> None:
    life = play(running(), Promote(5.0, 2, "ops"))

    assert (life.phase, life.winner, life.outcome) == ("draining", 2, "replaced")
    assert receives(life) == (False, False, True)


def test_promoting_what_is_in_standby_needs_no_loading() -> None:
    life, commands, _ = step(ended(), Promote(20.0, 0))

    assert (life.winner, states(life), commands) == (0, ["eligible", "draining", "standby"], (AwaitIdle(1),))


def test_promoted_arm_serves_where_the_end_is_only_told() -> None:
    told = play(running(EndRules("notify")), Assessed(10.0, 1, WEIGHTS, is_drained=True, is_over=True))
    assert mode(told) == "frozen"

    life = play(told, Promote(20.0, 1, "ops"))

    assert (mode(life), receives(life), states(life)) == ("settled", (False, True, False), ["eligible"] * 3)


def test_promotion_that_fails_to_load_leaves_the_old_winner_serving_and_goes_on() -> None:
    life = play(concluded(), Promote(100.0, 0), ArmFailed(101.0, 0, "bad graph"))

    assert (life.winner, receives(life), life.arms[0].reason) == (1, (False, True, False), "bad graph")
    assert underway(life) == (Warm(0),)


@pytest.mark.parametrize(
    ("life", "order", "words"),
    [
        (running(), Drain(1.0, 0), "v1 is control, and serves whenever no other arm can; promote another arm first"),
        (ended(), Drain(1.0, 1), "v2 serves all traffic; promote another arm first"),
        (ended(), Retire(1.0, 1), "v2 serves all traffic; promote another arm first"),
        (ended(), Promote(1.0, 1), "v2 serves already"),
        (running(), Restore(1.0, 2), "v3 is eligible; it must be draining or standby or retired or quarantined"),
        (concluded(), Drain(1.0, 2), "v3 is retired; it must be warming or eligible or quarantined"),
        (play(concluded(), Promote(1.0, 0)), Promote(2.0, 0), "v1 is being promoted already"),
        (play(running(), Pause(3.0)), Drain(4.0, 2), "the experiment is paused; arms can be ordered about while"),
        (play(concluded(), Archive(99.0)), Restore(100.0, 2), "the experiment is archived"),
    ],
)
def test_order_that_makes_no_sense_is_refused_in_words_and_changes_nothing(
    life: Life, order: Order, words: str
) -> None:
    assert refusal(life, order).startswith(words)
    assert step(life, order).life == life

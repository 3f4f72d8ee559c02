import json
from collections.abc import Callable

import pytest

from bandits.experiment import age_s, begin, mode, receives, step, underway
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
    Pause,
    Promote,
    Restore,
    Resume,
    Retire,
    Start,
    Tick,
    Try,
    Unload,
    Unloaded,
    UnloadRefused,
    Warm,
    from_json,
    to_json,
)
from bandits.operation import AddArms, DropArm

NAMES = ("v1", "v2", "v3")
WEIGHTS = (0.1, 0.8, 0.1)


def play(life: Life, *events: Event) -> Life:
    for event in events:
        life = step(life, event).life
    return life


def states(life: Life) -> list[str]:
    return [arm.state for arm in life.arms]


def over(now: float, leader: int = 1, *, is_over: bool = True, retire: tuple[int, ...] = ()) -> Assessed:
    return Assessed(now, leader, WEIGHTS, is_drained=True, is_over=is_over, retire=retire)


def running(rules: EndRules | None = None) -> Life:
    life = begin(NAMES, 0, rules or EndRules(grace_s=0.0))
    return play(life, Start(0.0, "ops"), ArmWarmed(1.0, 0), ArmWarmed(1.0, 1), ArmWarmed(2.0, 2))


def test_the_whole_way_with_grace() -> None:
    life = begin(NAMES, 0, EndRules(grace_s=60.0))
    assert (life.phase, mode(life), receives(life)) == ("draft", "warmup", (True, False, False))

    life, commands, notes = step(life, Start(0.0, "ops"))
    assert commands == (Warm(0), Warm(1), Warm(2))
    assert notes[0] == Note(0.0, "phase", "draft", "warmup", "started by ops")

    life = play(life, ArmWarmed(1.0, 0), ArmWarmed(1.0, 2))
    assert (life.phase, receives(life)) == ("warmup", (True, False, False))
    life = play(life, ArmWarmed(5.0, 1))
    assert (life.phase, mode(life), receives(life)) == ("running", "experiment", (True, True, True))
    assert age_s(life, 15.0) == 10.0

    life = play(life, over(10.0, is_over=False))
    assert life.phase == "confirming"
    life, commands, notes = step(life, over(20.0))
    assert (life.phase, mode(life), receives(life)) == ("draining", "settled", (False, True, False))
    assert commands == (AwaitIdle(0), AwaitIdle(2))
    assert (life.winner, life.outcome) == (1, "replaced")

    life = play(life, ArmIdle(21.0, 0), ArmIdle(25.0, 2))
    assert states(life) == ["standby", "eligible", "standby"]
    assert underway(life) == ()
    life = play(life, Tick(80.9))
    assert underway(life) == ()
    life, commands, _ = step(life, Tick(81.0))
    assert commands == (Unload(0),)
    life = play(life, Tick(85.0), UnloadRefused(86.0, 2, "the server is away"))
    assert underway(life) == (Unload(0), Unload(2))
    assert life.arms[2].reason == "the server is away"

    life, _, notes = step(play(life, Unloaded(87.0, 0)), Unloaded(88.0, 2))
    assert states(life) == ["retired", "eligible", "retired"]
    assert (life.phase, mode(life), receives(life)) == ("concluded", "settled", (False, True, False))
    assert [note.what for note in notes] == ["v3", "phase"]
    assert play(life, Archive(99.0, "ops")).phase == "archived"


def test_with_no_grace_an_idle_loser_is_unloaded_at_once() -> None:
    life = play(running(), over(3.0))

    _, commands, _ = step(life, ArmIdle(4.0, 0))

    assert commands == (Unload(0),)


def test_control_can_win() -> None:
    life = play(running(), over(3.0, leader=0), ArmIdle(4.0, 1), ArmIdle(4.0, 2), Unloaded(5.0, 1), Unloaded(5.0, 2))

    assert (life.phase, life.outcome, life.winner) == ("concluded", "kept", 0)


def test_a_challenger_that_fails_to_warm_is_left_out() -> None:
    life = play(begin(NAMES, 0, EndRules()), Start(0.0), ArmFailed(1.0, 2, "no such version"), ArmWarmed(2.0, 0))
    assert underway(life) == (Warm(1), Warm(2))

    life = play(life, ArmWarmed(3.0, 1))

    assert (life.phase, states(life)) == ("running", ["eligible", "eligible", "quarantined"])
    assert receives(life) == (True, True, False)
    assert underway(life) == ()


def test_without_control_warmup_stays_and_says_why() -> None:
    life = play(
        begin(NAMES, 0, EndRules()),
        Start(0.0),
        ArmWarmed(1.0, 1),
        ArmWarmed(1.0, 2),
        ArmFailed(2.0, 0, "out of memory"),
    )

    assert (life.phase, life.reason) == ("warmup", "control v1 is warming: out of memory")
    assert underway(life) == (Warm(0),)
    assert play(life, ArmWarmed(9.0, 0)).phase == "running"


def test_without_a_challenger_warmup_stays_and_says_why() -> None:
    life = play(
        begin(NAMES, 0, EndRules()), Start(0.0), ArmWarmed(1.0, 0), ArmFailed(2.0, 1, "x"), ArmFailed(2.0, 2, "y")
    )

    assert (life.phase, life.reason) == ("warmup", "no challenger is fit to take part")
    assert play(life, ArmWarmed(3.0, 2)).phase == "running"


def test_a_single_arm_retires_while_the_others_go_on() -> None:
    life = play(running(), over(3.0, is_over=False, retire=(2,)))
    assert (life.phase, receives(life)) == ("confirming", (True, True, False))

    life = play(life, ArmIdle(4.0, 2), Unloaded(5.0, 2), Assessed(6.0, 1, WEIGHTS, is_drained=False, is_over=False))

    assert (life.phase, states(life)) == ("running", ["eligible", "eligible", "retired"])


def test_control_and_leader_do_not_retire_singly() -> None:
    assert states(play(running(), over(3.0, is_over=False, retire=(0, 1)))) == ["eligible"] * 3


def test_no_end_without_control_or_on_a_stale_leader() -> None:
    sick = play(running(), ArmFailed(3.0, 0, "gone"))
    assert play(sick, over(4.0)).phase == "confirming"
    assert play(sick, ArmWarmed(5.0, 0), over(6.0)).phase == "draining"
    assert play(running(), ArmFailed(3.0, 1, "gone"), over(4.0)).phase == "confirming"


def test_being_left_alone_by_sickness_is_no_victory() -> None:
    alone = play(running(), ArmFailed(3.0, 1, "gone"), ArmFailed(3.0, 2, "gone"))

    assert play(alone, over(4.0, leader=0)).phase == "running"


@pytest.mark.parametrize("dropped", [(), (DropArm(3.0, 1, "ops"), DropArm(3.0, 2, "ops"))])
def test_an_arm_that_was_just_added_is_heard_before_the_end(dropped: tuple[Event, ...]) -> None:
    life = play(running(), *dropped, AddArms(3.0, ("v4",), "ops"))

    early = play(life, over(4.0, leader=0))
    assert (early.phase, early.winner) == ("running" if dropped else "confirming", None)
    assert play(early, ArmWarmed(5.0, 3), over(6.0, leader=0)).winner == 0
    # What can't be loaded holds up no end but that of an experiment without anybody else.
    assert play(early, ArmFailed(5.0, 3, "not on disk"), over(6.0, leader=0)).winner == (None if dropped else 0)


def test_arm_that_is_warming_when_another_is_promoted_goes_as_the_others_do() -> None:
    life = play(running(), AddArms(3.0, ("v4",), "ops"), Promote(4.0, 1, "ops"))

    assert states(life) == ["draining", "eligible", "draining", "draining"]


@pytest.mark.parametrize("order", [Drain, Retire, DropArm])
def test_arm_that_never_gets_warm_can_be_sent_away_and_is_warmed_when_it_comes_back(
    order: Callable[..., Event],
) -> None:
    life = play(running(EndRules(grace_s=60.0)), AddArms(3.0, ("v4",), "ops"), order(4.0, 3, "ops"))
    assert (states(life)[3], underway(life)) == ("draining", (AwaitIdle(3),))
    assert states(play(life, AddArms(5.0, ("v4",), "ops")))[3] == "warming"

    life = play(life, ArmIdle(6.0, 3))
    assert underway(life) == (Unload(3),)
    assert states(play(life, Restore(7.0, 3, "ops")))[3] == "warming"


def test_arm_that_can_not_be_loaded_after_the_end_does_not_keep_the_experiment_from_the_archive() -> None:
    life = play(running(), over(3.0), *(fact for arm in (0, 2) for fact in (ArmIdle(4.0, arm), Unloaded(5.0, arm))))
    life = play(life, Restore(6.0, 2, "ops"), ArmFailed(7.0, 2, "not on disk"))
    assert (life.phase, states(play(life, Archive(8.0)))[2], play(life, Archive(8.0)).phase) == (
        "concluded",
        "warming",
        "concluded",
    )

    life = play(life, Drain(8.0, 2, "ops"), ArmIdle(9.0, 2), Unloaded(10.0, 2))

    assert play(life, Archive(11.0)).phase == "archived"


def test_loser_that_an_observed_server_keeps_does_not_keep_the_experiment_from_the_archive() -> None:
    life = play(
        running(EndRules(observed=(0, 1, 2))), Retire(3.0, 2, "ops"), ArmIdle(4.0, 2), over(5.0), ArmIdle(6.0, 0)
    )

    assert (life.phase, states(life), life.arms[2].is_unloading) == (
        "concluded",
        ["standby", "eligible", "standby"],
        True,
    )
    assert play(life, Archive(7.0)).phase == "archived"


def test_promotion_of_an_arm_that_can_not_be_loaded_ends_when_it_is_sent_away() -> None:
    life = play(running(), AddArms(3.0, ("v4",), "ops"), Promote(4.0, 3, "ops"))
    assert life.successor == 3

    assert play(life, Drain(5.0, 3, "ops")).successor is None


def test_a_sick_arm_rests_twice_as_long_each_time_it_is_tried_in_vain() -> None:
    now, life = 100.0, play(running(), ArmFailed(100.0, 1, "errors", {"calls": 9.0}))
    for rest_s in (30.0, 60.0, 120.0):
        assert underway(play(life, Tick(now + rest_s - 0.1))) == ()
        now += rest_s
        life = play(life, Tick(now))
        assert underway(life) == (Try(1),)
        life = play(life, ArmFailed(now, 1, "still errors"))

    assert states(life) == ["eligible", "quarantined", "eligible"]
    assert (life.arms[1].rests, life.arms[1].reason) == (4, "still errors")


def test_an_arm_that_falls_ill_soon_after_its_return_rests_longer_and_later_begins_anew() -> None:
    well = play(running(), ArmFailed(100.0, 1, "errors"), Tick(130.0), ArmWarmed(131.0, 1))
    soon = play(well, ArmFailed(131.0 + 29.0, 1, "errors"))
    later = play(well, ArmFailed(131.0 + 31.0, 1, "errors"))

    assert states(well)[1] == "eligible"
    assert (soon.arms[1].rests, later.arms[1].rests) == (2, 1)
    assert (soon.arms[1].rests_until, later.arms[1].rests_until) == (160.0 + 60.0, 162.0 + 30.0)


def test_a_clock_that_was_set_back_makes_nobody_rest_for_a_day() -> None:
    sick = play(running(), ArmFailed(100_000.0, 1, "errors"))

    assert underway(play(sick, Tick(10_000.0))) == (Try(1),)


def test_quarantine_tells_cause_and_numbers() -> None:
    notes = step(running(), ArmFailed(3.0, 1, "error_ratio of arm v2: …", {"calls": 9.0})).notes

    assert notes == (Note(3.0, "v2", "eligible", "quarantined", "error_ratio of arm v2: …", {"calls": 9.0}),)


def test_when_all_are_sick_control_serves() -> None:
    life = play(running(), *(ArmFailed(3.0, arm, "gone") for arm in range(3)))

    assert receives(life) == (True, False, False)


def test_hold_routes_to_the_winner_and_keeps_all_models() -> None:
    life = play(running(EndRules("hold")), over(2.5, is_over=False, retire=(2,)), over(3.0))

    assert (life.phase, mode(life), receives(life)) == ("concluded", "settled", (False, True, False))
    assert (states(life), underway(life)) == (["eligible"] * 3, ())


def test_notify_leaves_traffic_as_it_was() -> None:
    life = play(running(EndRules("notify")), over(3.0))

    assert (life.phase, life.winner, mode(life)) == ("concluded", 1, "frozen")
    assert (receives(life), life.weights) == ((True, True, True), WEIGHTS)


@pytest.mark.parametrize(
    ("missing", "words"), [((), "value remains"), (("alarm: a", "alarm: b"), "alarm: a; alarm: b")]
)
def test_what_goes_back_to_running_says_why(missing: tuple[str, ...], words: str) -> None:
    confirming = play(running(), over(3.0, is_over=False))
    life = play(confirming, Assessed(4.0, 1, WEIGHTS, is_drained=False, is_over=False, not_ready=missing))

    assert (confirming.phase, life.phase, life.reason) == ("confirming", "running", words)


def test_rewards_on_their_way_keep_the_phase_as_it_is() -> None:
    held = Assessed(4.0, 1, WEIGHTS, is_drained=False, is_over=False, not_ready=("alarm: wait",), is_held=True)

    assert play(running(), over(3.0, is_over=False), held).phase == "confirming"
    assert play(running(), held).phase == "running"


def split(*serves: int, leader: int = 1) -> Assessed:
    """The end, with segments that are settled on these arms."""
    weights = (WEIGHTS,) * len(serves)
    return Assessed(
        3.0, leader, WEIGHTS, is_drained=True, is_over=True, segment_weights=weights, serves=serves, park=()
    )


def test_an_arm_that_a_segment_keeps_is_not_unloaded() -> None:
    life = play(running(), split(1, 1, 2), ArmIdle(4.0, 0), Unloaded(5.0, 0))

    assert (life.phase, life.winner, life.outcome) == ("concluded", 1, "replaced")
    assert states(life) == ["retired", "eligible", "eligible"]
    assert receives(life) == (False, True, True)
    assert from_json(json.loads(json.dumps(to_json(life)))) == life


def test_where_segments_keep_every_arm_there_is_nothing_to_drain() -> None:
    life = play(running(), split(0, 1, 2))

    assert (life.phase, states(life), underway(life)) == ("concluded", ["eligible"] * 3, ())


def test_the_history_says_which_arms_segments_keep() -> None:
    notes = step(running(), split(1, 2, 0)).notes

    assert notes[0].why.endswith("; segments keep v1, v3")


def test_no_end_while_a_segment_keeps_an_arm_that_is_not_fit() -> None:
    assert play(running(), ArmFailed(2.5, 2, "away"), split(1, 2)).phase == "confirming"


def test_a_kept_arm_that_an_operator_takes_out_gets_nothing() -> None:
    life = play(running(), split(1, 2), Drain(4.0, 2))

    assert receives(life) == (False, True, False)
    assert receives(play(life, ArmIdle(5.0, 2)))[2] is False


def test_a_promoted_arm_serves_every_segment() -> None:
    assert receives(play(running(), split(1, 2), Promote(4.0, 1))) == (False, True, True)
    assert receives(play(running(), split(1, 2), Promote(4.0, 2))) == (False, False, True)


def test_max_duration_freezes_undecided() -> None:
    life = play(running(EndRules(max_duration_s=100.0)), over(50.0, is_over=False), Tick(101.9))
    assert life.phase == "confirming"

    life = play(life, Tick(102.0), over(103.0), Tick(1e9))

    assert (life.phase, life.outcome, life.winner) == ("concluded", "undecided", None)
    assert (mode(life), life.weights, underway(life)) == ("frozen", WEIGHTS, ())


def test_without_unloading_the_losers_stay_in_standby() -> None:
    life = play(running(EndRules(unload=False)), over(3.0), ArmIdle(4.0, 0), ArmIdle(5.0, 2))

    assert (life.phase, states(life)) == ("concluded", ["standby", "eligible", "standby"])


def test_a_pause_sends_all_to_control_and_resumes_where_it_was() -> None:
    life = play(running(), over(3.0, is_over=False), Pause(4.0, "ops"))
    assert (mode(life), receives(life), underway(life)) == ("paused", (True, False, False), ())
    assert play(life, over(5.0), Tick(1e12)) == life

    assert play(life, Resume(6.0)).phase == "confirming"


def test_a_pause_while_draining_leaves_traffic_on_the_winner() -> None:
    life = play(running(), over(3.0), ArmIdle(4.0, 0), Pause(5.0))
    assert (mode(life), receives(life), underway(life)) == ("settled", (False, True, False), ())

    life = play(life, Unloaded(6.0, 0), ArmIdle(6.5, 2), Resume(7.0))

    assert (life.phase, underway(life)) == ("draining", (Unload(2),))


def test_an_arm_that_does_not_exist_is_a_bug() -> None:
    with pytest.raises(ValueError, match=r"names arm 3, but arms are numbered 0\.\.2"):
        step(running(), ArmIdle(1.0, 3))


def test_a_life_needs_its_control_and_names() -> None:
    with pytest.raises(ValueError, match="control must be"):
        begin(NAMES, 3, EndRules())
    with pytest.raises(ValueError, match="names of their own"):
        begin(("a", "a"), 0, EndRules())
    with pytest.raises(ValueError, match="grace must be"):
        EndRules(grace_s=-1.0)


def test_a_clock_that_jumps_back_makes_no_negative_age() -> None:
    assert age_s(running(), -100.0) == 0.0

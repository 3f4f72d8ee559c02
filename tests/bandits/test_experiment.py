import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandits.experiment import age_s, begin, mode, receives, step, underway
from bandits.life import (
    Archive,
    ArmFailed,
    ArmIdle,
    ArmWarmed,
    Assessed,
    AwaitIdle,
    Command,
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
from bandits.operation import AddArms, Bypass, DropArm, Rollback, Stop

NAMES = ("v1", "v2", "v3")
WEIGHTS = (0.1, 0.8, 0.1)
# The arrows of design §7, paused from any running phase.
ARROWS = {
    ("draft", "warmup"),
    ("warmup", "running"),
    ("running", "confirming"),
    ("confirming", "running"),
    ("running", "draining"),
    ("confirming", "draining"),
    ("running", "concluded"),
    ("confirming", "concluded"),
    ("draining", "concluded"),
    ("concluded", "archived"),
    # Another arm is promoted after the end.
    ("concluded", "draining"),
    # Stopped.
    ("warmup", "concluded"),
    ("paused", "concluded"),
    *((phase, "paused") for phase in ("warmup", "running", "confirming", "draining")),
    *(("paused", phase) for phase in ("warmup", "running", "confirming", "draining")),
}
ARM_ARROWS = {
    ("pending", "warming"),
    ("warming", "eligible"),
    ("warming", "quarantined"),
    ("eligible", "quarantined"),
    ("quarantined", "eligible"),
    ("eligible", "draining"),
    ("draining", "standby"),
    ("standby", "retired"),
    # By an operator's order.
    ("warming", "draining"),
    ("quarantined", "draining"),
    ("quarantined", "warming"),
    ("draining", "eligible"),
    ("standby", "eligible"),
    ("standby", "warming"),
    ("retired", "warming"),
}


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

    assert play(alone, over(4.0, leader=0)).phase == "confirming"


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


Crash = None
arms = st.integers(0, 2)
times = st.floats(0.0, 1e4)
events = st.one_of(
    st.builds(Start, times),
    st.builds(ArmWarmed, times, arms),
    st.builds(ArmWarmed, times, arms),
    st.builds(ArmFailed, times, arms, st.sampled_from(["away", "broken"])),
    st.builds(
        Assessed,
        times,
        arms,
        st.just(WEIGHTS),
        is_drained=st.booleans(),
        is_over=st.booleans(),
        retire=st.lists(arms, max_size=2).map(tuple),
        segment_weights=st.sampled_from([(), (WEIGHTS, WEIGHTS)]),
        serves=st.sampled_from([(), (0, 1), (1, 2), (2, 2)]),
    ),
    st.builds(ArmIdle, times, arms),
    st.builds(Unloaded, times, arms),
    st.builds(UnloadRefused, times, arms, st.just("busy")),
    st.builds(Tick, times),
    st.builds(Pause, times),
    st.builds(Resume, times),
    st.builds(Archive, times),
    *(st.builds(order, times, arms) for order in (Drain, Restore, Retire, Promote, DropArm)),
    st.builds(Bypass, times),
    st.builds(Stop, times, weights=st.sampled_from([None, WEIGHTS])),
    st.builds(Rollback, times),
    st.builds(AddArms, times, arms.map(lambda number: (NAMES[number],))),
    st.just(Crash),
)
rules = st.builds(
    EndRules,
    st.sampled_from(["retire", "retire", "retire", "hold", "notify"]),
    st.sampled_from([0.0, 60.0]),
    st.booleans(),
    st.sampled_from([100.0, 1e9]),
)
warm_start: list[Event] = [Start(0.0), ArmWarmed(0.0, 0), ArmWarmed(0.0, 1), ArmWarmed(0.0, 2)]
# Most random orders never get as far as running: half of them begin there.
histories = st.tuples(st.sampled_from([[], warm_start]), st.lists(events, max_size=40)).map(
    lambda parts: parts[0] + parts[1]
)


def check_legal(life: Life) -> None:
    traffic = receives(life)
    assert any(traffic)
    for number, arm in enumerate(life.arms):
        if traffic[number] and arm.state != "eligible":
            # Control alone is served before it is known to be fit: nobody else could be.
            assert number == life.control
            assert arm.state in ("pending", "warming", "quarantined")
        if arm.state in ("draining", "standby", "retired"):
            assert not traffic[number]
    for command in underway(life):
        wanted = {
            Warm: ("warming", "quarantined"),
            Try: ("quarantined",),
            AwaitIdle: ("draining",),
            Unload: ("standby",),
        }[type(command)]
        assert life.arms[command.arm].state in wanted
        # Control alone is served while it is not known to be fit.
        assert isinstance(command, Warm | Try) or not traffic[command.arm]
        assert isinstance(command, Warm) or command.arm == life.control or not traffic[command.arm]
    if life.winner is not None:
        assert life.arms[life.winner].state == "eligible"
        assert life.outcome == ("kept" if life.winner == life.control else "replaced")


@given(histories, rules)
def test_no_order_of_events_and_crashes_leaves_the_legal_states(
    history: Sequence[Event | None], ends: EndRules
) -> None:
    life = begin(NAMES, 0, ends)
    for event in history:
        if event is None:
            revived = from_json(json.loads(json.dumps(to_json(life))))
            assert revived == life
            life = revived
            continue
        before = life
        life, commands, notes = step(before, event)

        check_legal(life)
        assert before.phase == life.phase or (before.phase, life.phase) in ARROWS
        for arm, was in zip(life.arms, before.arms, strict=True):
            assert arm.state == was.state or (was.state, arm.state) in ARM_ARROWS
        assert set(commands) == set(underway(life)) - set(underway(before))
        check_told(before, life, notes)


def check_told(before: Life, after: Life, notes: Sequence[Note]) -> None:
    """Every change of phase, winner, traffic and state is in the history, step by step, and nothing else of that kind."""
    names = {None: ""} | {number: arm.name for number, arm in enumerate(after.arms)}
    was = {"phase": before.phase, "winner": names[before.winner], "traffic": "bypassed" * before.is_bypassed}
    is_now = {"phase": after.phase, "winner": names[after.winner], "traffic": "bypassed" * after.is_bypassed}
    was |= {arm.name: arm.state for arm in before.arms}
    is_now |= {arm.name: arm.state for arm in after.arms}
    if not any(note.what == "winner" for note in notes):
        # At an end that evidence brings, the phase tells who wins.
        was["winner"] = is_now["winner"]
    for note in notes:
        assert (note.what, note.before) == (note.what, was[note.what])
        was[note.what] = note.after
    assert was == is_now


@given(histories)
def test_a_shell_that_does_what_is_underway_always_reaches_the_end(history: Sequence[Event | None]) -> None:
    life = begin(NAMES, 0, EndRules(grace_s=60.0, max_duration_s=1e9))
    for event in history:
        life = life if event is None else step(life, event).life
    answers: dict[type[Command], type[ArmWarmed | ArmIdle | Unloaded]] = {
        Warm: ArmWarmed,
        Try: ArmWarmed,
        AwaitIdle: ArmIdle,
        Unload: Unloaded,
    }
    now = 1e5
    for _ in range(12):
        # The longest rest is over each time.
        now += 3600.0
        life = play(life, Start(now), Resume(now), Tick(now))
        if life.phase == "warmup":
            # Somebody who dropped all challengers is waited for.
            life = play(life, AddArms(now, NAMES))
        for command in underway(life):
            life = step(life, answers[type(command)](now, command.arm)).life
        life = step(life, over(now, leader=0)).life

    assert life.phase in ("concluded", "archived")
    assert underway(life) == ()
    # What is archived within its grace stays loaded.
    rest = ("standby",) if life.phase == "archived" else ()
    assert all(state in ("eligible", "retired", "quarantined", *rest) for state in states(life))


@given(histories, rules)
def test_events_that_come_twice_change_nothing_more(history: Sequence[Event | None], ends: EndRules) -> None:
    life = begin(NAMES, 0, ends)
    for event in history:
        if event is not None:
            life = step(life, event).life
            if not isinstance(event, Assessed):
                assert step(life, event).life == life

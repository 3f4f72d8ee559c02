"""From any state any sequence of events, crashes included, ends in a legal state, and no arm gets traffic it must not get."""

import json
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from bandits.experiment import begin, receives, step, underway
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
from tests.bandits.test_experiment import NAMES, WEIGHTS, over, play, states

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
    ("draining", "warming"),
    ("standby", "eligible"),
    ("standby", "warming"),
    ("retired", "warming"),
}


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
    st.builds(Rollback, times, arm=st.none() | arms),
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

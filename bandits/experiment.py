"""The life of an experiment as a pure state machine: what each event changes, and what must be going on in each state.

Commands are level-triggered: `underway(life)` follows from the state alone, so that a restart resumes. Events that do
not fit the state (late, doubled, stale) change nothing. docs/reference/life-cycle.md has the table of all states and
events, which a test compares with this code.

Warmup becomes running when no arm is warming, control is eligible and so is a challenger; draining becomes concluded when
no loser is left to drain or to unload. A control that fails stays warming, and the experiment in warmup: without it
nothing compares. An arm that is warmed again by an order after the end, or to be promoted, stays warming when that fails,
and is retried. Which orders are refused, and in which words, is in `bandits.orders` and `bandits.operate`. An arm in
quarantine rests 30 s, then is tried (`Try`), and rests twice as long each time it fails, at most an hour.
An arm that some segment keeps is no loser: it stays eligible, and serves that segment.
A quarantined arm is never retired: sickness is no evidence about reward. Control is not retired before the end.
"""

from typing import Literal, NamedTuple

from bandits import operate, orders, reopening
from bandits.course import Course, age_s
from bandits.life import (
    ArmEvent,
    ArmFailed,
    ArmIdle,
    ArmLife,
    ArmWarmed,
    Assessed,
    AwaitIdle,
    Command,
    Drain,
    EndRules,
    Event,
    Life,
    Note,
    Order,
    Promote,
    Reopen,
    Restore,
    Retire,
    Tick,
    Try,
    Unload,
    Unloaded,
    UnloadRefused,
    Warm,
)

__all__ = ["Mode", "Step", "age_s", "begin", "mode", "receives", "step", "underway"]

Mode = Literal["warmup", "experiment", "settled", "frozen", "paused"]


class Step(NamedTuple):
    """What an event did: the new life, the commands that are new with it, and the notes for the history."""

    life: Life
    commands: tuple[Command, ...]
    notes: tuple[Note, ...]


def begin(names: tuple[str, ...], control: int, rules: EndRules) -> Life:
    """Return the draft of an experiment over these arms."""
    return Life(tuple(ArmLife(name) for name in names), control, rules)


def step(life: Life, event: Event) -> Step:
    """Apply one event. Raises ValueError for an arm that does not exist."""
    if isinstance(event, ArmEvent | Order) and not 0 <= event.arm < len(life.arms):
        raise ValueError(f"an event names arm {event.arm}, but arms are numbered 0..{len(life.arms) - 1}")
    course = Course(life, event.now)
    match event:
        case Assessed():
            course.assessed(event)
        case Tick():
            course.tick()
        case ArmWarmed() | ArmFailed() | ArmIdle() | Unloaded() | UnloadRefused():
            course.arm_event(event)
        case Drain() | Restore() | Retire() | Promote():
            orders.obey(course, event)
        case Reopen():
            reopening.reopen(course, event)
        case _:
            operate.obey(course, event)
    before = underway(life)
    commands = tuple(command for command in underway(course.life) if command not in before)
    return Step(course.life, commands, tuple(course.notes))


def underway(life: Life) -> tuple[Command, ...]:
    """Return what must be going on in this state; asking for it twice does no harm. Nothing while paused."""
    if life.phase in ("draft", "paused", "archived"):
        return ()
    commands: list[Command] = []
    for number, arm in enumerate(life.arms):
        # While others still warm, a challenger that failed may try again and catch up.
        if arm.state == "warming" or (life.phase == "warmup" and arm.state == "quarantined"):
            commands.append(Warm(number))
        elif arm.state == "quarantined" and arm.is_trying and life.phase in ("running", "confirming"):
            commands.append(Try(number))
        elif arm.state == "draining":
            commands.append(AwaitIdle(number))
        elif arm.state == "standby" and arm.is_unloading:
            commands.append(Unload(number))
    return tuple(commands)


def mode(life: Life) -> Mode:
    """Say how traffic is to be routed; only decisions of mode `experiment` are learned from.

    warmup and paused: control serves (a winner that was already decided, instead). experiment: the weights hold.
    settled: the winner serves, and in segments the arm that each keeps. frozen: the last weights hold, unlearned
    (undecided at the end, or only notified); control serves when there are none.
    """
    phase = life.resumes if life.phase == "paused" and life.resumes == "draining" else life.phase
    if life.is_bypassed:
        return "paused"
    if phase in ("draft", "warmup"):
        return "warmup"
    if phase in ("running", "confirming"):
        return "experiment"
    if phase == "paused":
        return "paused"
    is_only_told = life.rules.action == "notify" and not life.is_promoted
    if phase != "draining" and (life.winner is None or is_only_told):
        return "frozen"
    return "settled"


def receives(life: Life) -> tuple[bool, ...]:
    """Say of each arm whether traffic may go there now; at least one arm always may."""
    served = mode(life)
    if served == "settled" and life.winner is not None:
        # One that a segment kept may have been taken out since, by an operator.
        return tuple(
            number == life.winner or (number in life.serves and arm.state == "eligible")
            for number, arm in enumerate(life.arms)
        )
    if served == "paused" and life.winner is not None:
        return tuple(number == life.winner for number in range(len(life.arms)))
    if served == "experiment" or (served == "frozen" and life.weights is not None):
        eligible = tuple(arm.state == "eligible" for arm in life.arms)
        if any(eligible):
            return eligible
    return tuple(number == life.control for number in range(len(life.arms)))

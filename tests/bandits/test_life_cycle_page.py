"""The page on the life of an experiment says what the code does: its tables are compared with the state machine."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bandits.experiment import begin, mode, receives, step
from bandits.life import (
    Archive,
    ArmFailed,
    ArmIdle,
    ArmWarmed,
    Assessed,
    Drain,
    EndRules,
    Event,
    Life,
    Pause,
    Promote,
    Reopen,
    Restore,
    Resume,
    Retire,
    Start,
    Tick,
    Unloaded,
    UnloadRefused,
)
from bandits.operate import refusal
from bandits.operation import AddArms, Bypass, DropArm, Operation, Rollback, Stop
from tests.repo.tree import ROOT

PAGE = Path(ROOT) / "docs" / "reference" / "life-cycle.md"
NAMES, WEIGHTS, NOW = ("v1", "v2", "v3"), (0.2, 0.5, 0.3), 1e6
RULES = EndRules(grace_s=60.0)


def play(life: Life, *events: Event) -> Life:
    for event in events:
        life = step(life, event).life
    return life


def over(**changes: object) -> Assessed:
    made = Assessed(1e3, 1, WEIGHTS, is_drained=True, is_over=True)
    return replace(made, **changes)  # type: ignore[arg-type]  # the test's own fields


DRAFT = begin(NAMES, 0, RULES)
WARMUP = play(DRAFT, Start(0.0))
RUNNING = play(WARMUP, *(ArmWarmed(1.0, arm) for arm in range(3)), over(is_drained=False, is_over=False))
CONFIRMING = play(RUNNING, over(is_over=False))
DRAINING = play(CONFIRMING, over())
REPLACED = play(DRAINING, *(ArmIdle(1e3, arm) for arm in (0, 2)), Tick(2e3), *(Unloaded(2e3, arm) for arm in (0, 2)))
UNDECIDED = play(RUNNING, Stop(2e3))
PHASES: Mapping[str, Life] = {
    "draft": DRAFT,
    "warmup": WARMUP,
    "running": RUNNING,
    "confirming": CONFIRMING,
    "draining": DRAINING,
    "concluded, v2 won": REPLACED,
    "concluded, undecided": UNDECIDED,
    "paused, was running": play(RUNNING, Pause(2e3)),
    "archived": play(REPLACED, Archive(3e3)),
}
EXPERIMENT_EVENTS: Mapping[str, Callable[[Life], Event]] = {
    "start": lambda life: Start(NOW),
    "pause": lambda life: Pause(NOW),
    "resume": lambda life: Resume(NOW),
    "bypass": lambda life: Bypass(NOW),
    "stop": lambda life: Stop(NOW),
    "promote v2": lambda life: Promote(NOW, 1),
    "rollback": lambda life: Rollback(NOW),
    "rollback to a revision under which v3 served": lambda life: Rollback(NOW, arm=2),
    "archive": lambda life: Archive(NOW),
    "an arm is added": lambda life: AddArms(NOW, ("v4",)),
    "an arm is dropped": lambda life: DropArm(NOW, 2),
    "assessed: value remains": lambda life: over(now=NOW, is_drained=False, is_over=False),
    "assessed: drained of value": lambda life: over(now=NOW, is_over=False),
    "assessed: drained, and all refuted": lambda life: over(now=NOW),
    "begins anew: price, drift, a new arm": lambda life: Reopen(NOW, (0, 1, 2), "a price moved"),
    "`max_duration` has passed": lambda life: Tick(NOW + 20 * 86400.0),
}
# v3 in each state, while the experiment runs.
ARM_STATES: Mapping[str, Life] = {
    "warming": play(RUNNING, ArmFailed(1.0, 2, "away"), Restore(2e3, 2)),
    "eligible": RUNNING,
    "quarantined": play(RUNNING, ArmFailed(1.0, 2, "away")),
    "draining": play(RUNNING, Drain(2e3, 2)),
    "standby": play(RUNNING, Drain(2e3, 2), ArmIdle(2e3, 2)),
    "standby, unloading": play(RUNNING, Drain(2e3, 2), ArmIdle(2e3, 2), Tick(3e3)),
    "retired": play(RUNNING, Drain(2e3, 2), ArmIdle(2e3, 2), Tick(3e3), Unloaded(3e3, 2)),
}
ARM_EVENTS: Mapping[str, Event] = {
    "drain": Drain(NOW, 2),
    "retire": Retire(NOW, 2),
    "restore": Restore(NOW, 2),
    "dropped": DropArm(NOW, 2),
    "loaded, fits, calibrated": ArmWarmed(NOW, 2),
    "can't be loaded, or does not fit": ArmFailed(NOW, 2, "away"),
    "refuted as better": over(now=NOW, is_over=False, retire=(2,)),
    "nothing in flight": ArmIdle(NOW, 2),
    "the grace period is over": Tick(NOW),
    "unloaded on every replica": Unloaded(NOW, 2),
    "the unloading fails": UnloadRefused(NOW, 2, "busy"),
}


def table(head: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    lines = [[head, *columns], ["---"] * (len(columns) + 1), *([name, *cells] for name, cells in rows.items())]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def phase_after(before: Life, event: Event) -> str:
    after = step(before, event).life
    if after.phase != before.phase:
        return after.phase
    changed = replace(after, leader=before.leader, weights=before.weights, reason=before.reason) != before
    return "same" if changed else "·"


def arm_state(life: Life) -> str:
    arm = life.arms[2]
    return arm.state + ", unloading" * arm.is_unloading + ", tried" * arm.is_trying


def traffic(life: Life) -> str:
    names = [arm.name for arm, may in zip(life.arms, receives(life), strict=True) if may]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def expected() -> dict[str, str]:
    experiments = {
        name: [phase_after(life, event(life)) for life in PHASES.values()] for name, event in EXPERIMENT_EVENTS.items()
    }
    arms = {
        name: [
            "·" if (after := step(life, event).life).arms[2] == life.arms[2] else arm_state(after)
            for life in ARM_STATES.values()
        ]
        for name, event in ARM_EVENTS.items()
    }
    served = {
        **PHASES,
        "bypassed, was running": play(RUNNING, Bypass(NOW)),
        "bypassed, v2 won": play(REPLACED, Bypass(NOW)),
    }
    who = {name: [traffic(life), "yes" if mode(life) == "experiment" else "no"] for name, life in served.items()}
    return {
        "phases": table("event", list(PHASES), experiments),
        "arms": table("event", list(ARM_STATES), arms),
        "traffic": table("phase", ["may get traffic", "learned from"], who),
    }


@pytest.mark.parametrize("name", ["phases", "arms", "traffic"])
def test_table_of_the_page_is_what_the_state_machine_does(name: str) -> None:
    text = PAGE.read_text(encoding="utf-8")

    assert expected()[name] in text, f"write this into {PAGE.name}:\n\n{expected()[name]}\n"


def test_states_named_in_the_tables_are_those_that_were_built() -> None:
    assert [life.phase for life in PHASES.values()] == [name.partition(",")[0] for name in PHASES]
    assert [arm_state(life) for life in ARM_STATES.values()] == list(ARM_STATES)


def test_what_is_refused_changes_nothing_and_what_is_not_changes_something() -> None:
    for life in (*PHASES.values(), *ARM_STATES.values()):
        for make in EXPERIMENT_EVENTS.values():
            event = make(life)
            if isinstance(event, Operation | Promote) and not isinstance(event, Bypass | DropArm):
                assert bool(refusal(life, event)) == (step(life, event).life == life), (life.phase, event)

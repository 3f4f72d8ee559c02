"""What each event changes in an experiment's life; the table of all is in `bandits.experiment`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bandits import quarantine
from bandits.life import (
    ArmEvent,
    ArmFailed,
    ArmIdle,
    ArmLife,
    ArmState,
    ArmWarmed,
    Assessed,
    Life,
    Note,
    Outcome,
    Pause,
    Phase,
    Resume,
    Start,
    Unloaded,
    UnloadRefused,
)


def age_s(life: Life, now: float) -> float:
    """Return the seconds since learning began; 0 before, and never negative when a clock has jumped."""
    return 0.0 if life.started_at is None else max(0.0, now - life.started_at)


class Course:
    """One step in the making. Mutable: `life`, what it has become so far, and `notes`, the history of that."""

    def __init__(self, life: Life, now: float) -> None:
        self.life = life
        self.now = now
        self.notes: list[Note] = []

    def enter(self, phase: Phase, why: str, numbers: Mapping[str, float] | None = None) -> None:
        """Change the phase and note it."""
        if phase != self.life.phase:
            self.notes.append(Note(self.now, "phase", self.life.phase, phase, why, numbers or {}))
            self.life = replace(self.life, phase=phase, since=self.now, reason=why)
        if phase == "concluded":
            # What is loaded at the end stays so, unless an operator takes it out afterwards.
            for number, arm in enumerate(self.life.arms):
                if arm.state == "standby" and not arm.is_unloading:
                    self.put(number, replace(arm, is_parked=True))

    def move(self, number: int, state: ArmState, why: str, numbers: Mapping[str, float] | None = None) -> None:
        """Change an arm's state and note it; a new reason in the same state is noted too."""
        arm = self.life.arms[number]
        if (arm.state, arm.reason) == (state, why):
            return
        since = arm.since if arm.state == state else self.now
        unloading = arm.is_unloading and state in ("draining", "standby")
        self.notes.append(Note(self.now, arm.name, arm.state, state, why, numbers or {}))
        # How often it has rested is kept: what falls ill again soon rests longer.
        self.put(number, ArmLife(arm.name, state, since, why, unloading, arm.is_parked, arm.rests))

    def put(self, number: int, arm: ArmLife) -> None:
        """Replace what is known of an arm, without a note."""
        arms = self.life.arms
        self.life = replace(self.life, arms=(*arms[:number], arm, *arms[number + 1 :]))

    def send_away(self, number: int, why: str) -> None:
        """Drain an arm. One that was not well, or not yet, has no grace, and is warmed if it comes back."""
        was_well = self.life.arms[number].state == "eligible"
        self.move(number, "draining", why)
        if not was_well:
            self.put(number, replace(self.life.arms[number], is_unloading=True))
        if self.life.successor == number:
            self.life = replace(self.life, successor=None)

    def start(self, event: Start) -> None:
        """Draft to warmup."""
        if self.life.phase == "draft":
            self.enter("warmup", f"started by {event.who or 'an operator'}")
            for number in range(len(self.life.arms)):
                self.move(number, "warming", "the experiment starts")

    def pause(self, event: Pause) -> None:
        """Remember where it was."""
        if self.life.phase in ("warmup", "running", "confirming", "draining"):
            self.life = replace(self.life, resumes=self.life.phase)
            self.enter("paused", f"paused by {event.who or 'an operator'}")

    def resume(self, event: Resume) -> None:
        """Go back, and see whether anything happened meanwhile."""
        if self.life.phase == "paused" and self.life.resumes is not None:
            self.enter(self.life.resumes, f"resumed by {event.who or 'an operator'}")
            self.life = replace(self.life, resumes=None)
            self.look_around()

    def arm_event(self, event: ArmEvent) -> None:
        """Apply a fact about one arm, then see what it makes complete."""
        state = self.life.arms[event.arm].state
        phase = self.life.resumes if self.life.phase == "paused" else self.life.phase
        is_open = phase in ("warmup", "running", "confirming")
        # An order brought it back after the end, or to serve: nothing but that arm will do.
        is_ordered = state == "warming" and (phase in ("draining", "concluded") or event.arm == self.life.successor)
        match event:
            case ArmWarmed() if is_ordered:
                self.move(event.arm, "eligible", "loaded, fits and is calibrated")
                if event.arm == self.life.successor:
                    self.crown(event.arm, "loaded and warm, as it was promoted")
            case ArmFailed() if is_ordered:
                self.move(event.arm, "warming", event.why)
            case ArmWarmed() if is_open and state in ("warming", "quarantined"):
                self.move(
                    event.arm, "eligible", "is well again" if state == "quarantined" else "loaded, fits, calibrated"
                )
            case ArmFailed() if is_open and state == "warming" and event.arm == self.life.control:
                self.move(event.arm, "warming", event.why)
            case ArmFailed() if is_open and state in ("warming", "eligible", "quarantined"):
                self._lay_off(event)
            case ArmIdle() if state == "draining":
                self.move(event.arm, "standby", self._standby_words(event.arm))
            case Unloaded() if state == "standby":
                self.move(event.arm, "retired", "unloaded on every replica")
            case UnloadRefused() if state == "standby":
                self.move(event.arm, "standby", event.why)
            case _:
                return
        self.look_around()

    def _lay_off(self, event: ArmFailed) -> None:
        arm = self.life.arms[event.arm]
        is_new = arm.state != "quarantined"
        after = (quarantine.laid_off if is_new else quarantine.still_sick)(arm, self.now, event.why)
        if is_new or arm.is_trying or arm.reason != event.why:
            self.notes.append(Note(self.now, arm.name, arm.state, "quarantined", event.why, event.numbers))
        self.put(event.arm, after)

    def look_around(self) -> None:
        """Follow what has become complete: warming, a grace of nothing, draining."""
        life = self.life
        if life.phase == "warmup":
            self._end_warmup()
        if life.phase in ("running", "confirming", "draining", "concluded"):
            self._end_grace()
        if life.phase == "draining":
            self._end_draining()

    def _end_warmup(self) -> None:
        life = self.life
        control = life.arms[life.control]
        challengers = [arm for number, arm in enumerate(life.arms) if number != life.control]
        if control.state == "warming":
            waiting = f"control {control.name} is warming" + (f": {control.reason}" if control.reason else "")
        elif any(arm.state == "warming" for arm in challengers):
            waiting = "challengers are warming"
        elif not any(arm.state == "eligible" for arm in challengers):
            waiting = "no challenger is fit to take part"
        elif control.state != "eligible":
            waiting = f"control {control.name} is {control.state}: {control.reason}"
        else:
            self.life = replace(life, started_at=self.now)
            self.enter("running", "control and challengers are warm")
            return
        self.life = replace(life, reason=waiting)

    def _end_grace(self) -> None:
        rules = self.life.rules
        if not rules.unload:
            return
        for number, arm in enumerate(self.life.arms):
            is_ours = number not in rules.observed
            is_leaving = arm.state == "standby" and is_ours and not (arm.is_unloading or arm.is_parked)
            if is_leaving and self.now - arm.since >= rules.grace_s:
                self.put(number, replace(arm, is_unloading=True))

    def _standby_words(self, number: int) -> str:
        if number in self.life.rules.observed and self.life.rules.unload:
            return "nothing in flight; its model server is only observed: whoever runs it may unload the version there"
        return "nothing in flight"

    def _end_draining(self) -> None:
        rules = self.life.rules
        for number, arm in enumerate(self.life.arms):
            is_kept = arm.is_parked or number in rules.observed or not rules.unload
            if arm.state == "draining" or (arm.state == "standby" and not is_kept):
                return
        is_any_left = any(arm.state == "standby" for arm in self.life.arms)
        self.enter("concluded", "the losers are in standby" if is_any_left else "the losers are unloaded")

    def tick(self) -> None:
        """Let time pass: grace periods, and the longest an experiment may take."""
        life, longest_s = self.life, self.life.rules.max_duration_s
        is_open = life.phase in ("running", "confirming")
        if is_open and longest_s is not None and age_s(life, self.now) >= longest_s:
            self.life = replace(life, outcome="undecided")
            self.enter("concluded", f"undecided after max_duration = {longest_s:g} s: weights frozen")
            return
        if is_open:
            for number, arm in enumerate(life.arms):
                if quarantine.has_rested(arm, self.now):
                    self.put(number, replace(arm, is_trying=True))
        self.look_around()

    def assessed(self, event: Assessed) -> None:
        """Take over one refresh: leader, weights, single retirements, confirming, the end."""
        if self.life.phase not in ("running", "confirming"):
            return
        self.life = replace(
            self.life, leader=event.leader, weights=event.weights, segment_weights=event.segment_weights
        )
        if event.is_over and self._may_end(event.leader, event.serves):
            self._end(event)
            return
        if self.life.rules.action == "retire":
            for number in event.retire:
                is_spared = number in (self.life.control, event.leader)
                if not is_spared and self.life.arms[number].state == "eligible":
                    self.move(number, "draining", "drained of its value, and refuted as better", event.numbers)
        if event.is_held and self._has_rivals():
            return
        if event.is_drained and self._has_rivals():
            self.enter("confirming", f"{event.why_drained}; confirming that no challenger is better", event.numbers)
        else:
            alone = "" if self._has_rivals() else "the others are not fit now: nothing to compare with"
            self.enter("running", alone or "; ".join(event.not_ready) or "value remains", event.numbers)

    def _may_end(self, leader: int, serves: Sequence[int]) -> bool:
        """Say whether the assessment covers what the experiment asks: control, and someone against it."""
        states = [arm.state for arm in self.life.arms]
        are_fit = all(states[arm] == "eligible" for arm in (leader, self.life.control, *serves))
        # An arm that was just added has not been heard; its warming ends within minutes, one way or the other.
        return self._has_rivals() and are_fit and "warming" not in states

    def _has_rivals(self) -> bool:
        """Say whether arms compete, or one is left for good: with others sick or on their way nothing was decided."""
        states = [arm.state for arm in self.life.arms]
        return states.count("eligible") > 1 or not {"quarantined", "warming"} & {*states}

    def crown(self, number: int, why: str) -> None:
        """Make an eligible arm the one that serves, by an operator's word; the others go as losers do."""
        life, name = self.life, self.life.arms[number].name
        outcome: Outcome = "kept" if number == life.control else "replaced"
        before = "" if life.winner is None else life.arms[life.winner].name
        if before != name:
            self.notes.append(Note(self.now, "winner", before, name, why))
        self.life = replace(life, winner=number, outcome=outcome, successor=None, is_promoted=True, serves=())
        if self.life.rules.action != "retire":
            self.enter("concluded", f"{name} serves: {why}")
            return
        self.enter("draining", f"{name} serves: {why}")
        for other, arm in enumerate(self.life.arms):
            if other != number and arm.state in ("eligible", "warming"):
                self.send_away(other, f"{name} serves in its place")
        self.look_around()

    def _end(self, event: Assessed) -> None:
        life = self.life
        outcome: Outcome = "kept" if event.leader == life.control else "replaced"
        self.life = replace(life, winner=event.leader, outcome=outcome, serves=event.serves)
        name = life.arms[event.leader].name
        why = f"{name} wins: {event.why_drained}, and no live challenger is better by the margin"
        if others := sorted({*event.serves} - {event.leader}):
            why += f"; segments keep {', '.join(life.arms[arm].name for arm in others)}"
        kept = {event.leader, *event.serves}
        losers = [number for number, arm in enumerate(life.arms) if arm.state == "eligible" and number not in kept]
        is_leaving = losers or any(arm.state in ("draining", "standby") for arm in life.arms)
        if life.rules.action != "retire" or not is_leaving:
            self.enter("concluded", why, event.numbers)
            return
        self.enter("draining", why, event.numbers)
        for number in losers:
            is_copy = number in event.park
            if is_copy:
                self.put(number, replace(life.arms[number], is_parked=True))
            self.move(number, "draining", "a dearer copy of the winner" if is_copy else "lost", event.numbers)
        self.look_around()

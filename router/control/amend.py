"""How an experiment comes to be, and how an edited specification changes it: what is known of its arms stays with them.

An arm is known by its name, and its number is its place in `Document.arms` for good, for sums are kept by number.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import msgspec

from bandits.experiment import begin, step
from bandits.life import EndRules, Life, Note, to_json
from bandits.operate import OPEN, Directed, inner_phase, refusal
from bandits.operation import AddArms, DropArm
from router.config.document import BadInput, Place, Problem, validate
from router.config.experiment import Experiment
from router.config.experiment_sections import Arm
from router.config.settings import Backend
from router.control.dossier import Document, Dossier
from router.control.reopen import brings_new_arms, in_new_epoch

# What was counted was counted by these; another experiment is the place for others. All else is applied to the sums when
# they are read, or starts anew by itself (the bound on slow calls, `guards.bounded`).
_FIXED: Final[Mapping[Place, str]] = {
    ("model",): "clients call it by this name",
    ("control",): "all evidence was taken against it",
    ("objective", "reward"): "rewards were counted by their type, range, window, feedback and event",
    ("policy", "sticky"): "it says what one draw was",
    ("policy", "segments"): "what was counted belongs to segments by their places in this list",
}


class StateConflict(Exception):
    """What was ordered does not fit the state the experiment is in."""


def end_rules(spec: Experiment, backends: Mapping[str, Backend]) -> EndRules:
    """Return what happens to the losers; those on a backend that is only observed Turpin never unloads.

    The arms of `spec` are numbered as those of the experiment. A backend that is not configured any more, of an arm that
    was dropped, nobody manages.
    """
    is_observed = [arm.backend not in backends or backends[arm.backend].control != "managed" for arm in spec.arms]
    return replace(spec.end_rules(), observed=tuple(place for place, one in enumerate(is_observed) if one))


def found(spec: Experiment, rules: EndRules, epoch: int) -> Document:
    """Return the draft of an experiment."""
    draft = begin(tuple(arm.name for arm in spec.arms), spec.arm(spec.control), rules)
    written = spec.model_dump(mode="json")
    return Document(spec=written, epoch=epoch, life=to_json(draft), arms=tuple(written["arms"]))


def obeyed(dossier: Dossier, order: Directed) -> tuple[Document, tuple[Note, ...]]:
    """Return the document after an order; StateConflict when it does not fit."""
    reason = refusal(dossier.life, order)
    if reason:
        raise StateConflict(reason)
    life, _, notes = step(dossier.life, order)
    return dossier.with_life(life).document, notes


def amend(
    dossier: Dossier, spec: Experiment, backends: Mapping[str, Backend], *, now: float, who: str, fresh_epoch: int
) -> tuple[Document, tuple[Note, ...]]:
    """Return the document with an edited specification.

    The very document, when the specification says what holds already. After the end an arm that is new begins the next
    epoch, `fresh_epoch` (random), if `reopen_on` says so.
    BadInput for what can't change any more, StateConflict when the end is decided; `now` in unix s.
    """
    written = spec.model_dump(mode="json")
    document = dossier.document
    arms, rules = laid_out(document, spec, backends)
    if written == document.spec and rules == dossier.life.rules:
        return document, ()
    if dossier.life.phase == "draft":
        fresh = found(spec, end_rules(spec, backends), document.epoch)
        return msgspec.structs.replace(document, spec=fresh.spec, life=fresh.life, arms=fresh.arms), ()
    is_anew = brings_new_arms(dossier, spec)
    if inner_phase(dossier.life) not in OPEN and not is_anew:
        raise StateConflict(f"the experiment is {dossier.life.phase}: make another one for a new question")
    check_fit(dossier, spec)
    if is_anew:
        anew = msgspec.structs.replace(document, spec=written, arms=arms)
        return in_new_epoch(dossier, anew, rules, now, who, fresh_epoch)
    life, notes = _arms_changed(dossier, spec, now, who)
    added = len(life.arms) - len(dossier.life.arms)
    changed = msgspec.structs.replace(
        document,
        spec=written,
        arms=arms,
        life=to_json(replace(life, rules=rules)),
        block_parts=_widened(document.block_parts, len(dossier.life.arms), added),
        # The last assessment knows nothing of arms that came since.
        numbers=None if added else document.numbers,
    )
    return changed, notes


def laid_out(
    document: Document, spec: Experiment, backends: Mapping[str, Backend]
) -> tuple[tuple[dict[str, Any], ...], EndRules]:
    """Return every arm that ever was, as another specification has it, and what that does with the losers."""
    arms = _arms_of(document, spec.model_dump(mode="json"))
    return arms, end_rules(spec.model_copy(update={"arms": tuple(validate(Arm, arm) for arm in arms)}), backends)


def check_fit(dossier: Dossier, spec: Experiment) -> None:
    """Refuse (BadInput) a specification that would make something else of what was counted."""
    fixed = _fixed_problems(dossier.spec.model_dump(mode="json"), spec.model_dump(mode="json"))
    problems = [*fixed, *_arm_problems(dossier, spec)]
    if problems:
        raise BadInput(problems)


def _arms_of(document: Document, written: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """Return every arm that ever was, as it is specified now, and the new ones after them."""
    by_name = {arm["name"]: arm for arm in written["arms"]}
    known = document.arms or tuple(document.spec["arms"])
    return (*(by_name.pop(arm["name"], arm) for arm in known), *by_name.values())


def _arms_changed(dossier: Dossier, spec: Experiment, now: float, who: str) -> tuple[Life, tuple[Note, ...]]:
    """Send away the arms that are gone, take back those that are there again, and add the new ones."""
    wanted = [arm.name for arm in spec.arms]
    were = {arm["name"] for arm in dossier.document.spec["arms"]}
    gone = [number for number, arm in enumerate(dossier.life.arms) if arm.name in were and arm.name not in wanted]
    orders: list[Directed] = [DropArm(now, number, who) for number in gone]
    coming = tuple(name for name in wanted if name not in were)
    if coming:
        orders.append(AddArms(now, coming, who))
    life = dossier.life
    notes: list[Note] = []
    for order in orders:
        life, _, told = step(life, order)
        notes += told
    return life, tuple(notes)


def _widened(parts: tuple[int, ...], arms: int, added: int) -> tuple[int, ...]:
    """Return the parts a block began with, of every segment, with nothing for arms that came since."""
    rows = [parts[start : start + arms] for start in range(0, len(parts), arms)]
    return tuple(part for row in rows for part in (*row, *(0 for _ in range(added))))


def _fixed_problems(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Problem]:
    for place, why in _FIXED.items():
        was, is_now = before, after
        for part in place:
            was, is_now = was[str(part)], is_now[str(part)]
        if was != is_now:
            words = f"can't change once the experiment was started, for {why}: make another one for a new question"
            yield Problem(place, words)


def _arm_problems(dossier: Dossier, spec: Experiment) -> Iterator[Problem]:
    known = {arm.name: (arm.backend, arm.model, arm.version) for arm in dossier.spec.arms}
    for place, arm in enumerate(spec.arms):
        was = known.get(arm.name)
        if was is not None and was != (arm.backend, arm.model, arm.version):
            what = f"'{arm.name}' is version {was[2]} of '{was[1]}' on '{was[0]}', and what is known of it is known of that"
            yield Problem(("arms", place), f"{what}: give another servable a name of its own")

"""Takes an experiment back to an earlier revision: what it specified, and after the end what served under it too.

Before the end the specification is all that goes back: who serves is what the experiment is there to find out. After it
the arm that served is promoted, so it is loaded and warm before it gets traffic, and what it replaces goes after that.
Nothing is counted anew and no epoch begins; an arm that was dropped since comes back under its number.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import msgspec

from bandits.experiment import step
from bandits.life import Note, to_json
from bandits.operate import OPEN, inner_phase, refusal
from bandits.operation import Rollback
from router.config.document import BadInput
from router.config.experiment import Experiment
from router.config.experiment_files import backend_problems, served_problems
from router.config.settings import Backend
from router.control.amend import StateConflict, amend, check_fit, laid_out
from router.control.dossier import Document, Dossier


@dataclass(frozen=True, slots=True)
class Held:
    """What held at a revision: its specification, and the name of the arm that served last under it."""

    revision: int
    spec: Experiment
    serves: str


def went_back(
    dossier: Dossier, held: Held, backends: Mapping[str, Backend], *, now: float, who: str, fresh_epoch: int
) -> tuple[Document, tuple[Note, ...]]:
    """Return the document back at a revision, and what to tell.

    BadInput where the revision does not fit what is configured or was counted, StateConflict where the state forbids it;
    `now` in unix s.
    """
    written = held.spec.model_dump(mode="json")
    problems = [*backend_problems(written, backends), *served_problems(held.spec, backends)]
    if problems:
        raise BadInput(problems)
    if inner_phase(dossier.life) in ("draft", *OPEN):
        return amend(dossier, held.spec, backends, now=now, who=who, fresh_epoch=fresh_epoch)
    return _after_the_end(dossier, held, backends, now, who)


def _after_the_end(
    dossier: Dossier, held: Held, backends: Mapping[str, Backend], now: float, who: str
) -> tuple[Document, tuple[Note, ...]]:
    numbers = {arm.name: number for number, arm in enumerate(dossier.life.arms)}
    unknown = sorted({held.serves, *(arm.name for arm in held.spec.arms)} - numbers.keys())
    if unknown:
        what = f"revision {held.revision} was a draft with {', '.join(unknown)}, which never took part"
        raise StateConflict(f"{what}: make another experiment for it")
    check_fit(dossier, held.spec)
    arms, rules = laid_out(dossier.document, held.spec, backends)
    written = held.spec.model_dump(mode="json")
    life = replace(dossier.life, rules=rules)
    arm = numbers[held.serves]
    order = Rollback(now, who, arm)
    notes: tuple[Note, ...] = ()
    reason = refusal(life, order)
    if not reason:
        life, _, notes = step(life, order)
    elif life.phase in ("draining", "concluded") and life.winner == arm and written != dossier.document.spec:
        # It serves already, and from now on by a person's word: only the rest goes back.
        life = replace(life, is_promoted=True, successor=None)
    else:
        raise StateConflict(reason)
    return msgspec.structs.replace(dossier.document, spec=written, arms=arms, life=to_json(life)), notes

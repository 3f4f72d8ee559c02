"""What is shown of an experiment where it is changed: in the answer, and in the row of the audit."""

from typing import Any

from bandits.life import Life, from_json
from router.control.dossier import Document


def life_of(document: Document) -> Life:
    """Return the life that a document has."""
    return from_json(document.life)


def brief(name: str, document: Document) -> dict[str, Any]:
    """Return what a change is answered with: where the experiment stands now."""
    life = life_of(document)
    return {
        "name": name,
        "revision": document.revision,
        "epoch": f"{document.epoch:016x}",
        "phase": life.phase,
        "reason": life.reason,
        "winner": None if life.winner is None else life.arms[life.winner].name,
        "outcome": life.outcome,
        "bypassed": life.is_bypassed,
        "arms": [{"name": arm.name, "state": arm.state, "reason": arm.reason} for arm in life.arms],
    }


def seen(document: Document, is_edited: bool) -> dict[str, Any]:
    """Return what a row of the audit shows of an experiment; its specification where that was edited."""
    life = life_of(document)
    return {
        **({"spec": document.spec} if is_edited else {}),
        "phase": life.phase,
        "bypassed": life.is_bypassed,
        "winner": None if life.winner is None else life.arms[life.winner].name,
        "serves": life.arms[life.serving].name,
        "arms": {arm.name: arm.state for arm in life.arms},
    }

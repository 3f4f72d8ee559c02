"""What an order would do, before anybody gives it; and which orders an experiment would obey now."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec

from bandits.life import Archive, Drain, Life, Note, Pause, Promote, Restore, Resume, Retire, Start
from bandits.operate import Directed, refusal
from bandits.operation import Bypass, Rollback, Stop
from router.admin.shown import brief, life_of
from router.control.dossier import Document, Dossier
from router.control.splits import splits_of
from router.snapshot import PARTS, decode


def foreseen(dossier: Dossier, after: Document, notes: tuple[Note, ...], published: bytes | None) -> dict[str, Any]:
    """Return where the experiment stands and where it would stand, each with the arms' shares, and the notes.

    `published` is the newest snapshot, for its weights: the stored life has those of the last change. An arm that is to
    be loaded first gets its traffic later, and the notes say so.
    """
    weights = None if published is None else tuple(arm.parts / PARTS for arm in decode(published).arms)
    coming = life_of(after)
    return {
        "before": brief(dossier.name, dossier.document) | {"shares": _shares(dossier, dossier.life, weights)},
        "after": brief(dossier.name, after) | {"shares": _shares(dossier, coming, weights)},
        "notes": [msgspec.to_builtins(note) for note in notes],
    }


def _shares(dossier: Dossier, life: Life, weights: tuple[float, ...] | None) -> dict[str, float]:
    """Return each arm's share with this life; that of an arm which the dossier does not know is left out."""
    known = dossier.with_life(life)
    if weights is not None and len(weights) == len(life.arms) and sum(weights) > 0.0:
        life = replace(life, weights=weights)
    parts = splits_of(known, life).parts
    return {arm.name: part / PARTS for arm, part in zip(life.arms, parts, strict=True)}


def refusals(dossier: Dossier) -> Iterator[tuple[str, str | None, str]]:
    """Yield (order, arm or None, why it would be refused now or an empty string)."""
    life, now = dossier.life, 0.0
    plain: dict[str, Directed] = {
        "start": Start(now),
        "pause": Pause(now),
        "resume": Resume(now),
        "bypass": Bypass(now),
        "rollback": Rollback(now),
        "stop": Stop(now),
        "archive": Archive(now),
    }
    for verb, order in plain.items():
        yield verb, None, refusal(life, order)
    wanted = {arm["name"] for arm in dossier.document.spec["arms"]}
    for number, arm in enumerate(life.arms):
        if arm.name not in wanted:
            continue
        for verb, kind in (("promote", Promote), ("drain", Drain), ("restore", Restore), ("retire", Retire)):
            yield verb, arm.name, refusal(life, kind(now, number))

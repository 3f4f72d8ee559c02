"""What held at an earlier revision of an experiment, as the audit knows it."""

from typing import Any

import msgspec

from router.admin.answers import Refused
from router.admin.desk import Row
from router.admin.reading import AUDIT
from router.admin.requests import read
from router.admin.shown import seen
from router.config.experiment import Experiment
from router.control.dossier import Dossier
from router.control.going_back import Held
from router.problems import Problem
from router.store import Store
from router.store.contract import HISTORY_KEPT


async def held_at(store: Store, dossier: Dossier, revision: int) -> Held:
    """Return what held when a revision was over; Refused for one that never was, or is not known any more."""
    name, current = dossier.name, dossier.document.revision
    if revision > current:
        raise Refused(Problem.NOT_FOUND, f"there is no revision {revision} of {name!r} yet: it is at {current}")
    specs: dict[int, Any] = {}
    sides: dict[int, Any] = {}
    for raw in await store.history(AUDIT, HISTORY_KEPT):
        row = msgspec.json.decode(raw, type=Row)
        if row.experiment != name:
            continue
        if row.before is None or row.after is None:
            specs.clear()
            sides.clear()
        # How it was before the next change is later than how it was after its own.
        for number, side in ((row.revision - 1, row.before), (row.revision, row.after)):
            if side is not None:
                sides[number] = side
                if "spec" in side:
                    specs[number] = side["spec"]
    sides[current] = seen(dossier.document, is_edited=False)
    known = [number for number in specs if number <= revision]
    if not known:
        raise Refused(Problem.NOT_FOUND, f"revision {revision} of {name!r} is not known any more")
    spec = read(Experiment, specs[max(known)])
    side = sides.get(revision, {})
    # Rows of older versions of Turpin have the winner only.
    return Held(revision, spec, side.get("serves") or side.get("winner") or spec.control)

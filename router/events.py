"""Events: every line of a history and every row of the audit once more, in one list of the store, in the order they came.

One list, so that a reader's place in it is one number, the same at every gateway and after every restart. Each event is
written in one step with what it tells of.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from bandits.life import Note
from router.store import Entry, Store

EVENTS: Final = "/events"
# What a reader that was away may have missed and still gets; beyond it everything is read anew anyway.
CAUGHT_UP_MAX: Final = 1_000


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """One event. `kind`: history (a change of an experiment) or audit (somebody asked for a change).

    `before` and `after` are those of a history's line; of the audit's they may be long, and are in the audit.
    """

    kind: str
    at: float
    experiment: str
    what: str
    why: str
    before: str = ""
    after: str = ""
    numbers: dict[str, float] = {}
    who: str = ""
    role: str = ""
    revision: int = 0


def told(name: str, notes: Sequence[Note]) -> tuple[Entry, ...]:
    """Return the lines of an experiment's history, each with its event."""
    return tuple(
        entry
        for note in notes
        for entry in (
            Entry(name, msgspec.json.encode(note)),
            _event(Event("history", note.now, name, note.what, note.why, note.before, note.after, dict(note.numbers))),
        )
    )


def asked(audit: str, row: Any) -> tuple[Entry, ...]:
    """Return a row of the audit (router/admin/desk.py) with its event."""
    event = Event("audit", row.at, row.experiment, row.what, row.why, who=row.who, role=row.role, revision=row.revision)
    return Entry(audit, msgspec.json.encode(row)), _event(event)


async def newest(store: Store) -> int:
    """Return the number of the newest event, 0 when there is none."""
    entries, number = await store.page(EVENTS, 1, None)
    # A page says the number of its first entry only if there is one before it.
    return number if number is not None else len(entries)


async def since(store: Store, number: int) -> list[tuple[int, bytes]] | None:
    """Return the events after a number; None when it is none of this store's, or too much came since."""
    last = await newest(store)
    missed = last - number
    if not 0 <= missed <= CAUGHT_UP_MAX:
        return None
    if not missed:
        return []
    entries, _ = await store.page(EVENTS, missed, last + 1)
    return list(enumerate(entries, number + 1)) if len(entries) == missed else None


def _event(event: Event) -> Entry:
    return Entry(EVENTS, msgspec.json.encode(event))

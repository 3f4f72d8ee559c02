"""Where people's changes to experiments are made: read, applied to what was read, written if nobody else wrote meanwhile.

Any gateway may do it: the write is guarded by the document's revision (compare-and-set), not by the leader's fence, and
the leader reads what changed before its next turn. The change, the experiment's history and the row of the audit are one
step in the store.
"""

import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import structlog

from bandits.life import Note, Start
from bandits.operate import Directed
from router import events
from router.admin.answers import Refused, unknown_experiment
from router.admin.first_answers import first_answer, remembered
from router.admin.foresight import foreseen
from router.admin.reading import AUDIT, etag_of
from router.admin.shown import brief, life_of, seen
from router.config.document import BadInput
from router.config.experiment import Experiment
from router.config.settings import Backend
from router.control.amend import StateConflict, amend, end_rules, found, obeyed
from router.control.dossier import Document, Dossier, FirstAnswer, dossier_of, encode
from router.control.going_back import Held, went_back
from router.problems import Problem
from router.store import Entry, Record, RevisionConflict, Store, StoreUnavailable

log = structlog.get_logger(__name__)

# The leader writes once a second at most; a few tries outlast it.
_TRIES: Final = 8


class Row(msgspec.Struct, frozen=True):
    """One row of the audit: who did what to which experiment, why, and how it was before and after."""

    at: float
    who: str
    role: str
    what: str
    experiment: str
    revision: int
    why: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Asked:
    """A change that somebody asks for: who, what for, and the key under which the first answer is kept (or none)."""

    who: str
    role: str
    what: str
    why: str = ""
    key: str = ""
    fingerprint: str = ""
    if_match: str | None = None
    is_dry: bool = False  # only what it would do is asked for

    @property
    def signed(self) -> str:
        """Who asks, and why, as the history tells it."""
        return self.who + (f": {self.why}" if self.why else "")


@dataclass(frozen=True, slots=True)
class Done:
    """What was answered: status, body, and the ETag of the experiment, empty when it is gone."""

    status: int
    body: msgspec.Raw
    etag: str
    revision: int
    is_replayed: bool = False


Change = Callable[[Dossier, float], tuple[Document, tuple[Note, ...]]]


class Desk:
    """Makes changes. It holds nothing itself."""

    def __init__(self, *, store: Store, backends: Mapping[str, Backend], unix_now: Callable[[], float]) -> None:
        self._store = store
        self._backends = backends
        self._unix_now = unix_now

    async def find(self, name: str) -> Dossier:
        """Return an experiment as it is stored; Refused when there is none."""
        for record in await self._store.experiments():
            if record.name == name:
                return dossier_of(record.name, record.revision, record.document)
        raise unknown_experiment(name)

    async def create(self, spec: Experiment, asked: Asked) -> Done:
        """Store a draft; Refused when the name or the model is taken."""
        records = {record.name: record for record in await self._store.experiments()}
        known = records.get(spec.name)
        if known is not None:
            replay = _replay(dossier_of(known.name, known.revision, known.document), asked)
            if replay is not None:
                return replay
            raise Refused(
                Problem.STATE, f"there is an experiment '{spec.name}' already: change it, or take another name"
            )
        _check_model(records.values(), spec)
        now = self._unix_now()
        document = found(spec, end_rules(spec, self._backends), secrets.randbits(64))
        document, done = self._answered(
            document, Dossier(spec.name, 0, document, spec, life_of(document)), asked, 201, now
        )
        row = self._row(asked, spec.name, document.revision, None, {"spec": document.spec}, now)
        note = Note(now, "revision", "", "1", f"created by {asked.signed}")
        try:
            await self._store.save_experiment(spec.name, encode(document), 0, None, _entries(spec.name, (note,), row))
        except RevisionConflict as error:
            raise Refused(Problem.STATE, f"there is an experiment '{spec.name}' already") from error
        log.info("experiment created", experiment=spec.name, who=asked.who)
        return done

    async def replace(self, name: str, spec_of: Callable[[Dossier], Experiment], asked: Asked) -> Done:
        """Store another specification; `spec_of` makes it from the experiment as it is.

        One that says what holds already is answered with the present revision, and nothing is written.
        """
        others = await self._store.experiments()

        def change(dossier: Dossier, now: float) -> tuple[Document, tuple[Note, ...]]:
            spec = spec_of(dossier)
            _check_model(others, spec)
            epoch = secrets.randbits(64)
            document, notes = amend(dossier, spec, self._backends, now=now, who=asked.signed, fresh_epoch=epoch)
            if document is dossier.document:
                return document, ()
            return document, (_edited(dossier, now, f"edited by {asked.signed}"), *notes)

        return await self._change(name, change, asked)

    async def go_back(self, name: str, held: Held, asked: Asked) -> Done:
        """Go back to what held at a revision; Refused where it does not fit what is there now."""
        others = await self._store.experiments()

        def change(dossier: Dossier, now: float) -> tuple[Document, tuple[Note, ...]]:
            _check_model(others, held.spec)
            epoch = secrets.randbits(64)
            document, notes = went_back(dossier, held, self._backends, now=now, who=asked.signed, fresh_epoch=epoch)
            if document is dossier.document:
                return document, ()
            return document, (_edited(dossier, now, f"back at revision {held.revision}, by {asked.signed}"), *notes)

        return await self._change(name, change, asked)

    async def order(self, name: str, order_of: Callable[[Dossier, float], Directed], asked: Asked) -> Done:
        """Have the experiment obey an order; Refused when its state does not allow that."""
        others = await self._store.experiments()

        def change(dossier: Dossier, now: float) -> tuple[Document, tuple[Note, ...]]:
            order = order_of(dossier, now)
            if isinstance(order, Start):
                # Two that were created at the same instant are both there.
                _check_model(others, dossier.spec)
            return obeyed(dossier, order)

        return await self._change(name, change, asked)

    async def remove(self, name: str, asked: Asked) -> None:
        """Delete a draft or an archived experiment; its history stays."""
        for _ in range(_TRIES):
            dossier = await self.find(name)
            _check_match(dossier, asked)
            if dossier.life.phase not in ("draft", "archived"):
                raise Refused(
                    Problem.STATE,
                    f"the experiment is {dossier.life.phase}: only a draft, or what is archived, is deleted",
                )
            now, revision = self._unix_now(), dossier.document.revision
            row = self._row(asked, name, revision, {"spec": dossier.document.spec}, None, now)
            note = Note(now, "revision", str(revision), "", f"deleted by {asked.signed}")
            try:
                await self._store.remove_experiment(name, dossier.revision, None, _entries(name, (note,), row))
            except RevisionConflict:
                continue
            log.info("experiment deleted", experiment=name, who=asked.who)
            return
        raise StoreUnavailable(f"experiment {name} changes too fast: try again")

    async def _change(self, name: str, change: Change, asked: Asked) -> Done:
        for _ in range(_TRIES):
            dossier = await self.find(name)
            replay = _replay(dossier, asked)
            if replay is not None:
                return replay
            _check_match(dossier, asked)
            now = self._unix_now()
            try:
                document, notes = change(dossier, now)
            except StateConflict as error:
                raise Refused(Problem.STATE, str(error)) from error
            except BadInput as error:
                raise Refused.of(error) from error
            if asked.is_dry:
                shares = (await self._store.snapshots()).get(name)
                return _foreseen(dossier, document, notes, None if shares is None else shares[1])
            if document is dossier.document:
                return _told(dossier)
            document = msgspec.structs.replace(document, revision=document.revision + 1)
            is_edited = document.spec != dossier.document.spec
            before, after = seen(dossier.document, is_edited), seen(document, is_edited)
            document, done = self._answered(document, dossier, asked, 200, now)
            row = self._row(asked, name, document.revision, before, after, now)
            try:
                entries = _entries(name, notes, row)
                await self._store.save_experiment(name, encode(document), dossier.revision, None, entries)
            except RevisionConflict:
                continue
            for note in notes:
                log.info("experiment changed", experiment=name, what=note.what, before=note.before, after=note.after)
            return done
        raise StoreUnavailable(f"experiment {name} changes too fast: try again")

    @staticmethod
    def _answered(document: Document, dossier: Dossier, asked: Asked, status: int, now: float) -> tuple[Document, Done]:
        """Return the answer, and the document that remembers it if a key was sent."""
        body = msgspec.Raw(msgspec.json.encode(brief(dossier.name, document)))
        if asked.key:
            kept = remembered(document.answers, asked.key, FirstAnswer(asked.fingerprint, now, status, body))
            document = msgspec.structs.replace(document, answers=kept)
        return document, Done(status, body, etag_of(document), document.revision)

    @staticmethod
    def _row(asked: Asked, name: str, revision: int, before: Any, after: Any, now: float) -> Row:
        return Row(now, asked.who, asked.role, asked.what, name, revision, asked.why, before, after)


def _told(dossier: Dossier) -> Done:
    """Return the answer to a change that changes nothing."""
    body = msgspec.Raw(msgspec.json.encode(brief(dossier.name, dossier.document)))
    return Done(200, body, etag_of(dossier.document), dossier.document.revision)


def _foreseen(dossier: Dossier, after: Document, notes: tuple[Note, ...], published: bytes | None) -> Done:
    """Return the answer to a change that is not to be made."""
    body = msgspec.Raw(msgspec.json.encode(foreseen(dossier, after, notes, published)))
    return Done(200, body, etag_of(dossier.document), dossier.document.revision)


def _edited(dossier: Dossier, now: float, why: str) -> Note:
    revision = dossier.document.revision
    return Note(now, "revision", str(revision), str(revision + 1), why)


def _entries(name: str, notes: tuple[Note, ...], row: Row) -> tuple[Entry, ...]:
    return (*events.told(name, notes), *events.asked(AUDIT, row))


def _replay(dossier: Dossier, asked: Asked) -> Done | None:
    """Return the first answer to this very request, if there was one; Refused for another request with its key."""
    first = first_answer(dossier.document.answers, asked.key, asked.fingerprint)
    if first is None:
        return None
    return Done(first.status, first.body, etag_of(dossier.document), dossier.document.revision, is_replayed=True)


def _check_model(records: Iterable[Record], spec: Experiment) -> None:
    """Refuse a second experiment for one model: only one can answer for it."""
    for record in records:
        other = dossier_of(record.name, record.revision, record.document)
        if other.name != spec.name and other.spec.model == spec.model and other.life.phase != "archived":
            message = f"the experiment '{other.name}' has the model '{spec.model}' already; one is the most"
            raise Refused(Problem.STATE, message, [{"field": "model", "message": message}])


def _check_match(dossier: Dossier, asked: Asked) -> None:
    """Refuse a change to another revision than the one that is there."""
    if asked.if_match is None:
        return
    current = etag_of(dossier.document)
    if asked.if_match.strip() != "*" and current not in [part.strip() for part in asked.if_match.split(",")]:
        raise Refused(
            Problem.STALE, f"it is {current} now, the change was made to {asked.if_match[:80]}: read it again"
        )

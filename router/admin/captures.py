"""Captures on the admin port: an operator has examples of live requests kept, looks at them, and has them forgotten.

They are in the memory of this gateway alone. Who begins one, stops it or deletes it is in the audit; what it has is not.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Final

import msgspec
import structlog
from aiohttp import web
from pydantic import Field, Strict

from router import events
from router.admin.answers import Refused, answer
from router.admin.application import Handlers
from router.admin.desk import Asked, Desk, Row
from router.admin.first_answers import REPLAYED, first_answer, remembered
from router.admin.gate import Caller
from router.admin.reading import AUDIT
from router.admin.requests import OrderBody, Reason, asked, json_of, read, refuse_dry
from router.capture.messages import BeginCapture, EndCapture
from router.capture.shelf import CAPTURES_MAX, Capture, Shelf
from router.capture.shown import capture_view, page
from router.config.document import Document
from router.config.fields import DAY, MINUTE, Duration, Name
from router.control.dossier import Dossier, FirstAnswer, encode
from router.problems import Problem
from router.store import RevisionConflict, Store, StoreError, StoreUnavailable

log = structlog.get_logger(__name__)

# How often it is looked whether one is over: workers go on for as long.
_LOOK_S: Final = 1.0
# The leader writes once a second at most; a few tries outlast it.
_TRIES: Final = 8
_LIMIT_MAX: Final = 100
_LIMIT: Final = 20
_DIGITS_MAX: Final = 4

View = dict[str, Any]
Tell = Callable[[BeginCapture | EndCapture], Awaitable[None]]


class CaptureBody(Document):
    """What is to be captured, of which experiment, and why."""

    experiment: Name
    # None: all.
    arms: Annotated[tuple[Name, ...], Strict(False), Field(max_length=64)] = ()
    # Only requests whose best two scores are nearer than this in some row; null: any.
    margin_below: float | None = Field(default=None, gt=0)
    # Inputs and outputs that are left out, before anything is kept.
    redact: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=200)], ...], Strict(False), Field(max_length=64)
    ] = ()
    # One a second shows what comes over time, and costs a worker nothing.
    per_minute: int = Field(default=60, ge=1, le=600)
    # As many as a person looks at.
    examples_max: int = Field(default=100, ge=1, le=1_000)
    lasts: Duration = Field(default=10 * MINUTE, ge=1, le=DAY)
    reason: Reason = ""


class Captures:
    """The routes. Mutable: the shelf, and the first answers to keys."""

    def __init__(self, shelf: Shelf, *, desk: Desk, store: Store, tell: Tell, unix_now: Callable[[], float]) -> None:
        """`tell` reaches all workers of this gateway."""
        self._shelf, self._desk, self._store, self._tell = shelf, desk, store, tell
        self._unix_now = unix_now
        self._answers: Mapping[str, FirstAnswer] = {}
        # From looking whether there is room to taking it.
        self._beginning = asyncio.Lock()

    def handlers(self) -> Handlers:
        """Return the handlers by the names of their routes."""
        return {
            "list_captures": self._list,
            "show_capture": self._show,
            "begin_capture": self._begin,
            "stop_capture": self._stop,
            "delete_capture": self._delete,
        }

    async def run(self) -> None:
        """Have captures end when they are over, for ever."""
        while True:
            await asyncio.sleep(_LOOK_S)
            await self._look()

    async def _look(self) -> None:
        for id_ in self._shelf.step():
            await self._tell(EndCapture(id_))
            found = self._shelf.captures.get(id_)
            if found is not None:
                log.info(
                    "capture ended", experiment=found.order.experiment, by=found.ended, examples=len(found.examples)
                )

    async def _list(self, request: web.Request, caller: Caller) -> web.Response:
        return answer({"captures": [capture_view(one) for one in self._shelf.captures.values()]})

    async def _show(self, request: web.Request, caller: Caller) -> web.Response:
        found = self._find(request)
        after = _number(request, "after", 0, 0, 10**_DIGITS_MAX - 1)
        limit = _number(request, "limit", _LIMIT, 1, _LIMIT_MAX)
        examples, following = await asyncio.to_thread(page, tuple(found.examples), after, limit)
        more = {} if following is None else {"next": following}
        return answer({"capture": capture_view(found), "examples": examples, **more})

    async def _begin(self, request: web.Request, caller: Caller) -> web.Response:
        refuse_dry(request)
        raw = await json_of(request)
        body = read(CaptureBody, raw)
        wanted = asked(request, caller, f"capture requests of {body.experiment}", raw, why=body.reason)
        async with self._beginning:
            if (first := first_answer(self._answers, wanted.key, wanted.fingerprint)) is not None:
                return answer(first.body, status=first.status, headers=REPLAYED)
            capture = await self._begun(body, wanted)
            shown = msgspec.Raw(msgspec.json.encode(capture_view(capture)))
            if wanted.key:
                kept = FirstAnswer(wanted.fingerprint, capture.began_at, 201, shown)
                self._answers = remembered(self._answers, wanted.key, kept)
        place = f"/admin/v1/captures/{capture.order.id}"
        return answer(shown, status=201, headers={"Location": place})

    async def _begun(self, body: CaptureBody, wanted: Asked) -> Capture:
        dossier = await self._known(body)
        self._shelf.step()
        running = self._shelf.running(body.experiment)
        if running is not None:
            raise Refused(Problem.STATE, f"capture '{running.order.id}' of this experiment runs: stop it first")
        if self._shelf.is_full:
            raise Refused(Problem.STATE, f"there are {CAPTURES_MAX} captures, which is the most: delete one first")
        now = self._unix_now()
        order = BeginCapture(
            id=secrets.token_hex(8),
            experiment=body.experiment,
            arms=body.arms,
            margin_below=body.margin_below,
            redact=body.redact,
            interval_s=MINUTE / body.per_minute * self._shelf.workers,
            examples_max=body.examples_max,
            until=now + body.lasts,
        )
        capture = Capture(order, who=wanted.who, why=wanted.why, per_minute=body.per_minute, now=now)
        # Not without its row: who reads people's requests has to be known.
        await self._note(dossier, wanted, None, capture_view(capture))
        self._shelf.add(capture)
        await self._tell(order)
        log.info("capture began", experiment=body.experiment, capture=order.id, by=wanted.who)
        return capture

    async def _known(self, body: CaptureBody) -> Dossier:
        """Return the experiment; Refused where there is none, or not these arms."""
        try:
            dossier = await self._desk.find(body.experiment)
        except Refused as refused:
            errors = [{"field": "experiment", "message": refused.detail}]
            raise Refused(Problem.INVALID, "one value is not acceptable", errors) from refused
        names = [arm.name for arm in dossier.spec.arms]
        unknown = [
            {"field": f"arms[{place}]", "message": f"no arm '{arm}'; there are {', '.join(names)}"}
            for place, arm in enumerate(body.arms)
            if arm not in names
        ]
        if unknown:
            raise Refused(Problem.INVALID, f"{len(unknown)} arms are not there", unknown)
        return dossier

    async def _stop(self, request: web.Request, caller: Caller) -> web.Response:
        refuse_dry(request)
        found = self._find(request)
        raw = await json_of(request)
        wanted = asked(
            request, caller, f"stop capture of {found.order.experiment}", raw, why=read(OrderBody, raw).reason
        )
        if not found.ended:
            before = capture_view(found)
            found.end("stopped", self._unix_now())
            await self._look()
            await self._try_to_note(wanted, before, capture_view(found))
        return answer(capture_view(found))

    async def _delete(self, request: web.Request, caller: Caller) -> web.Response:
        refuse_dry(request)
        found = self._find(request)
        wanted = asked(request, caller, f"delete capture of {found.order.experiment}", None)
        self._shelf.remove(found.order.id)
        await self._look()
        await self._try_to_note(wanted, capture_view(found), None)
        return web.Response(status=204)

    def _find(self, request: web.Request) -> Capture:
        id_ = request.match_info["capture"]
        found = self._shelf.captures.get(id_)
        if found is None:
            raise Refused(Problem.NOT_FOUND, f"this gateway has no capture {id_!r}")
        return found

    async def _try_to_note(self, wanted: Asked, before: View, after: View | None) -> None:
        """Write the row of what is done already: less is kept now, which no store must prevent."""
        try:
            await self._note(await self._desk.find(before["experiment"]), wanted, before, after)
        except (StoreError, Refused) as error:
            log.warning("not in the audit", what=wanted.what, capture=before["id"], by=wanted.who, reason=str(error))

    async def _note(self, dossier: Dossier, wanted: Asked, before: View | None, after: View | None) -> None:
        """Write a row of the audit, beside the experiment as it is: a row goes with a document."""
        # As with prices, of no experiment: it is no revision of one.
        row = Row(self._unix_now(), wanted.who, wanted.role, wanted.what, "", 0, wanted.why, before, after)
        for _ in range(_TRIES):
            try:
                await self._store.save_experiment(
                    dossier.name, encode(dossier.document), dossier.revision, None, events.asked(AUDIT, row)
                )
            except RevisionConflict:
                dossier = await self._desk.find(dossier.name)
            else:
                return
        raise StoreUnavailable(f"experiment {dossier.name} changes too fast: try again")


def _number(request: web.Request, name: str, default: int, least: int, most: int) -> int:
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS_MAX and least <= int(text) <= most):
        raise Refused(Problem.INVALID, f"{name} must be a number from {least} to {most}; got {text[:40]!r}")
    return int(text)


def query() -> dict[str, dict[str, Any]]:
    """Return what a page of examples may be asked for, as OpenAPI describes it."""
    return {
        "after": {"type": "integer", "minimum": 0, "default": 0, "description": "the `next` of an earlier page"},
        "limit": {"type": "integer", "minimum": 1, "maximum": _LIMIT_MAX, "default": _LIMIT},
    }

"""The routes of versions: an archive is uploaded, verified, published, and from then on deployed; anybody may watch.

`PUT /admin/v1/models/{model}/versions/{n}?arm=…` says what is to be; sent again with the same digest it changes nothing
and says how far it is. Where files go is the configuration's to say: of the request only names and numbers are used.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import structlog
from aiohttp import web

from router import events
from router.admin import requests
from router.admin.answers import Refused, answer
from router.admin.application import Handlers
from router.admin.desk import Row
from router.admin.gate import Caller
from router.admin.reading import AUDIT
from router.config.document import BadInput
from router.config.document import Problem as Wrong
from router.config.fields import NAME
from router.deploy.comparing import Comparison, check_against
from router.deploy.deployment import Deployment, decode, encode, forward, key_of, view
from router.deploy.joining import Joining
from router.deploy.place import Staging
from router.deploy.publishing import Publishing, Spot
from router.deploy.refusals import DeployRefused, UploadsBusy, VersionTaken
from router.problems import Problem
from router.store import Record, RevisionConflict, Store
from turpin.tar import Limits

log = structlog.get_logger(__name__)

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
# The largest number that TF Serving takes has 19 digits.
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,17}")
_QUERY: Final = frozenset({"arm", "experiment", "backend", "shadow"})
# Between two pieces of an upload; a connection that is silent for longer is gone.
_SILENCE_S: Final = 30.0
# All of an upload: 16 GiB at 5 MB/s.
_UPLOAD_S: Final = 3_600.0
# Handed over to a thread at once: large enough that the threads cost nothing, small beside the control process's 100 MB.
_PIECE_BYTES: Final = 1 << 20
# Each takes disk and a thread; one person deploys one model at a time.
_UPLOADS_MAX: Final = 2


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request wants: a version of a model on a backend, as an arm of an experiment."""

    version: int
    arm: str
    experiment: str | None
    spot: Spot
    digest: str | None
    who: str
    role: str
    why: str
    shadow: Comparison | None = None

    @property
    def key(self) -> str:
        """The deployment's name in the store."""
        return key_of(self.spot.backend, self.spot.model, self.version)


class Uploads:
    """The routes. Mutable: how many uploads are under way."""

    def __init__(
        self,
        *,
        store: Store,
        publishing: Publishing,
        joining: Joining,
        limits: Limits,
        unix_now: Callable[[], float],
    ) -> None:
        self._store = store
        self._publishing = publishing
        self._joining = joining
        self._limits = limits
        self._unix_now = unix_now
        self._under_way = 0

    def handlers(self) -> Handlers:
        """Return the handlers by the names of their routes."""
        return {"put_version": self._put, "show_version": self._show, "list_deployments": self._list}

    async def _list(self, request: web.Request, caller: Caller) -> web.Response:
        found = [decode(record.document) for record in await self._store.deployments()]
        newest = sorted(found, key=lambda one: one.began_at, reverse=True)
        return answer({"deployments": [view(one) for one in newest]})

    async def _show(self, request: web.Request, caller: Caller) -> web.Response:
        version = _version(request)
        wanted = (request.match_info["model"], version, request.query.get("backend"))
        for record in await self._store.deployments():
            found = decode(record.document)
            if (found.model, found.version) == wanted[:2] and wanted[2] in (None, found.backend):
                return answer(view(found))
        raise Refused(Problem.NOT_FOUND, f"version {version} of {wanted[0]!r} was not deployed here")

    async def _put(self, request: web.Request, caller: Caller) -> web.Response:
        try:
            return await self._deploy(request, self._asked(request, caller))
        except DeployRefused as error:
            raise Refused(error.problem, str(error)) from error
        except BadInput as error:
            raise Refused.of(BadInput(Wrong(("shadow", *one.place), one.message) for one in error.problems)) from error

    def _asked(self, request: web.Request, caller: Caller) -> Asked:
        query = request.query
        if unknown := sorted(query.keys() - _QUERY):
            raise Refused(Problem.INVALID, f"there is no parameter {unknown[0][:40]!r}; there are {sorted(_QUERY)}")
        arm, digest = query.get("arm", ""), request.headers.get("Turpin-Digest")
        if not NAME.fullmatch(arm):
            raise Refused(Problem.INVALID, f"arm= must be 1 to 63 of a-z, 0-9 and '-'; got {arm[:80]!r}")
        if digest is not None and not _DIGEST.fullmatch(digest):
            raise Refused(Problem.INVALID, "Turpin-Digest must be sha256: and 64 hex digits")
        person = requests.asked(request, caller, "", None)
        spot = self._publishing.find(request.match_info["model"], query.get("backend"))
        shadow = Comparison.from_json(query["shadow"].encode()) if "shadow" in query else None
        return Asked(
            _version(request), arm, query.get("experiment"), spot, digest, person.who, person.role, person.why, shadow
        )

    async def _deploy(self, request: web.Request, asked: Asked) -> web.Response:
        known = await self._known(asked)
        there = await asyncio.to_thread(asked.spot.digest, asked.version)
        if known is not None:
            before = decode(known.document)
            if await self._is_there(before, asked):
                return _accepted(before)
            if before.state == "running":
                raise VersionTaken(asked.spot.model, asked.version)
        dossier = await self._joining.experiment_for(asked.spot, asked.version, asked.arm, asked.experiment)
        if asked.shadow is not None:
            check_against(asked.shadow.against, dossier)
        experiment = dossier.name
        if there is not None:
            # Published by somebody, or by a gateway that died before it could say so.
            if not there or there != asked.digest:
                raise VersionTaken(asked.spot.model, asked.version)
            begun = self._begun(asked, experiment, there, 0)
            await self._save(begun, known, asked)
            return _accepted(begun)
        return await self._upload(request, asked, experiment, known)

    async def _is_there(self, before: Deployment, asked: Asked) -> bool:
        """Say whether what is asked for is under way or done; what was dropped since joins once more."""
        is_same = (asked.digest, asked.arm) == (before.digest, before.arm)
        # What is over was compared, or was not; while it goes on, another comparison is another deployment.
        is_same = is_same and (before.is_over or _document(asked.shadow) == before.shadow)
        if not is_same or asked.experiment not in (None, before.experiment) or before.state == "failed":
            return False
        return before.state != "done" or await self._joining.has(before)

    async def _upload(self, request: web.Request, asked: Asked, experiment: str, known: Record | None) -> web.Response:
        if self._under_way >= _UPLOADS_MAX:
            raise UploadsBusy(f"{_UPLOADS_MAX} uploads are under way: send this again when they are over")
        self._under_way += 1
        staging: Staging | None = None
        try:
            staging = await asyncio.to_thread(asked.spot.begin, self._limits)
            await _receive(request, staging)
            sealed = await asyncio.to_thread(staging.finish, asked.digest)
            # Said before it is done: whoever leads knows what to look for, should we end in between.
            begun = self._begun(asked, experiment, sealed.digest, sealed.size_bytes)
            revision = await self._save(begun, known, asked)
            await asyncio.to_thread(asked.spot.publish, staging, asked.version)
        finally:
            self._under_way -= 1
            if staging is not None:
                # Shielded from the end of the connection: half an upload must not stay.
                await asyncio.shield(asyncio.to_thread(staging.discard))
        published = forward(begun, self._unix_now())
        try:
            await self._store.save_deployment(published.key, encode(published), revision, None)
        except RevisionConflict:
            log.info("deployment was taken up at once", deployment=begun.key)
        return _accepted(published)

    async def _known(self, asked: Asked) -> Record | None:
        found = [record for record in await self._store.deployments() if record.name == asked.key]
        return found[0] if found else None

    def _begun(self, asked: Asked, experiment: str, digest: str, size_bytes: int) -> Deployment:
        now = self._unix_now()
        return Deployment(
            backend=asked.spot.backend,
            model=asked.spot.model,
            version=asked.version,
            experiment=experiment,
            arm=asked.arm,
            digest=digest,
            size_bytes=size_bytes,
            who=asked.who,
            began_at=now,
            changed_at=now,
            shadow=_document(asked.shadow),
        )

    async def _save(self, begun: Deployment, known: Record | None, asked: Asked) -> int:
        try:
            log.info("deployment begins", deployment=begun.key, arm=begun.arm, digest=begun.digest, who=begun.who)
            revision, entries = known.revision if known else 0, events.asked(AUDIT, _row(begun, asked))
            return await self._store.save_deployment(begun.key, encode(begun), revision, None, entries)
        except RevisionConflict as error:
            raise VersionTaken(begun.model, begun.version) from error


async def _receive(request: web.Request, staging: Staging) -> None:
    """Unpack the body as it arrives; Refused for one that is too slow, or compressed."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Refused(Problem.ENCODED, "a compressed body is not accepted: send a plain tar, without Content-Encoding")
    piece = bytearray()
    try:
        async with asyncio.timeout(_UPLOAD_S):
            while True:
                async with asyncio.timeout(_SILENCE_S):
                    chunk = await request.content.readany()
                piece += chunk
                if len(piece) >= _PIECE_BYTES or (piece and not chunk):
                    await asyncio.to_thread(staging.feed, bytes(piece))
                    piece.clear()
                if not chunk:
                    return
    except TimeoutError as error:
        raise Refused(
            Problem.TIMEOUT, f"nothing arrived for {_SILENCE_S:g} s, or not all in {_UPLOAD_S:g} s"
        ) from error


def _row(begun: Deployment, asked: Asked) -> Row:
    """Return the row of the audit; the revision that adds the arm gets one of its own."""
    what, after = f"deploy {begun.arm}", msgspec.to_builtins(begun)
    # Not None before: that is how the row of a new experiment begins.
    return Row(begun.began_at, asked.who, asked.role, what, begun.experiment, 0, asked.why, {}, after)


def _document(asked: Comparison | None) -> dict[str, Any] | None:
    return None if asked is None else asked.model_dump(mode="json")


def _version(request: web.Request) -> int:
    text = request.match_info["version"]
    if not _NUMBER.fullmatch(text):
        raise Refused(Problem.INVALID, f"a version is a number from 1; got {text[:40]!r}")
    return int(text)


def _accepted(deployment: Deployment) -> web.Response:
    shown = view(deployment)
    status = 200 if deployment.is_over else 202
    return answer(msgspec.Raw(msgspec.json.encode(shown)), status=status, headers={"Location": shown["location"]})

"""Experiments as specified: creating, replacing, patching and deleting them, and what that would do (`?dryRun=true`)."""

import asyncio
import secrets
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from aiohttp import web

from router.admin.answers import Refused, answer
from router.admin.application import Handlers
from router.admin.desk import Asked, Desk, Done
from router.admin.first_answers import REPLAYED
from router.admin.forecast import forecast
from router.admin.gate import Caller
from router.admin.requests import asked, is_dry, json_of, refuse_dry, require_match
from router.config.document import BadInput, Problem, validate
from router.config.experiment import Experiment
from router.config.experiment_files import backend_problems, served_problems
from router.config.settings import Backend
from router.control.amend import StateConflict, amend, end_rules, found
from router.control.dossier import Document, Dossier
from router.problems import Problem as Kind
from router.store import Store


class Editing:
    """The routes that change specifications."""

    def __init__(
        self,
        *,
        desk: Desk,
        store: Store,
        backends: Mapping[str, Backend],
        prices_usd_per_hour: Callable[[], Mapping[str, float]],
        unix_now: Callable[[], float],
    ) -> None:
        self._desk = desk
        self._store = store
        self._backends = backends
        self._prices = prices_usd_per_hour
        self._unix_now = unix_now

    def handlers(self) -> Handlers:
        """Return the handlers by the names of their routes."""
        return {
            "create_experiment": self._create,
            "replace_experiment": self._replace,
            "patch_experiment": self._patch,
            "delete_experiment": self._delete,
        }

    async def _create(self, request: web.Request, caller: Caller) -> web.Response:
        body = await json_of(request)
        spec = self._checked(body)
        if is_dry(request):
            document = found(spec, end_rules(spec, self._backends), 0)
            return answer(await self._forecast(None, document, spec.name))
        done = await self._desk.create(spec, asked(request, caller, "create", body))
        return respond(done, {"Location": f"/admin/v1/experiments/{spec.name}"})

    async def _replace(self, request: web.Request, caller: Caller) -> web.Response:
        body = await json_of(request)
        return await self._edit(request, asked(request, caller, "replace", body), lambda dossier: body)

    async def _patch(self, request: web.Request, caller: Caller) -> web.Response:
        body = await json_of(request)
        if not isinstance(body, Mapping):
            raise Refused(Kind.INVALID, "a merge patch of an experiment is a JSON object")
        wanted = asked(request, caller, "patch", body)
        return await self._edit(request, wanted, lambda dossier: merged(dossier.document.spec, body))

    async def _edit(self, request: web.Request, wanted: Asked, written: Callable[[Dossier], Any]) -> web.Response:
        name = request.match_info["name"]

        def spec_of(dossier: Dossier) -> Experiment:
            return self._checked(written(dossier), name)

        if is_dry(request):
            dossier = await self._desk.find(name)
            spec = spec_of(dossier)
            return answer(await self._forecast(dossier, self._amended(dossier, spec, wanted), name))
        require_match(request)
        return respond(await self._desk.replace(name, spec_of, wanted))

    def _amended(self, dossier: Dossier, spec: Experiment, wanted: Asked) -> Document:
        try:
            return amend(
                dossier, spec, self._backends, now=self._unix_now(), who=wanted.signed, fresh_epoch=secrets.randbits(64)
            )[0]
        except BadInput as error:
            raise Refused.of(error) from error
        except StateConflict as error:
            raise Refused(Kind.STATE, str(error)) from error

    async def _delete(self, request: web.Request, caller: Caller) -> web.Response:
        refuse_dry(request)
        require_match(request)
        await self._desk.remove(request.match_info["name"], asked(request, caller, "delete", {}))
        return web.Response(status=204)

    def _checked(self, written: Any, name: str | None = None) -> Experiment:
        """Return the experiment; Refused with everything that is wrong with it."""
        problems = [*backend_problems(written, self._backends)]
        spec: Experiment | None = None
        try:
            spec = validate(Experiment, written)
        except BadInput as error:
            problems += error.problems
        else:
            problems += served_problems(spec, self._backends)
        if name is not None and isinstance(written, Mapping) and written.get("name") != name:
            problems.append(Problem(("name",), f"is '{name}' in the path: an experiment keeps its name"))
        if problems or spec is None:
            raise Refused.of(BadInput(problems))
        return spec

    async def _forecast(self, before: Dossier | None, after: Document, name: str) -> dict[str, Any]:
        cells = {} if before is None else await self._store.sums(before.document.epoch)
        prices = self._prices()
        return await asyncio.to_thread(forecast, before, after, name, cells, prices, self._unix_now())


def merged(target: Any, patch: Any) -> Any:
    """Return the target with a merge patch (RFC 7396) applied: null removes."""
    if not isinstance(patch, Mapping):
        return patch
    base = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            base.pop(key, None)
        else:
            base[key] = merged(base.get(key), value)
    return base


def respond(done: Done, headers: Mapping[str, str] | None = None) -> web.Response:
    """Answer with what was done; a first answer that is told again says so."""
    replayed = REPLAYED if done.is_replayed else {}
    return answer(
        msgspec.Raw(done.body), status=done.status, headers={"ETag": done.etag, **replayed, **(headers or {})}
    )

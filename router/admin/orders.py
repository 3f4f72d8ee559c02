"""Orders to experiments and their arms: start, pause, resume, stop, promote, roll back, bypass, archive; drain, restore,
retire."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from aiohttp import web

from bandits.life import Archive, Drain, Pause, Promote, Restore, Resume, Retire, Start
from bandits.operate import Directed
from bandits.operation import Bypass, Rollback, Stop
from router.admin.answers import Refused, answer
from router.admin.application import Handlers
from router.admin.bypass import Bypasses
from router.admin.desk import Asked, Desk
from router.admin.editing import respond
from router.admin.foresight import refusals
from router.admin.gate import Caller
from router.admin.reading import state_of
from router.admin.requests import OrderBody, PromoteBody, RollbackBody, asked, json_of, read
from router.admin.revisions import held_at
from router.admin.routes import Role
from router.control.dossier import Dossier
from router.problems import Problem
from router.snapshot import PARTS, decode
from router.store import Store, StoreError

_PLAIN: Final[Mapping[str, type[Start | Pause | Archive]]] = {"start": Start, "pause": Pause, "archive": Archive}
_OF_ARMS: Final[Mapping[str, type[Drain | Restore | Retire]]] = {
    "drain": Drain,
    "restore": Restore,
    "retire": Retire,
}


class Orders:
    """The routes that give orders."""

    def __init__(self, *, desk: Desk, store: Store, bypasses: Bypasses, unix_now: Callable[[], float]) -> None:
        self._desk = desk
        self._store = store
        self._bypasses = bypasses
        self._unix_now = unix_now

    def handlers(self) -> Handlers:
        """Return the handlers by the names of their routes."""
        plain = {verb: self._plain(verb) for verb in _PLAIN}
        arms = {f"{verb}_arm": self._of_arm(verb) for verb in _OF_ARMS}
        return {
            "list_arms": self._list_arms,
            "list_orders": self._list_orders,
            **plain,
            "resume": self._resume,
            "stop": self._stop,
            "promote": self._promote,
            "rollback": self._rollback,
            "bypass": self._bypass,
            **arms,
        }

    async def _list_arms(self, request: web.Request, caller: Caller) -> web.Response:
        dossier = await self._desk.find(request.match_info["name"])
        there = {arm["name"] for arm in dossier.document.spec["arms"]}
        arms = [
            {
                "name": arm.name,
                "number": number,
                "backend": arm.backend,
                "model": arm.model,
                "version": arm.version,
                "state": life.state,
                "since": life.since,
                "reason": life.reason,
                "dropped": arm.name not in there,
            }
            for number, (arm, life) in enumerate(zip(dossier.spec.arms, dossier.life.arms, strict=True))
        ]
        return answer({"arms": arms})

    async def _list_orders(self, request: web.Request, caller: Caller) -> web.Response:
        dossier = await self._desk.find(request.match_info["name"])
        rows = [{"order": verb, "arm": arm, "refusal": refused} for verb, arm, refused in refusals(dossier)]
        return answer({"role": Role.OPERATOR.name.lower(), "orders": rows})

    def _plain(self, verb: str) -> Callable[[web.Request, Caller], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request, caller: Caller) -> web.StreamResponse:
            wanted = await self._asked(request, caller, verb)
            return await self._do(request, wanted, lambda _, now: _PLAIN[verb](now, wanted.signed))

        return handle

    def _of_arm(self, verb: str) -> Callable[[web.Request, Caller], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request, caller: Caller) -> web.StreamResponse:
            name = request.match_info["arm"]
            wanted = await self._asked(request, caller, f"{verb} {name}")
            kind = _OF_ARMS[verb]
            return await self._do(
                request, wanted, lambda dossier, now: kind(now, number_of(dossier, name), wanted.signed)
            )

        return handle

    async def _stop(self, request: web.Request, caller: Caller) -> web.Response:
        wanted = await self._asked(request, caller, "stop")
        weights = await self._weights(request.match_info["name"])

        def order(dossier: Dossier, now: float) -> Directed:
            is_fit = weights is not None and len(weights) == len(dossier.life.arms)
            is_live = dossier.life.phase in ("running", "confirming")
            return Stop(now, wanted.signed, weights if is_fit and is_live else None)

        return await self._do(request, wanted, order)

    async def _weights(self, name: str) -> tuple[float, ...] | None:
        """Return the weights that hold now: the stored life has those of the last change."""
        found = (await self._store.snapshots()).get(name)
        return None if found is None else tuple(arm.parts / PARTS for arm in decode(found[1]).arms)

    async def _promote(self, request: web.Request, caller: Caller) -> web.Response:
        raw = await json_of(request)
        body = read(PromoteBody, raw)
        name = request.match_info["name"]
        state = {} if body.arm else await state_of(self._store, name, self._unix_now())
        arm = body.arm or state.get("leader")
        wanted = asked(request, caller, f"promote {arm or ''}".strip(), raw, why=body.reason, has_dry_run=True)

        def order(dossier: Dossier, now: float) -> Directed:
            if arm is None:
                raise Refused(Problem.INVALID, 'no arm leads yet: say which, {"arm": …}')
            return Promote(now, number_of(dossier, arm), wanted.signed)

        return await self._do(request, wanted, order)

    async def _rollback(self, request: web.Request, caller: Caller) -> web.Response:
        raw = await json_of(request)
        body = read(RollbackBody, raw)
        what = "rollback" if body.revision is None else f"rollback to {body.revision}"
        wanted = asked(request, caller, what, raw, why=body.reason, has_dry_run=True)
        if body.revision is not None:
            name = request.match_info["name"]
            held = await held_at(self._store, await self._desk.find(name), body.revision)
            return respond(await self._desk.go_back(name, held, wanted))
        return await self._do(request, wanted, lambda _, now: Rollback(now, wanted.signed))

    async def _bypass(self, request: web.Request, caller: Caller) -> web.Response:
        wanted = await self._asked(request, caller, "bypass")
        name = request.match_info["name"]
        if wanted.is_dry:
            return await self._do(request, wanted, lambda _, now: Bypass(now, wanted.signed))
        done = await self._bypasses.begin(name, wanted)
        return (
            _here(name, "the store is away: bypassed on this gateway, on all when it is back")
            if done is None
            else respond(done)
        )

    async def _resume(self, request: web.Request, caller: Caller) -> web.Response:
        wanted = await self._asked(request, caller, "resume")
        name = request.match_info["name"]
        was_here = False if wanted.is_dry else await self._bypasses.cancel(name)
        try:
            return await self._do(request, wanted, lambda _, now: Resume(now, wanted.signed))
        except (Refused, StoreError):
            if was_here:
                return _here(name, "the bypass of this gateway has ended; the store never heard of it")
            raise

    async def _asked(self, request: web.Request, caller: Caller, what: str) -> Asked:
        raw: Any = await json_of(request)
        return asked(request, caller, what, raw, why=read(OrderBody, raw).reason, has_dry_run=True)

    async def _do(
        self, request: web.Request, wanted: Asked, order: Callable[[Dossier, float], Directed]
    ) -> web.Response:
        return respond(await self._desk.order(request.match_info["name"], order, wanted))


def number_of(dossier: Dossier, name: str) -> int:
    """Return an arm's number; Refused for one that is not there, or was dropped."""
    there: Mapping[str, int] = {arm.name: number for number, arm in enumerate(dossier.life.arms)}
    wanted = {arm["name"] for arm in dossier.document.spec["arms"]}
    if name not in there:
        raise Refused(Problem.NOT_FOUND, f"there is no arm {name!r}; there are {', '.join(sorted(wanted))}")
    if name not in wanted:
        raise Refused(Problem.STATE, f"the arm '{name}' was dropped: put it into the specification again")
    return there[name]


def _here(name: str, detail: str) -> web.Response:
    return answer({"name": name, "applied": "here", "detail": detail}, status=202)

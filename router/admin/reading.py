"""What experiments are doing and why, read from what the leader published: any gateway on the store can answer."""

from collections.abc import Callable
from typing import Any, Final

import msgspec
from aiohttp import web

from router.admin.answers import answer, unknown_experiment
from router.admin.application import Handlers
from router.admin.gate import Caller
from router.admin.paging import page_of
from router.admin.report_facts import money
from router.control.dossier import Document, dossier_of
from router.snapshot import decode
from router.store import Store

# The history of all that people changed, beside those of experiments: no experiment's name has a slash.
AUDIT: Final = "/audit"


async def state_of(store: Store, name: str, now: float) -> dict[str, Any]:
    """Return the view of the newest snapshot with its version and age (`now` in unix s); empty when there is none."""
    found = (await store.snapshots()).get(name)
    if found is None:
        return {}
    published = decode(found[1])
    view: dict[str, Any] = msgspec.json.decode(published.view)
    return view | {
        "money": money(view["arms"], view["control"]),
        "snapshot_version": published.version,
        "snapshot_age_s": max(0.0, now - published.published_at),
    }


def etag_of(document: Document) -> str:
    """Return the strong ETag: it changes with what people change, and differs between experiments of one name."""
    return f'"{document.epoch:016x}-{document.revision}"'


def _view(raw: bytes) -> dict[str, Any]:
    view: dict[str, Any] = msgspec.json.decode(decode(raw).view)
    return view


class Reading:
    """The routes that only read experiments."""

    def __init__(self, *, store: Store, unix_now: Callable[[], float]) -> None:
        self._store = store
        self._unix_now = unix_now

    def handlers(self) -> Handlers:
        """Return the handlers by the names of their routes."""
        return {
            "list_experiments": self._list,
            "show_experiment": self._show,
            "state": self._state,
            "history": self._history,
            "audit": self._audit,
        }

    async def _list(self, request: web.Request, caller: Caller) -> web.Response:
        published = await self._store.snapshots()
        listed = []
        for record in await self._store.experiments():
            dossier = dossier_of(record.name, record.revision, record.document)
            life = dossier.life
            view = _view(published[record.name][1]) if record.name in published else {}
            listed.append(
                {
                    "name": record.name,
                    "model": dossier.spec.model,
                    "phase": life.phase,
                    "control": life.arms[life.control].name,
                    "leader": view.get("leader"),
                    "winner": None if life.winner is None else life.arms[life.winner].name,
                    "outcome": life.outcome,
                    "bypassed": life.is_bypassed,
                    "alarms": len(view.get("alarms", ())),
                    "shares": {arm["name"]: arm["weight"] for arm in view.get("arms", ())},
                    "money": money(view["arms"], view["control"]) if view else None,
                }
            )
        return answer({"experiments": listed})

    async def _show(self, request: web.Request, caller: Caller) -> web.Response:
        name = request.match_info["name"]
        for record in await self._store.experiments():
            if record.name == name:
                dossier = dossier_of(record.name, record.revision, record.document)
                # Nothing that changes by itself: the ETag stands for all of it. What goes on is in `state` and `arms`.
                body = {
                    "name": name,
                    "revision": dossier.document.revision,
                    "epoch": f"{dossier.document.epoch:016x}",
                    "spec": dossier.document.spec,
                }
                return answer(body, headers={"ETag": etag_of(dossier.document)})
        raise unknown_experiment(name)

    async def _state(self, request: web.Request, caller: Caller) -> web.Response:
        name = request.match_info["name"]
        state = await state_of(self._store, name, self._unix_now())
        if not state:
            raise unknown_experiment(name)
        return answer(state)

    async def _history(self, request: web.Request, caller: Caller) -> web.Response:
        name = request.match_info["name"]
        page = await page_of(self._store, name, request, "history")
        if not page["history"] and all(record.name != name for record in await self._store.experiments()):
            raise unknown_experiment(name)
        return answer(page)

    async def _audit(self, request: web.Request, caller: Caller) -> web.Response:
        return answer(await page_of(self._store, AUDIT, request, "audit"))

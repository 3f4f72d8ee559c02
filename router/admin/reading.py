"""What experiments are doing and why, read from what the leader published: any gateway on the store can answer."""

from collections.abc import Callable
from typing import Any, Final

import msgspec
from aiohttp import web

from router.admin.answers import answer, unknown_experiment
from router.admin.application import Handlers
from router.admin.gate import Caller
from router.control.dossier import dossier_of
from router.snapshot import decode
from router.store import Store

# A page of history; the store keeps the rest.
_HISTORY_MAX: Final = 1_000
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
        "snapshot_version": published.version,
        "snapshot_age_s": max(0.0, now - published.published_at),
    }


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
        now = self._unix_now()
        states = [await state_of(self._store, name, now) for name in sorted(await self._store.snapshots())]
        keys = ("name", "model", "phase", "control", "leader", "winner", "outcome")
        return answer({"experiments": [{key: state[key] for key in keys} for state in states if state]})

    async def _show(self, request: web.Request, caller: Caller) -> web.Response:
        name = request.match_info["name"]
        for record in await self._store.experiments():
            if record.name == name:
                dossier = dossier_of(record.name, record.revision, record.document)
                body = {
                    "spec": dossier.document.spec,
                    "revision": record.revision,
                    "epoch": f"{dossier.document.epoch:016x}",
                    "life": dossier.document.life,
                }
                return answer(body, headers={"ETag": f'"{record.revision}"'})
        raise unknown_experiment(name)

    async def _state(self, request: web.Request, caller: Caller) -> web.Response:
        name = request.match_info["name"]
        state = await state_of(self._store, name, self._unix_now())
        if not state:
            raise unknown_experiment(name)
        return answer(state)

    async def _history(self, request: web.Request, caller: Caller) -> web.Response:
        name = request.match_info["name"]
        entries = await self._store.history(name, _HISTORY_MAX)
        if not entries and all(record.name != name for record in await self._store.experiments()):
            raise unknown_experiment(name)
        return answer({"history": [msgspec.Raw(entry) for entry in entries]})

    async def _audit(self, request: web.Request, caller: Caller) -> web.Response:
        return answer({"audit": [msgspec.Raw(entry) for entry in await self._store.history(AUDIT, _HISTORY_MAX)]})

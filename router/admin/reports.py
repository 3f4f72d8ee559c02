"""The report of an experiment: Markdown for people, JSON for programs, and its plot."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web

from bandits.sums import ARMS_PER_SEGMENT
from router.admin.answers import Refused, answer, unknown_experiment
from router.admin.application import Handlers
from router.admin.gate import Caller
from router.admin.reading import state_of
from router.admin.report_facts import facts
from router.admin.report_plot import shares_svg
from router.admin.report_text import markdown
from router.control.dossier import Document, dossier_of
from router.problems import Problem
from router.store import Fields, Store

# More than any experiment has but one that flaps.
_HISTORY_MAX = 1_000
_FORMATS = ("markdown", "json", "svg")


class Reports:
    """The route that tells what came out."""

    def __init__(self, *, store: Store, unix_now: Callable[[], float]) -> None:
        self._store = store
        self._unix_now = unix_now

    def handlers(self) -> Handlers:
        """Return the handlers by the names of their routes."""
        return {"report": self._report}

    async def _report(self, request: web.Request, caller: Caller) -> web.Response:
        wanted, has_plot = _format(request), request.query.get("plot", "true") != "false"
        name = request.match_info["name"]
        state = await state_of(self._store, name, self._unix_now())
        for record in await self._store.experiments():
            if record.name == name and state:
                document = dossier_of(record.name, record.revision, record.document).document
                history = await self._store.history(name, _HISTORY_MAX)
                sums = await self._store.sums(document.epoch)
                # A plot of 50 arms takes 20 ms, in which all other calls would wait.
                return await asyncio.to_thread(_written, state, document, history, sums, wanted, has_plot=has_plot)
        raise unknown_experiment(name)


def _written(
    state: Mapping[str, Any],
    document: Document,
    history: Sequence[bytes],
    sums: Mapping[tuple[int, int], Fields],
    wanted: str,
    *,
    has_plot: bool,
) -> web.Response:
    """Return the report in the form that is asked for."""
    names = [arm["name"] for arm in state["arms"]]
    notes = [msgspec.json.decode(one) for one in history]
    report = facts(state, document.spec, notes, _blocks(document, names, sums))
    if wanted == "json":
        return answer(report)
    if wanted == "svg":
        svg = shares_svg([arm["name"] for arm in report["arms"]], report["blocks"])
        # As a page of its own it may run nothing and load nothing.
        headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
        return web.Response(text=svg, content_type="image/svg+xml", headers=headers)
    text = markdown(report, has_plot=has_plot)
    return web.Response(text=text, content_type="text/markdown", charset="utf-8")


def _blocks(document: Document, names: Sequence[str], sums: Mapping[tuple[int, int], Fields]) -> list[dict[str, Any]]:
    """Return when each block of the epoch began, and how many requests each arm had in it."""
    counts: defaultdict[int, dict[str, int]] = defaultdict(lambda: dict.fromkeys(names, 0))
    for (number, block), fields in sums.items():
        arm = number % ARMS_PER_SEGMENT
        if 1 <= block <= document.block and arm < len(names):
            counts[block][names[arm]] += fields["decisions"]
    return [{"at": document.block_starts[block - 1], "decisions": counts[block]} for block in sorted(counts)]


def _format(request: web.Request) -> str:
    """Return which form is asked for: by `?format=`, else by Accept, else Markdown."""
    asked = request.query.get("format")
    if asked is not None:
        if asked not in _FORMATS:
            raise Refused(Problem.INVALID, f"format must be one of {', '.join(_FORMATS)}; got {asked[:40]!r}")
        return asked
    accepted = request.headers.get("Accept", "")
    return "json" if "application/json" in accepted else "svg" if "image/svg+xml" in accepted else "markdown"

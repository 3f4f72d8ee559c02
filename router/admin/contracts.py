"""What each route of the admin port reads and answers, by the names of the routes: what `/openapi.json` is made from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import BaseModel

from router.admin import captures, experiment_shapes, shapes
from router.admin.paging import LIMIT_MAX
from router.admin.requests import OrderBody, PromoteBody, RollbackBody
from router.config.experiment import Experiment
from router.problems import Problem

Query = Mapping[str, Mapping[str, Any]]

JSON: Final = "application/json"

_PAGE: Final[Query] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_MAX},
    "cursor": {"type": "string", "description": "the `next` of an earlier page of this list"},
}
_DRY: Final[Query] = {
    "dryRun": {"type": "boolean", "default": False, "description": "answer what would change, and change nothing"}
}
_REPORT: Final[Query] = {
    "format": {"enum": ["markdown", "json", "svg"], "description": "else by Accept, else Markdown"},
    "plot": {"type": "boolean", "default": True, "description": "whether Markdown holds the plot"},
}
_NAME: Final = {"type": "string", "pattern": "^[a-z0-9-]{1,63}$"}
# A JSON object in a query: what a comparison asks for, see docs/how-to/deploy.md.
_JSON: Final = {"type": "string", "contentMediaType": "application/json"}

_STORE: Final = (Problem.FAULT, Problem.STORE_AWAY)
_BODY: Final = (Problem.MALFORMED, Problem.TIMEOUT, Problem.TOO_LARGE, Problem.MEDIA, Problem.INVALID)


@dataclass(frozen=True, slots=True)
class Contract:
    """One route. `answers`: models by status, "" for a status without a body; `others`: more media types of a 200."""

    answers: Mapping[int, tuple[type[BaseModel], ...]]
    problems: tuple[Problem, ...] = _STORE
    body: type[BaseModel] | None = None
    query: Query = field(default_factory=dict)
    has_etag: bool = False
    takes_if_match: bool = False
    takes_key: bool = False
    others: tuple[str, ...] = ()


def _reading(model: type[BaseModel], *problems: Problem, **more: Any) -> Contract:
    return Contract({200: (model,)}, (*problems, *_STORE), **more)


def _order(body: type[BaseModel] = OrderBody, *, may_be_here: bool = False) -> Contract:
    here = {202: (experiment_shapes.AppliedHere,)} if may_be_here else {}
    problems = (*_BODY, Problem.NOT_FOUND, Problem.STATE, Problem.STALE, *_STORE)
    answers = {200: (experiment_shapes.Changed, experiment_shapes.Foreseen), **here}
    return Contract(answers, problems, body, _DRY, has_etag=True, takes_if_match=True, takes_key=True)


def _edit(body: type[BaseModel] | None) -> Contract:
    problems = (*_BODY, Problem.NOT_FOUND, Problem.STATE, Problem.STALE, Problem.UNCONDITIONAL, *_STORE)
    answers = {200: (experiment_shapes.Changed, experiment_shapes.Forecast)}
    return Contract(answers, problems, body, _DRY, has_etag=True, takes_if_match=True, takes_key=True)


CONTRACTS: Final[Mapping[str, Contract]] = {
    "healthz": Contract({200: (shapes.Alive,)}, ()),
    "readyz": Contract({200: (shapes.Readiness,), 503: (shapes.Readiness,)}, ()),
    "metrics": Contract({200: ()}, (Problem.FAULT,), others=("text/plain", "application/openmetrics-text")),
    "openapi": Contract({200: (shapes.Wide,)}, ()),
    "version": Contract({200: (shapes.Version,)}, ()),
    "whoami": _reading(shapes.WhoAmI),
    "audit": _reading(shapes.Audit, Problem.INVALID, query=_PAGE),
    "events": Contract(
        {200: ()},
        (Problem.BUSY, *_STORE),
        query={"experiment": _NAME},
        others=("text/event-stream",),
    ),
    "backends": _reading(shapes.BackendList),
    "list_deployments": _reading(shapes.DeploymentList),
    "show_version": _reading(
        shapes.DeploymentShown, Problem.NOT_FOUND, Problem.INVALID, query={"backend": {"type": "string"}}
    ),
    "list_experiments": _reading(experiment_shapes.ExperimentList),
    "show_experiment": _reading(experiment_shapes.ExperimentShown, Problem.NOT_FOUND, has_etag=True),
    "state": _reading(experiment_shapes.State, Problem.NOT_FOUND),
    "history": _reading(experiment_shapes.History, Problem.NOT_FOUND, Problem.INVALID, query=_PAGE),
    "report": _reading(
        experiment_shapes.Report,
        Problem.NOT_FOUND,
        Problem.INVALID,
        query=_REPORT,
        others=("text/markdown", "image/svg+xml"),
    ),
    "costs": _reading(shapes.Costs),
    "prices": _reading(shapes.PriceList),
    "list_arms": _reading(experiment_shapes.ArmList, Problem.NOT_FOUND),
    "list_orders": _reading(experiment_shapes.OrderList, Problem.NOT_FOUND),
    "create_experiment": Contract(
        {200: (experiment_shapes.Changed, experiment_shapes.Forecast), 201: (experiment_shapes.Changed,)},
        (*_BODY, Problem.STATE, *_STORE),
        Experiment,
        _DRY,
        has_etag=True,
        takes_key=True,
    ),
    "replace_experiment": _edit(Experiment),
    "patch_experiment": _edit(None),
    "delete_experiment": Contract(
        {204: ()},
        (
            Problem.MEDIA,
            Problem.NOT_FOUND,
            Problem.STATE,
            Problem.STALE,
            Problem.UNCONDITIONAL,
            Problem.INVALID,
            *_STORE,
        ),
        takes_if_match=True,
    ),
    **{verb: _order() for verb in ("start", "pause", "stop", "archive", "drain_arm", "restore_arm", "retire_arm")},
    "resume": _order(may_be_here=True),
    "bypass": _order(may_be_here=True),
    "promote": _order(PromoteBody),
    "rollback": _order(RollbackBody),
    "list_captures": Contract({200: (shapes.CaptureList,)}, (Problem.FAULT,)),
    "show_capture": Contract(
        {200: (shapes.CaptureExamples,)}, (Problem.NOT_FOUND, Problem.INVALID, Problem.FAULT), query=captures.query()
    ),
    "begin_capture": Contract(
        {201: (shapes.CaptureShown,)}, (*_BODY, Problem.STATE, *_STORE), captures.CaptureBody, takes_key=True
    ),
    "stop_capture": Contract({200: (shapes.CaptureShown,)}, (*_BODY, Problem.NOT_FOUND, Problem.FAULT), OrderBody),
    "delete_capture": Contract({204: ()}, (Problem.MEDIA, Problem.NOT_FOUND, Problem.INVALID, Problem.FAULT)),
    "put_version": Contract(
        {200: (shapes.DeploymentShown,), 202: (shapes.DeploymentShown,)},
        (
            *(Problem.MALFORMED, Problem.NOT_FOUND, Problem.TIMEOUT, Problem.STATE, Problem.TOO_LARGE, Problem.ENCODED),
            *(Problem.INVALID, Problem.BUSY, Problem.NO_ROOM, *_STORE),
        ),
        query={"arm": _NAME, "experiment": _NAME, "backend": _NAME, "shadow": _JSON},
    ),
    "accept_price": Contract(
        {200: (shapes.PriceAccepted,)},
        (*_BODY, Problem.NOT_FOUND, Problem.STATE, *_STORE),
        OrderBody,
        takes_key=True,
    ),
}

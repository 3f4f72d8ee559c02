"""The admin API described in OpenAPI 3.1, made from the table of routes and from the models that validate what is sent.

`python -P -m router.admin.openapi > docs/reference/openapi.json` writes the reference file; `/openapi.json` serves the same.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from router.admin.application import Handlers
from router.admin.contracts import CONTRACTS, JSON, Contract
from router.admin.gate import MERGE_PATCH, Caller
from router.admin.routes import ROUTES, Role, Route
from router.admin.shapes import ProblemDocument
from router.config.fields import format_duration
from router.problems import CONTENT_TYPE, Problem

_REF: Final = "#/components/schemas/{model}"
_ABOUT: Final = (
    "What operators do with Turpin. Refusals are problem documents (RFC 9457). An experiment's ETag changes with every"
    " change that people make; PUT, PATCH and DELETE want it back in If-Match."
)
_VERSION: Final = "^[1-9][0-9]{0,17}$"
# Of every route that wants a role.
_EVERYWHERE: Final = {Problem.UNAUTHENTICATED, Problem.FORBIDDEN}
_HEADERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "If-Match": {"description": "the ETag that the experiment was read with", "schema": {"type": "string"}},
    "Idempotency-Key": {
        "description": "the first answer to this key is given again for a day",
        "schema": {"type": "string", "pattern": "^[ -~]{0,255}$"},
    },
    "Last-Event-ID": {"description": "the id of the last event that was read", "schema": {"type": "string"}},
    "Turpin-Reason": {
        "description": "why, for history and audit; at most 1,000 characters are kept",
        "schema": {"type": "string"},
    },
}


class OpenApi:
    """The route that serves the description, which never changes while the process lives."""

    def __init__(self) -> None:
        self._body = text().encode()

    def handlers(self) -> Handlers:
        """Return the handlers by the names of their routes."""
        return {"openapi": self._show}

    async def _show(self, request: web.Request, caller: Caller) -> web.Response:
        return web.Response(body=self._body, content_type=JSON)


def document() -> dict[str, Any]:
    """Return the whole description."""
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, CONTRACTS[route.name])
    return {
        "openapi": "3.1.0",
        "info": {"title": "Turpin's admin API", "version": "1", "description": _ABOUT},
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "responses": _refusals(),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def text() -> str:
    """Return the description as it is served and kept."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


def _operation(route: Route, contract: Contract) -> dict[str, Any]:
    problems = set(contract.problems)
    if route.role is not Role.ANYBODY:
        problems |= _EVERYWHERE
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.about,
        "x-turpin-role": route.role.name.lower(),
        "parameters": list(_parameters(route, contract)),
        "responses": {
            **{str(status): _answer(contract, status) for status in contract.answers},
            **{
                str(status): {"$ref": f"#/components/responses/{status}"}
                for status in sorted({one.status for one in problems})
            },
        },
        "security": [] if route.role is Role.ANYBODY else [{"bearer": []}],
    }
    if not operation["parameters"]:
        del operation["parameters"]
    body = _body(route, contract)
    return operation | ({"requestBody": body} if body else {})


def _parameters(route: Route, contract: Contract) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"\{(\w+)\}", route.path):
        pattern = _VERSION if name == "version" else "^[^{}/:]+$"
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string", "pattern": pattern}}
    for name, schema in contract.query.items():
        yield {"name": name, "in": "query", "schema": dict(schema)} | ({"required": True} if name == "arm" else {})
    taken = {
        "If-Match": contract.takes_if_match,
        "Idempotency-Key": contract.takes_key,
        "Turpin-Reason": route.is_writing,
        "Last-Event-ID": route.name == "events",
    }
    for name, is_taken in taken.items():
        if is_taken:
            yield {"name": name, "in": "header", **_HEADERS[name]}


def _body(route: Route, contract: Contract) -> dict[str, Any]:
    if route.method == "PATCH":
        schema = {"type": "object", "description": "a merge patch (RFC 7396) of the specification: null removes"}
        return {"required": True, "content": {MERGE_PATCH: {"schema": schema}}}
    if route.method == "PUT" and contract.body is None:
        return {"required": True, "content": {route.media: {"schema": {"type": "string", "format": "binary"}}}}
    if contract.body is None:
        return {}
    is_wanted = any(field.is_required() for field in contract.body.model_fields.values())
    return {"required": is_wanted, "content": {JSON: {"schema": _ref(contract.body)}}}


def _answer(contract: Contract, status: int) -> dict[str, Any]:
    models = contract.answers[status]
    shown: dict[str, Any] = {"description": "as asked" if not models else _first_line(models[0])}
    content: dict[str, Any] = {media: {"schema": {"type": "string"}} for media in contract.others}
    if models:
        content[JSON] = {"schema": _ref(models[0]) if len(models) == 1 else {"anyOf": [_ref(one) for one in models]}}
    if content:
        shown["content"] = content
    if contract.has_etag and status in (200, 201):
        shown["headers"] = {"ETag": {"description": "stands for the revision", "schema": {"type": "string"}}}
    return shown


def _refusals() -> dict[str, Any]:
    """Return one answer for each status that refuses; its description names the problems that have it."""
    labels: dict[int, list[str]] = {}
    for problem in sorted(
        {one for contract in CONTRACTS.values() for one in (*contract.problems, *_EVERYWHERE)}, key=str
    ):
        labels.setdefault(problem.status, []).append(problem.label)
    content = {CONTENT_TYPE: {"schema": _ref(ProblemDocument)}}
    return {str(status): {"description": ", ".join(labels[status]), "content": content} for status in sorted(labels)}


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REF.format(model=model.__name__)}


def _first_line(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().splitlines()[0]


def _schemas() -> dict[str, Any]:
    models: dict[type[BaseModel], None] = {ProblemDocument: None}
    for contract in CONTRACTS.values():
        models |= dict.fromkeys(model for shown in contract.answers.values() for model in shown)
        if contract.body is not None:
            models[contract.body] = None
    _, schema = models_json_schema([(model, "validation") for model in models], ref_template=_REF)
    found: dict[str, Any] = schema["$defs"]
    for one in found.values():
        one.pop("title", None)
        for described in one.get("properties", {}).values():
            _tidy(described)
    return found


def _tidy(described: dict[str, Any]) -> None:
    """Drop what repeats the name, and write defaults of durations as people do."""
    described.pop("title", None)
    if described.get("default") == "":
        # Stands for "as another member is".
        del described["default"]
    if "examples" in str(described) and isinstance(default := described.get("default"), int | float):
        described["default"] = format_duration(default)
    for inner in described.get("anyOf", ()):
        # pydantic's own words for a bound that has no place in JSON Schema here.
        inner.pop("gt", None)


if __name__ == "__main__":
    sys.stdout.write(text())

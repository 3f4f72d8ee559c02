"""Answers of the admin port: JSON, and refusals as problem documents with every field that is wrong."""

from collections.abc import Mapping, Sequence

import msgspec
from aiohttp import web

from router.config.document import BadInput, place_text
from router.fronts.bodies import RETRY_AFTER_S
from router.problems import CONTENT_TYPE, Problem


class Refused(Exception):
    """A call that is not done, and which problem that is; `errors` name fields and what is wrong with each."""

    def __init__(self, kind: Problem, detail: str, errors: Sequence[Mapping[str, str]] = ()) -> None:
        super().__init__(detail)
        self.kind, self.detail, self.errors = kind, detail, tuple(errors)

    @classmethod
    def of(cls, error: BadInput) -> "Refused":
        """Refuse what was written, with every field that is wrong."""
        errors = [{"field": place_text(one.place), "message": one.message} for one in error.problems]
        count = f"{len(errors)} values are" if len(errors) > 1 else "one value is"
        return cls(Problem.INVALID, f"{count} not acceptable", errors)

    def response(self) -> web.Response:
        """Return the problem document."""
        document = self.kind.document(self.detail) | ({"errors": list(self.errors)} if self.errors else {})
        headers: dict[str, str] = {"WWW-Authenticate": "Bearer"} if self.kind.status == 401 else {}
        if self.kind.status in (429, 503):
            headers["Retry-After"] = RETRY_AFTER_S
        return web.Response(
            body=msgspec.json.encode(document), status=self.kind.status, content_type=CONTENT_TYPE, headers=headers
        )


def answer(value: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return a value as JSON."""
    return web.Response(
        body=msgspec.json.encode(value), status=status, content_type="application/json", headers=headers
    )


def unknown_experiment(name: str) -> Refused:
    """Return the refusal for an experiment that is not there."""
    return Refused(Problem.NOT_FOUND, f"there is no experiment {name!r}")

"""What people send to the admin port, read strictly: bodies, the reason for a change, preconditions and keys."""

import hashlib
from typing import Annotated, Any, Final, TypeVar

import msgspec
from aiohttp import web
from pydantic import Field, Strict

from router.admin.answers import Refused
from router.admin.desk import Asked
from router.admin.gate import Caller
from router.config.document import BadInput, Document, validate
from router.config.fields import Name
from router.fronts.bodies import read_body
from router.problems import Problem

# Sixty-four arms with all that can be said of each take 20 KB.
BODY_BYTES_MAX: Final = 1 << 20
_KEY_CHARS_MAX: Final = 255
_REASON_CHARS_MAX: Final = 1_000

Reason = Annotated[str, Field(max_length=_REASON_CHARS_MAX)]


class OrderBody(Document):
    """What goes with an order: why."""

    reason: Reason = ""


class PromoteBody(Document):
    """Which arm wins; the leader when none is named."""

    arm: Name | None = None
    reason: Reason = ""


class RollbackBody(Document):
    """Back to control; or to the specification of an earlier revision."""

    revision: Annotated[int, Strict()] | None = Field(default=None, ge=1)
    reason: Reason = ""


Body = TypeVar("Body", bound=Document)


async def json_of(request: web.Request) -> Any:
    """Return the body as JSON, {} when there is none; Refused for what is not JSON."""
    raw = await read_body(request, BODY_BYTES_MAX, "1 MiB")
    if not raw.strip():
        return {}
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise Refused(Problem.MALFORMED, f"the body is not JSON: {str(error)[:200]}") from error


def read(model: type[Body], value: Any) -> Body:
    """Return the value as a model; Refused with every field that is wrong."""
    try:
        return validate(model, value)
    except BadInput as error:
        raise Refused.of(error) from error


def asked(
    request: web.Request, caller: Caller, what: str, body: Any, *, why: str = "", has_dry_run: bool = False
) -> Asked:
    """Return who asks for what; `body` is the request's, which together with its path a key stands for."""
    key = request.headers.get("Idempotency-Key", "").strip()
    if len(key) > _KEY_CHARS_MAX or not key.isprintable():
        raise Refused(Problem.INVALID, f"an Idempotency-Key has at most {_KEY_CHARS_MAX} characters, all printable")
    why = why or request.headers.get("Turpin-Reason", "")[:_REASON_CHARS_MAX]
    whole = msgspec.json.encode([request.method, request.path_qs, body], order="deterministic")
    return Asked(
        who=caller.name,
        role=caller.role.name.lower(),
        what=what,
        why="".join(char if char.isprintable() else "?" for char in why),
        key=f"{caller.name}:{key}" if key else "",
        fingerprint=hashlib.sha256(whole).hexdigest(),
        if_match=request.headers.get("If-Match"),
        is_dry=has_dry_run and is_dry(request),
    )


def refuse_dry(request: web.Request) -> None:
    """Refuse to be asked for the consequences where they can't be said, instead of doing it; see `is_dry`."""
    if is_dry(request):
        raise Refused(Problem.INVALID, "dryRun is not offered here: nothing was done")


def is_dry(request: web.Request) -> bool:
    """Say whether only the consequences are asked for; Refused when `dryRun` is neither true nor false."""
    text = request.query.get("dryRun", "false")
    if text not in ("true", "false"):
        raise Refused(Problem.INVALID, f"dryRun must be true or false; got {text[:40]!r}")
    return text == "true"


def require_match(request: web.Request) -> None:
    """Refuse an edit that does not say which revision it was made to."""
    if "If-Match" not in request.headers:
        raise Refused(Problem.UNCONDITIONAL, "send If-Match with the ETag that the experiment was read with")

"""What can go wrong in a call, by name: the gateway's problem documents (RFC 9457), and a gateway that does not answer.

A problem is looked up by the last part of its `type`, then by its HTTP status, so that a later gateway's new problems
still arrive as the right kind of error.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final


class TurpinError(Exception):
    """Anything a call may raise. Its text is for a person; `status` is 0 when no gateway answered."""

    def __init__(
        self, detail: str, *, status: int = 0, label: str = "", errors: Sequence[Mapping[str, str]] = ()
    ) -> None:
        """`label` is the stable last part of the problem's type; `errors` name fields and what is wrong with each."""
        super().__init__(detail)
        self.detail, self.status, self.label, self.errors = detail, status, label, tuple(errors)


class Unreachable(TurpinError):
    """No gateway answered in time. What was asked may or may not be done, if it changes anything."""


class NotTurpin(TurpinError):
    """Something answered that is not the API of a Turpin gateway."""


class BadRequest(TurpinError):
    """The gateway could not read what was sent."""


class Unauthenticated(TurpinError):
    """A bearer token is needed, or the one given is not known."""


class Forbidden(TurpinError):
    """The token may not do that."""


class NotFound(TurpinError):
    """There is no such thing, or this gateway does not offer it."""


class Conflict(TurpinError):
    """The state does not allow it."""


class Gone(TurpinError):
    """Too late: the reward window has closed, or the experiment is forgotten."""


class Stale(TurpinError):
    """It was changed since it was read: read it again."""


class TooLarge(TurpinError):
    """More was sent than the gateway takes."""


class Invalid(TurpinError):
    """A value is not acceptable; `errors` name the fields."""


class Unavailable(TurpinError):
    """The gateway can't do it now: try again later."""


class Fault(TurpinError):
    """A fault of the gateway; its log says more."""


class DeploymentFailed(TurpinError):
    """A deployment ended without an arm; its text says at which step, and in whose words."""


_BY_LABEL: Final[Mapping[str, type[TurpinError]]] = {"forged": Unauthenticated}
_BY_STATUS: Final[Mapping[int, type[TurpinError]]] = {
    400: BadRequest,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    405: NotFound,
    408: Unavailable,
    409: Conflict,
    410: Gone,
    412: Stale,
    413: TooLarge,
    415: BadRequest,
    422: Invalid,
    428: Stale,
    429: Unavailable,
    500: Fault,
    503: Unavailable,
    507: Unavailable,
}


def error_of(status: int, document: Any, fallback: str) -> TurpinError:
    """Return the error for an answer; `document` is its problem document, if it could be read as JSON."""
    problem = document if isinstance(document, dict) else {}
    label = str(problem.get("type", "")).rpartition(":")[2]
    detail = str(problem.get("detail") or problem.get("title") or fallback or f"HTTP status {status}")
    listed = problem.get("errors")
    errors = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    kind = _BY_LABEL.get(label) or _BY_STATUS.get(status) or (Fault if status >= 500 else BadRequest)
    return kind(detail, status=status, label=label, errors=errors)

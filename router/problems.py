"""The refusals of Turpin's own HTTP routes, in one table: RFC 9457 type, title, HTTP status and metric label.

TF Serving's routes keep TF Serving's error body; their errors are in serving/errors.py.
"""

import enum
from typing import Final

import msgspec

CONTENT_TYPE: Final = "application/problem+json"


class Problem(enum.Enum):
    """One row of the table."""

    MALFORMED = ("malformed", 400, "The body is not what this route reads")
    UNAUTHENTICATED = ("unauthenticated", 401, "A bearer token is needed")
    FORGED = ("forged", 401, "The decision token was not made here")
    FORBIDDEN = ("forbidden", 403, "This token may not do that")
    NOT_FOUND = ("not_found", 404, "There is no such thing")
    METHOD = ("method_not_allowed", 405, "This route has other methods")
    CONFLICT = ("conflict", 409, "Another reward was recorded already")
    STATE = ("state_conflict", 409, "The state does not allow it")
    LATE = ("late", 410, "The reward window has closed")
    UNKNOWN_EPOCH = ("unknown_epoch", 410, "The experiment of this decision is over and forgotten")
    STALE = ("stale", 412, "It was changed meanwhile: read it again")
    TOO_LARGE = ("too_large", 413, "The body is too large")
    ENCODED = ("encoded", 415, "Send the body unencoded")
    MEDIA = ("media_type", 415, "Send what this route reads")
    INVALID = ("invalid", 422, "A value is not acceptable")
    TIMEOUT = ("timeout", 408, "The body took too long to arrive")
    KEY_REUSED = ("key_reused", 422, "The Idempotency-Key was used for another request")
    UNCONDITIONAL = ("unconditional", 428, "Say which revision is to be changed")
    BUSY = ("busy", 429, "Too much of this is under way")
    FAULT = ("fault", 500, "A fault of the gateway")
    STORE_AWAY = ("store_away", 503, "The store can't be used now: send this again")
    NO_ROOM = ("no_room", 507, "There is no room for it")

    @property
    def label(self) -> str:
        """The metric label, also the last part of the problem's type."""
        return self.value[0]

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.value[1]

    def document(self, detail: str) -> dict[str, object]:
        """Return the RFC 9457 members; `type` is stable, `detail` is for a person."""
        return {
            "type": f"urn:turpin:problem:{self.label}",
            "title": self.value[2],
            "status": self.status,
            # It may quote a header, whose bytes are not always text: those came as surrogates, which JSON can't hold.
            "detail": detail.encode(errors="replace").decode(),
        }

    def body(self, detail: str) -> bytes:
        """Return the JSON body."""
        return msgspec.json.encode(self.document(detail))

"""The named errors of the data plane: each with one gRPC code, one HTTP status and one metric label."""

import enum
from typing import Literal


class Code(enum.Enum):
    """A canonical status code: its gRPC number and the HTTP status TF Serving's REST API gives it.

    Source: tensorflow_serving/util/net_http and http_rest_api_handler (commit 9d981c5c).
    """

    OK = (0, 200)
    CANCELLED = (1, 499)
    UNKNOWN = (2, 500)
    INVALID_ARGUMENT = (3, 400)
    DEADLINE_EXCEEDED = (4, 504)
    NOT_FOUND = (5, 404)
    ALREADY_EXISTS = (6, 409)
    PERMISSION_DENIED = (7, 403)
    RESOURCE_EXHAUSTED = (8, 429)
    FAILED_PRECONDITION = (9, 400)
    ABORTED = (10, 409)
    OUT_OF_RANGE = (11, 400)
    UNIMPLEMENTED = (12, 501)
    INTERNAL = (13, 500)
    UNAVAILABLE = (14, 503)
    DATA_LOSS = (15, 500)
    UNAUTHENTICATED = (16, 401)

    @property
    def number(self) -> int:
        """The code's number on the wire of gRPC."""
        return self.value[0]

    @property
    def http_status(self) -> int:
        """The HTTP status of a REST answer with this code."""
        return self.value[1]

    @classmethod
    def from_number(cls, number: int) -> "Code":
        """Return the code with this gRPC number; UNKNOWN for a number gRPC does not define."""
        return _BY_NUMBER.get(number, cls.UNKNOWN)


_BY_NUMBER = {code.value[0]: code for code in Code}


class ServingError(Exception):
    """A prediction that ends without an answer: what the client is told, and what is counted."""

    code: Code = Code.UNKNOWN
    label: str = "unknown"

    @property
    def message(self) -> str:
        """The text the client sees."""
        return str(self)


class InvalidArgument(ServingError):
    """The request can't be served by any backend as it stands."""

    code, label = Code.INVALID_ARGUMENT, "invalid_argument"


class ModelNotFound(ServingError):
    """Nobody serves the model, version or label that was named."""

    code, label = Code.NOT_FOUND, "not_found"


class FailedPrecondition(ServingError):
    """The request does not fit the model: an unknown signature, for one."""

    code, label = Code.FAILED_PRECONDITION, "failed_precondition"


class PermissionDenied(ServingError):
    """The call exists but not through this server."""

    code, label = Code.PERMISSION_DENIED, "permission_denied"


class Unimplemented(ServingError):
    """The call or the encoding is not supported here."""

    code, label = Code.UNIMPLEMENTED, "unimplemented"


class QueueFull(ServingError):
    """Shed: the queue is at its bound in rows or bytes."""

    code, label = Code.RESOURCE_EXHAUSTED, "queue_full"


class Overloaded(QueueFull):
    """Shed: more comes than the backend can answer in time."""

    label = "overloaded"


class MessageTooLarge(ServingError):
    """The message is larger than `limits.message_bytes`."""

    code, label = Code.RESOURCE_EXHAUSTED, "message_too_large"


class DeadlineExceeded(ServingError):
    """The request's time ran out: before it came, in the queue (never sent), or at the backend (`stage`)."""

    code, label = Code.DEADLINE_EXCEEDED, "deadline"

    def __init__(self, message: str, stage: Literal["arrival", "queue", "backend"] = "backend") -> None:
        super().__init__(message)
        self.stage = stage


class Unavailable(ServingError):
    """No backend could be reached, or the service is going down."""

    code, label = Code.UNAVAILABLE, "unavailable"


class InternalError(ServingError):
    """A fault of ours, or an answer of the backend that can't be taken apart."""

    code, label = Code.INTERNAL, "internal"


class BackendError(ServingError):
    """What a backend answered instead of a prediction, with its own code and words."""

    label = "backend"

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code

"""Logs: one line per change of state on stderr, JSON for machines, plain for a terminal, and no secret in any of them.

Both structlog and the standard library's logging end here, so that facts given as `extra=` come out alike.
"""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Final, TextIO

import structlog
from aiohttp.http_exceptions import HttpProcessingError
from structlog.typing import EventDict, Processor

from router.json_text import json_text

HIDDEN: Final = "********"
# A key that has one of these among its words has a secret as its value: `api_key`, `decision`, `x-auth-token`.
_SECRET_WORDS: Final = frozenset(
    {"authorization", "token", "tokens", "key", "keys", "secret", "secrets", "password", "decision", "cookie"}
)
_WORDS = re.compile(r"[A-Za-z][a-z]*")
# A bearer token after its scheme; a decision token (94 characters of base64url, see decisions.py) or anything as long
# in that alphabet; credentials in a URL.
_SECRET_VALUES = re.compile(
    r"(?i:(?<=bearer )|(?<=basic ))[A-Za-z0-9._~+/=-]{8,}|(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{90,110}(?![A-Za-z0-9_-])"
    r"|(?<=://)[^/\s@]*:[^/\s@]*(?=@)"
)
# Nested facts are few and shallow; deeper ones are shown as text.
_DEPTH_MAX: Final = 6


def redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Hide secrets in the facts of an event, by key and by the shape of the value (a structlog processor)."""
    for key, value in event.items():
        event[key] = _redacted(key, value, _DEPTH_MAX)
    return event


def _redacted(key: str, value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if key not in ("event", "exception", "stack") and _SECRET_WORDS.intersection(_words(key)):
        return HIDDEN
    if isinstance(value, str):
        return _SECRET_VALUES.sub(HIDDEN, value)
    if depth and isinstance(value, Mapping):
        return {str(inner): _redacted(str(inner), item, depth - 1) for inner, item in value.items()}
    if depth and isinstance(value, list | tuple | set | frozenset):
        return [_redacted("", item, depth - 1) for item in value]
    return _SECRET_VALUES.sub(HIDDEN, str(value))


def _words(key: str) -> list[str]:
    return [word.lower() for word in _WORDS.findall(key)]


def configure_logs(stream: TextIO | None = None, *, level: int = logging.INFO) -> None:
    """Send all logs of this process to `stream` (by default stderr): plain text on a terminal, else a JSON line each."""
    out = sys.stderr if stream is None else stream
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_last_steps(out.isatty())],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # One line per request is what metrics and the journal are for.
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    logging.getLogger("aiohttp.server").addFilter(_is_our_fault)
    logging.getLogger("grpc._cython.cygrpc").addFilter(_is_not_a_client_that_left)


def _is_our_fault(record: logging.LogRecord) -> bool:
    """Leave out what aiohttp logs, with a traceback and pieces of what was sent, when somebody sends what is no HTTP."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def _is_not_a_client_that_left(record: logging.LogRecord) -> bool:
    """Leave out what gRPC logs, with a traceback, when it could not tell an error to a client that has left meanwhile."""
    return not record.getMessage().startswith("ExecuteBatchError raised in core")


def _last_steps(is_terminal: bool) -> list[Processor]:
    """Return the processors that make a line of an event; tracebacks become text before secrets are looked for."""
    steps: list[Processor] = [structlog.processors.format_exc_info, structlog.processors.StackInfoRenderer(), redact]
    if is_terminal:
        return [*steps, _without_controls, structlog.dev.ConsoleRenderer()]
    return [*steps, structlog.processors.JSONRenderer(serializer=json_text, default=str)]


def _without_controls(logger: object, method: str, event: EventDict) -> EventDict:
    """Take out what a terminal would obey; a traceback keeps its lines."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = "".join(char if char.isprintable() or char == "\n" else "?" for char in value)
    return event

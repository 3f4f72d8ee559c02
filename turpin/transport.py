"""One HTTP call: sent with a deadline, answered with JSON, repeated only where that can't do anything twice."""

import http.client
import json
import os
import secrets
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from turpin.errors import NotTurpin, TurpinError, Unreachable, error_of

# The largest answer is a history of 1,000 entries.
ANSWER_BYTES_MAX: Final = 64 << 20
# A restart of the gateway takes two seconds; whoever asks a third time within them has waited long enough.
TRIES: Final = 3
_PAUSE_S: Final = 0.2
_CHUNK: Final = 1 << 16
LINES: Final = "application/x-ndjson"
# What a gateway says when it did nothing yet, or can't say: the call may be made again if it does nothing twice.
_AGAIN: Final = frozenset({429, 503})


@dataclass(frozen=True, slots=True)
class Url:
    """Where a gateway listens."""

    is_secure: bool
    host: str
    port: int
    prefix: str

    @classmethod
    def read(cls, text: str) -> "Url":
        """Read http://host:port; ValueError says what is wrong with it."""
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            raise ValueError(f"{text!r} is no URL: {error}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"a URL such as http://HOST:PORT is needed, got {text!r}")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError("the URL must hold no user, query or fragment; a token is given as token=")
        is_secure = parts.scheme == "https"
        return cls(is_secure, parts.hostname, port or (443 if is_secure else 80), parts.path.rstrip("/"))

    def at_port(self, port: int) -> "Url":
        """Return the same host at another port."""
        return Url(self.is_secure, self.host, port, self.prefix)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' if self.is_secure else ''}://{host}:{self.port}{self.prefix}"


@dataclass(frozen=True, slots=True)
class Call:
    """What is asked. `upload` is (size, chunks), made anew for each try; `lines` are sent as lines of JSON, and answered so;
    `is_repeatable`: doing it twice does nothing twice."""

    method: str
    path: str
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    upload: tuple[int, Callable[[], Iterator[bytes]]] | None = None
    lines: tuple[bytes, ...] = ()
    is_repeatable: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the status, the JSON (of lines a list), and the headers by lower-case name."""

    status: int
    document: Any
    headers: Mapping[str, str]


def idempotency_key() -> str:
    """Return a key under which a gateway does a POST once, however often it arrives."""
    return secrets.token_urlsafe(16)


def tls_context() -> ssl.SSLContext:
    """Return what https needs; OSError that names TURPIN_CLIENT_CERT when that file can't be used.

    Servers are believed whose CA the system knows, or the file in SSL_CERT_FILE. TURPIN_CLIENT_CERT, a PEM file with our
    certificate and its key, is shown to those that ask for one.
    """
    context = ssl.create_default_context()
    own = os.environ.get("TURPIN_CLIENT_CERT")
    if own:
        try:
            context.load_cert_chain(own)
        except OSError as error:
            raise OSError(f"TURPIN_CLIENT_CERT={own} is no certificate with its key: {error}") from error
    return context


def send(url: Url, call: Call, *, token: str, timeout_s: float) -> Answer:
    """Make a call; TurpinError of the right kind when it fails. All tries together end by `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    for tries_left in range(TRIES - 1, -1, -1):
        pause_s = _PAUSE_S
        try:
            answer = _once(url, call, token, deadline)
        except Unreachable:
            if not (tries_left and call.is_repeatable):
                raise
        else:
            if answer.status < 400:
                return answer
            if answer.status not in _AGAIN or not (tries_left and call.is_repeatable):
                raise _refusal(url, answer)
            pause_s = _retry_after_s(answer)
        if time.monotonic() + pause_s >= deadline:
            raise Unreachable(f"{url} does not answer within {timeout_s:g} s: is `turpin serve` running there?")
        time.sleep(pause_s)
    raise AssertionError("the last try returns or raises")


def _once(url: Url, call: Call, token: str, deadline: float) -> Answer:
    connection: http.client.HTTPConnection | None = None
    try:
        connection = _connection(url, _left_s(deadline, url))
        try:
            _write(connection, url, call, token)
        except (BrokenPipeError, ConnectionResetError):
            # A gateway that refuses an upload answers, and takes no more of it.
            if call.upload is None:
                raise
        response = connection.getresponse()
        content = bytearray()
        while chunk := response.read1(_CHUNK):
            content += chunk
            if len(content) > ANSWER_BYTES_MAX:
                raise NotTurpin(f"{url} answers more than {ANSWER_BYTES_MAX} bytes")
            if connection.sock is not None:
                connection.sock.settimeout(_left_s(deadline, url))
    except (OSError, http.client.HTTPException) as error:
        reason = str(error) or type(error).__name__
        raise Unreachable(f"no gateway answers at {url}: {reason}. Is `turpin serve` running there?") from error
    finally:
        if connection is not None:
            connection.close()
    headers = {name.lower(): value for name, value in response.getheaders()}
    is_lines = headers.get("content-type", "").startswith(LINES)
    return Answer(response.status, _json(bytes(content), response.status, url, is_lines=is_lines), headers)


def _connection(url: Url, timeout_s: float) -> http.client.HTTPConnection:
    # Proxies of the environment are not asked: the gateway is near, and a token must not pass through one nobody meant.
    if url.is_secure:
        return http.client.HTTPSConnection(url.host, url.port, timeout=timeout_s, context=tls_context())
    return http.client.HTTPConnection(url.host, url.port, timeout=timeout_s)


def _write(connection: http.client.HTTPConnection, url: Url, call: Call, token: str) -> None:
    connection.putrequest(call.method, url.prefix + call.path, skip_accept_encoding=True)
    headers = {"Accept": "application/json", **call.headers}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    body = b""
    if call.upload is not None:
        headers |= {"Content-Type": "application/x-tar", "Content-Length": str(call.upload[0])}
    elif call.lines:
        body = b"".join(line + b"\n" for line in call.lines)
        headers |= {"Content-Type": LINES, "Content-Length": str(len(body))}
    elif call.body is not None:
        body = json.dumps(call.body, allow_nan=False).encode()
        headers = {"Content-Type": "application/json", **headers, "Content-Length": str(len(body))}
    elif call.method != "GET":
        headers["Content-Length"] = "0"
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders(body or None)
    if call.upload is not None:
        for chunk in call.upload[1]():
            connection.send(chunk)


def _left_s(deadline: float, url: Url) -> float:
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise Unreachable(f"{url} did not answer in time")
    return left_s


def _json(content: bytes, status: int, url: Url, *, is_lines: bool) -> Any:
    try:
        if is_lines:
            return [json.loads(line) for line in content.split(b"\n") if line]
        return json.loads(content) if content else None
    except ValueError as error:
        if status < 400:
            raise NotTurpin(f"{url} is not an API of Turpin: it answers {content[:60]!r}") from error
        return content[:200].decode(errors="replace")


def _refusal(url: Url, answer: Answer) -> TurpinError:
    # Lines that all failed alike say it in each.
    document = answer.document[0] if isinstance(answer.document, list) and answer.document else answer.document
    fallback = document if isinstance(document, str) else ""
    return error_of(answer.status, document, fallback or f"{url} answers {answer.status}")


def _retry_after_s(answer: Answer) -> float:
    try:
        return min(5.0, max(0.0, float(answer.headers.get("retry-after", _PAUSE_S))))
    except ValueError:
        return _PAUSE_S

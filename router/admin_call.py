"""Calls to a gateway's admin API from the command line: the token is found, and what is refused is told field by field."""

import json
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

import typer

from turpin.token import read_token
from turpin.transport import tls_context

EXIT_FAILED: Final = 1
EXIT_BAD_INPUT: Final = 2
ADMIN: Final = "http://127.0.0.1:8502"
# The answer is a few kilobytes from the same machine, mostly; longer than this and nobody is there.
_TIMEOUT_S: Final = 10.0


class Answer(NamedTuple):
    """The status, the JSON object of the body, and the ETag of what it shows (empty: none)."""

    status: int
    body: dict[str, Any]
    etag: str


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: urllib would take the token along, to whatever host the answer names."""

    def redirect_request(self, *args: Any, **named: Any) -> None:
        """Say that there is nothing to follow: the answer itself is what is told."""


class Gateway(NamedTuple):
    """Where the admin port is, and with which token it is called (empty: found beside the gateway's store)."""

    admin: str
    token: str = ""

    def get(self, path: str) -> dict[str, Any]:
        """Return the JSON object at `path`; leave the program with a message when there is none."""
        body = self.expect(self.call("GET", path))
        if "text" in body:
            leave(f"{self.admin}{path} is not an admin API of Turpin", EXIT_FAILED)
        return body

    def get_all(self, path: str, key: str) -> list[Any]:
        """Return the whole of a list that comes in pages, the oldest first."""
        found: list[Any] = []
        cursor = ""
        while True:
            page = self.get(path + (f"?cursor={urllib.parse.quote(cursor)}" if cursor else ""))
            found = [*page.get(key, ()), *found]
            following = page.get("next")
            if not isinstance(following, str) or following == cursor:
                return found
            cursor = following

    def write(self, method: str, path: str, body: Any, *, etag: str = "", reason: str = "") -> dict[str, Any]:
        """Send a change and return its answer; leave the program with a message when it is refused."""
        gateway = self if self.token else self._replace(token=self._made_token())
        return self.expect(gateway.call(method, path, body, etag=etag, reason=reason))

    def call(self, method: str, path: str, body: Any = None, *, etag: str = "", reason: str = "") -> Answer:
        """Call, and return whatever is answered; leave the program when nobody answers."""
        url = checked_url(self.admin)
        headers = {"Accept": "application/json"}
        headers |= {"Authorization": f"Bearer {self.token}"} if self.token else {}
        headers |= {"If-Match": etag} if etag else {}
        raw = None if body is None else json.dumps(body).encode()
        headers |= {} if raw is None else {"Content-Type": "application/json"}
        headers |= {"Turpin-Reason": plain(reason)} if reason else {}
        request = urllib.request.Request(self.admin.rstrip("/") + path, data=raw, headers=headers, method=method)  # noqa: S310 the scheme is checked
        # No proxy: the admin port is near, and a token must not pass through one that nobody meant.
        try:
            secure = [urllib.request.HTTPSHandler(context=tls_context())] if url.scheme == "https" else []
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Stay, *secure)
            with opener.open(request, timeout=_TIMEOUT_S) as answer:
                return Answer(answer.status, _object(answer.read()), answer.headers.get("ETag", ""))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, _object(error.read()), "")
        except (OSError, ValueError) as error:
            why = getattr(error, "reason", error)
            leave(f"no gateway answers at {self.admin}: {why}. Is `turpin serve` running there?", EXIT_FAILED)

    def expect(self, answer: Answer) -> dict[str, Any]:
        """Return the body of a call that went well; leave the program with what is wrong otherwise."""
        if answer.status >= 300:
            self._refused(answer)
        return answer.body

    def _refused(self, answer: Answer) -> NoReturn:
        for error in answer.body.get("errors") or ():
            sys.stderr.write(f"{plain(str(error.get('field')))}: {plain(str(error.get('message')))}\n")
        detail = answer.body.get("detail") or answer.body.get("title") or answer.body.get("text") or "nothing"
        code = EXIT_BAD_INPUT if answer.status in (400, 422) else EXIT_FAILED
        leave(f"{self.admin} answers {answer.status}: {detail}", code)

    def _made_token(self) -> str:
        """Return the token that a gateway on this machine made, where this user may read it."""
        host = urllib.parse.urlsplit(self.admin).hostname or ""
        # Nobody else's word is taken for where a token lies.
        if host not in ("localhost", "127.0.0.1", "::1"):
            return ""
        where = self.call("GET", "/admin/v1/version").body.get("token_file")
        return read_token(Path(where)) if isinstance(where, str) else ""


def checked_url(admin: str) -> urllib.parse.SplitResult:
    """Return the parts of the admin port's URL; leave the program when it is none."""
    try:
        url = urllib.parse.urlsplit(admin)
    except ValueError:
        url = urllib.parse.urlsplit("")
    if url.scheme not in ("http", "https") or not url.netloc:
        leave(f"--admin must be a URL such as {ADMIN}; got '{admin}'", EXIT_BAD_INPUT)
    return url


def path_of(name: str, *parts: str) -> str:
    """Return the path of an experiment, or of something of it."""
    return "/admin/v1/experiments/" + "/".join(quoted(part) for part in (name, *parts))


def quoted(part: str) -> str:
    """Return a part of a path, so that no name leads elsewhere."""
    return urllib.parse.quote(part, safe="")


def leave(message: str, code: int) -> NoReturn:
    """Leave the program with a message."""
    sys.stderr.write(f"turpin: {plain(message)}\n")
    raise typer.Exit(code)


def plain(text: str) -> str:
    """Return the text without what a terminal would obey."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _object(raw: bytes) -> dict[str, Any]:
    """Return a JSON object; of anything else its beginning, as `text`."""
    try:
        found: object = json.loads(raw) if raw else {}
    except ValueError:
        found = raw[:200].decode(errors="replace").strip()
    return dict(found) if isinstance(found, Mapping) else {"text": str(found)}

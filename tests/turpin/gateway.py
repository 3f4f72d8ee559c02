"""A stand-in for a gateway's HTTP ports: it answers what a test scripted, and remembers what it was asked."""

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True, slots=True)
class Script:
    """One answer; `document` as text is sent as it is."""

    status: int
    document: Any
    headers: Mapping[str, str] = field(default_factory=dict)
    reads_body: bool = True
    hangs_up: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Scripted:
    """What is still to be answered, and what was asked. Mutable: both; the last answer is repeated."""

    answers: list[Script]
    port: int = 0
    asked: list[Asked] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def next(self) -> Script:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def problem(status: int, label: str, detail: str, **more: Any) -> Script:
    document = {"type": f"urn:turpin:problem:{label}", "title": "A title", "status": status, "detail": detail, **more}
    return Script(status, document, {"Content-Type": "application/problem+json"})


@contextlib.contextmanager
def scripted(*answers: Script) -> Iterator[Scripted]:
    """Listen on a free port of loopback."""
    script = Scripted(list(answers))

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            answer = script.next()
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length) if answer.reads_body else b""
            named = {name.lower(): value for name, value in self.headers.items()}
            script.asked.append(Asked(self.command, self.path, named, body))
            self.close_connection = True
            if answer.hangs_up:
                return
            raw = answer.document if isinstance(answer.document, str) else json.dumps(answer.document)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(raw.encode())

        do_GET = do_POST = do_PUT = _any  # noqa: N815 the names that http.server looks for

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    script.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

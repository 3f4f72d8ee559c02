"""The addresses of a Redis store: one server, a master that Sentinels know, or a Cluster."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

SCHEMES: Final = ("redis", "rediss", "redis+sentinel", "redis+cluster")
TIMEOUT_MS: Final = 200.0
"""How long Redis may take for a call, unless the address says otherwise: a hundred times what it takes."""

_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
_TIMEOUT_MS_RANGE: Final = (10.0, 5000.0)
_OPTIONS: Final = ("timeout_ms", "tls", "ca", "sentinel_password")
_WANTED: Final = (
    "redis://HOST:PORT/DB, rediss://HOST:PORT/DB (TLS), redis+sentinel://HOST:PORT,…/MASTER/DB or "
    "redis+cluster://HOST:PORT,…"
)


@dataclass(frozen=True, slots=True, repr=False)
class RedisAddress:
    """What a URL says; `shown` is the part of it that holds no secret."""

    kind: str
    hosts: tuple[tuple[str, int], ...]
    username: str | None
    password: str | None
    master: str
    db: int
    is_tls: bool
    ca_file: str | None
    sentinel_password: str | None
    timeout_s: float

    @property
    def shown(self) -> str:
        """The address for messages: without user and password."""
        hosts = ",".join(f"{host}:{port}" for host, port in self.hosts)
        path = f"/{self.master}" if self.master else ""
        return f"{self.kind}://{hosts}{path}" + (f"/{self.db}" if self.db else "")


def read_address(url: str) -> RedisAddress:
    """Return what a URL says; ValueError names what is wrong with it, and shows nothing that may be secret."""
    parts = urlsplit(url)
    kind = parts.scheme
    if kind not in SCHEMES:
        raise ValueError(f"must be {_WANTED}; got the scheme {kind!r}")
    credentials, _, hosts_text = parts.netloc.rpartition("@")
    username, _, password = credentials.partition(":")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name in options.keys() - set(_OPTIONS):
        raise ValueError(f"knows the options {', '.join(_OPTIONS)}; got {name!r}")
    path = [unquote(part) for part in parts.path.strip("/").split("/") if part]
    master, db = "", 0
    if kind == "redis+sentinel":
        if not path:
            raise ValueError("must name the master behind the Sentinels: redis+sentinel://HOST:PORT,…/MASTER/DB")
        master, path = path[0], path[1:]
    if kind != "redis+cluster" and path:
        db = _whole_number("the database", path[0])
        path = path[1:]
    if path:
        raise ValueError(f"must be {_WANTED}; got {len(path)} parts of a path too many")
    hosts = _hosts(hosts_text, _SENTINEL_PORT if kind == "redis+sentinel" else _PORT)
    if kind in ("redis", "rediss") and len(hosts) != 1:
        raise ValueError(f"must name one server, or be redis+sentinel: or redis+cluster:; got {len(hosts)} servers")
    return RedisAddress(
        kind=kind,
        hosts=tuple(hosts),
        username=unquote(username) or None,
        password=unquote(password) or None,
        master=master,
        db=db,
        is_tls=kind == "rediss" or options.get("tls", "false") == "true",
        ca_file=options.get("ca"),
        sentinel_password=options.get("sentinel_password"),
        timeout_s=_timeout_s(options.get("timeout_ms")),
    )


def _hosts(text: str, port: int) -> Sequence[tuple[str, int]]:
    found = []
    for one in text.split(","):
        split = urlsplit(f"//{one}")
        try:
            number = split.port
        except ValueError:
            raise ValueError("must have a port of 1 to 65535 behind each host") from None
        if not split.hostname:
            raise ValueError(f"must name a host; it should be {_WANTED}")
        found.append((split.hostname, port if number is None else number))
    return found


def _timeout_s(text: str | None) -> float:
    if text is None:
        return TIMEOUT_MS / 1e3
    low, high = _TIMEOUT_MS_RANGE
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not low <= found <= high:
        raise ValueError(f"must have a timeout_ms of {low:g} to {high:g}; got {text[:20]!r}")
    return found / 1e3


def _whole_number(what: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"must have a number for {what}")
    return int(text)

"""Who may use the admin port: tokens with roles, host names, origins. Every request passes here before its handler.

On loopback without configured tokens reading is open, and writing wants the token made at the first start.
"""

import hashlib
import hmac
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from router.admin.answers import Refused
from router.admin.routes import Role, Route
from router.config.settings import Admin
from router.fronts.access import is_loopback
from router.problems import Problem

MERGE_PATCH: Final = "application/merge-patch+json"
MADE_NAME: Final = "local"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, by the name of the token, and what that token may do."""

    name: str
    role: Role


@dataclass(frozen=True, slots=True)
class _Known:
    caller: Caller
    digest: bytes


class Gate:
    """Lets a request through with its caller, or refuses it."""

    def __init__(self, settings: Admin, *, made_token: str = "") -> None:
        """`made_token` counts as an admin's where no tokens are configured; empty: nobody may write then."""
        self._known = [
            _Known(Caller(token.name, Role[token.role.upper()]), bytes.fromhex(token.sha256))
            for token in settings.tokens
        ]
        self._is_open = not self._known
        if self._is_open and made_token:
            self._known.append(_Known(Caller(MADE_NAME, Role.ADMIN), _digest(made_token)))
        self._hosts = frozenset(name.lower() for name in (*settings.hosts, "localhost"))

    def admit(self, request: web.Request, route: Route) -> Caller:
        """Return who calls; Refused for a host, an origin, a token or a content type that will not do."""
        if route.role is not Role.ANYBODY or route.is_writing:
            self._check_host(request)
            _check_site(request, route)
        caller = self._caller(request, route)
        if route.is_writing:
            _check_content_type(request, route)
        return caller

    def _caller(self, request: web.Request, route: Route) -> Caller:
        anybody = Caller("", Role.ANYBODY)
        if route.role is Role.ANYBODY:
            return anybody
        header = request.headers.get("Authorization", "")
        if not header and self._is_open and route.is_open and is_loopback(request.remote):
            return Caller("", Role.VIEWER)
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Refused(Problem.UNAUTHENTICATED, "send `Authorization: Bearer …` with a token of the admin API")
        caller = self._who(token.strip())
        if caller is None:
            raise Refused(Problem.UNAUTHENTICATED, "the bearer token is not known here")
        if caller.role < route.role:
            needed, has = route.role.name.lower(), caller.role.name.lower()
            raise Refused(Problem.FORBIDDEN, f"this wants the role {needed}; the token '{caller.name}' has {has}")
        return caller

    def _who(self, token: str) -> Caller | None:
        digest = _digest(token)
        # Compared all through, so that the time taken says nothing about which one came near.
        found = [known.caller for known in self._known if hmac.compare_digest(digest, known.digest)]
        return max(found, key=lambda caller: caller.role, default=None)

    def _check_host(self, request: web.Request) -> None:
        """Refuse names that are not ours (a web page may have its own name lead here), and pages of other origins."""
        host = _hostname(f"//{request.headers.get('Host', '')}")
        if not (host in self._hosts or _is_our_address(host, request)):
            raise Refused(Problem.FORBIDDEN, f"the host name '{host[:80]}' is not in admin.hosts")
        origin = request.headers.get("Origin")
        if origin is not None and _place(origin) != request.headers.get("Host", "").lower():
            raise Refused(Problem.FORBIDDEN, "calls from web pages of another origin are not taken")


def _check_site(request: web.Request, route: Route) -> None:
    """Refuse what browsers send for pages of other sites; they say so themselves, also where they leave out the origin."""
    # Without an origin come reads that a page can't look into. It could still keep all streams of events for itself.
    if request.headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin"):
        return
    is_followed_link = request.headers.get("Sec-Fetch-Dest") == "document" and not route.is_writing
    if not is_followed_link:
        raise Refused(Problem.FORBIDDEN, "calls from web pages of another site are not taken")


def _is_our_address(host: str, request: web.Request) -> bool:
    """Say whether a host is the address this connection came in on, or loopback: no name can be made to look like one."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    ours = request.transport.get_extra_info("sockname") if request.transport is not None else None
    return address.is_loopback or (ours is not None and host == str(ours[0]))


def _hostname(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def _place(origin: str) -> str:
    """Return host and port of an origin, empty when it is none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _check_content_type(request: web.Request, route: Route) -> None:
    if "Content-Type" not in request.headers and not request.can_read_body:
        return
    wanted: Sequence[str] = (MERGE_PATCH, route.media) if request.method == "PATCH" else (route.media,)
    if request.content_type not in wanted:
        raise Refused(Problem.MEDIA, f"send {wanted[0]}; got {request.content_type[:80]}")


def _digest(token: str) -> bytes:
    # A header holds any bytes; those that are no text come as surrogates.
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()

"""Who may call what: rewards here; the admin API's roles are its own matter."""

import hashlib
import hmac
import ipaddress
from collections.abc import Sequence

from aiohttp import web

from router.problems import CONTENT_TYPE, Problem


class Access:
    """Bearer tokens, known by their SHA-256 alone."""

    def __init__(self, *, token_sha256: Sequence[str], is_reward_open: bool) -> None:
        """Take the digests that may send rewards; `is_reward_open` is `rewards: {auth: none}`."""
        self._digests = [bytes.fromhex(digest) for digest in token_sha256]
        self._is_reward_open = is_reward_open

    def refuse_reward(self, request: web.BaseRequest) -> web.Response | None:
        """Return the refusal of a reward call, or None if it may go on: off loopback it needs a known token."""
        if self._is_reward_open or is_loopback(request.remote):
            return None
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            detail = "send `Authorization: Bearer …` with a token that may record rewards"
        elif self._knows(token.strip()):
            return None
        else:
            detail = "the bearer token is not known here"
        return web.Response(
            body=Problem.UNAUTHENTICATED.body(detail),
            status=Problem.UNAUTHENTICATED.status,
            content_type=CONTENT_TYPE,
            headers={"WWW-Authenticate": "Bearer"},
        )

    def _knows(self, token: str) -> bool:
        # A header holds any bytes; those that are no text come as surrogates.
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        # Compared all through, so that the time taken says nothing about which one came near.
        return sum(hmac.compare_digest(digest, known) for known in self._digests) > 0


def is_loopback(address: str | None) -> bool:
    """Say whether a peer is on this machine."""
    try:
        return address is not None and ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False

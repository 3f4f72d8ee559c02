"""Off loopback a reward needs a token that is known, and the time taken tells nothing about those that are."""

import hashlib
import hmac
import json
import sys
from types import FrameType
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from router.fronts.access import Access, is_loopback

TOKENS = ("first-token", "second-token", "third-token")
DIGESTS = [hashlib.sha256(token.encode()).hexdigest() for token in TOKENS]
ELSEWHERE = "203.0.113.7"


def request(authorization: str | None = None, remote: str | None = ELSEWHERE) -> web.Request:
    headers = {} if authorization is None else {"Authorization": authorization}
    return make_mocked_request("POST", "/v1/rewards").clone(headers=headers, remote=remote or "")


def access(*, is_open: bool = False) -> Access:
    return Access(token_sha256=DIGESTS, is_reward_open=is_open)


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_known_token_may_record_rewards(token: str, scheme: str) -> None:
    assert access().refuse_reward(request(f"{scheme} {token}")) is None
    assert access().refuse_reward(request(f"{scheme}  {token} ")) is None


@pytest.mark.parametrize(
    ("authorization", "words"),
    [
        (None, "send `Authorization: Bearer"),
        ("", "send `Authorization: Bearer"),
        ("Bearer", "send `Authorization: Bearer"),
        ("Bearer ", "send `Authorization: Bearer"),
        (f"Basic {TOKENS[0]}", "send `Authorization: Bearer"),
        (TOKENS[0], "send `Authorization: Bearer"),
        ("Bearer other", "not known"),
        (f"Bearer {TOKENS[0]}x", "not known"),
        (f"Bearer {TOKENS[0].upper()}", "not known"),
        (f"Bearer {DIGESTS[0]}", "not known"),
    ],
)
def test_everybody_else_is_refused_and_told_what_to_send(authorization: str | None, words: str) -> None:
    refusal = access().refuse_reward(request(authorization))

    assert refusal is not None
    assert (refusal.status, refusal.content_type) == (401, "application/problem+json")
    assert refusal.headers["WWW-Authenticate"] == "Bearer"
    body = json.loads(refusal.body if isinstance(refusal.body, bytes) else b"")
    assert words in body["detail"]
    assert not any(secret in str(body) for secret in (*TOKENS, *DIGESTS))


def test_without_tokens_nobody_off_loopback_is_let_in() -> None:
    nobody = Access(token_sha256=(), is_reward_open=False)

    assert nobody.refuse_reward(request("Bearer x")) is not None
    assert nobody.refuse_reward(request(remote="127.0.0.1")) is None


def test_open_rewards_ask_nobody() -> None:
    assert access(is_open=True).refuse_reward(request()) is None


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.1", "::1"])
def test_loopback_needs_no_token(address: str) -> None:
    assert is_loopback(address)
    assert access().refuse_reward(request(remote=address)) is None


@pytest.mark.parametrize(
    "address", [None, "", "10.0.0.1", "0.0.0.0", "::", "fe80::1%eth0", "localhost", "127.0.0.1.evil"]
)
def test_what_is_not_this_machine_is_no_loopback(address: str | None) -> None:
    assert not is_loopback(address)


def comparisons(authorization: str) -> int:
    """Count the constant-time comparisons that a call makes."""
    count = 0

    def watch(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += event == "c_call" and argument is hmac.compare_digest

    asked, of = request(authorization), access()
    sys.setprofile(watch)
    try:
        of.refuse_reward(asked)
    finally:
        sys.setprofile(None)
    return count


def test_every_known_digest_is_compared_whichever_fits() -> None:
    assert {comparisons(f"Bearer {token}") for token in (*TOKENS, "unknown")} == {len(TOKENS)}

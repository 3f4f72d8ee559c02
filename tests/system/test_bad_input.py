"""Every bad input gets its own code and words, costs nobody else anything, and leaves neither traceback nor secret."""

import asyncio
import contextlib
import functools
import gzip
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
import pytest_asyncio

from router.clock import unix_now
from router.decisions import Mode
from serving import wire
from tests.system.bad_calls import (
    CANARY,
    GRPC,
    GRPC_METADATA,
    KEY,
    MESSAGE_BYTES_MAX,
    RAW,
    REST,
    REWARDS,
    claim,
    literal,
)
from tests.system.client import Client, Refusal, predict_request, token_fields
from tests.system.fronts import FRONTS
from tests.system.gateway import Gateway, configuration, endless, serving, until
from tests.system.model_server import BYSTANDER, MODEL, DigitsServer

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]

PROBLEM: Final = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Bench:
    """A gateway under attack, and every decision token that its clients have seen."""

    gateway: Gateway
    client: Client
    front: str
    tokens: list[str] = field(default_factory=list)

    async def token(self, model: str = MODEL) -> str:
        """Return the token of a decision just made."""
        answer = await self.client.predict(model=model)
        self.tokens.append(answer.decision)
        return answer.decision


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=FRONTS)
async def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    """Start it once for all bad inputs; at the end nothing in its log may tell of a fault of its own, or a secret."""
    folder = tmp_path_factory.mktemp("bad-input")
    async with DigitsServer() as server:
        document = configuration(
            folder,
            server.address,
            experiments=[endless(), _hasty()],
            front=request.param,
            limits={"message_bytes": MESSAGE_BYTES_MAX},
            decision_keys=["k1:env:TURPIN_DECISION_KEY"],
        )
        async with (
            serving(folder, document, environ={"TURPIN_DECISION_KEY": KEY}) as gateway,
            Client.to(gateway) as client,
        ):
            for model in (MODEL, BYSTANDER):
                await until(f"a learned decision of {model}", functools.partial(_is_learned, client, model))
            found = Bench(gateway, client, request.param)
            yield found
            metrics = json.dumps(await gateway.scrape())
            log = await gateway.stop()
        for secret in (CANARY, KEY, *found.tokens):
            assert secret not in log
            assert secret not in metrics


def _hasty() -> dict[str, Any]:
    """Return an experiment on the other model whose rewards are late at once."""
    document = endless()
    document["objective"] = {**document["objective"], "reward": {"window": "1ms"}}
    arms = [{"name": f"v{version}", "backend": "tfs-a", "version": version} for version in (7, 8)]
    return {**document, "name": BYSTANDER, "model": BYSTANDER, "control": "v7", "arms": arms}


async def _is_learned(client: Client, model: str) -> bool:
    answer = await client.predict(model=model)
    return bool(answer.decision) and token_fields(answer.decision)["mode"] == Mode.EXPERIMENT


# gRPC


@pytest.mark.parametrize("case", GRPC)
async def test_bad_grpc_call_is_refused_in_tf_servings_words(bench: Bench, case: str) -> None:
    method, body, code, words = GRPC[case]

    with pytest.raises(Refusal) as caught:
        await bench.client.call(method, body, metadata=[("turpin-unit", CANARY), ("authorization", f"Bearer {CANARY}")])

    assert caught.value.code == code, caught.value
    assert re.search(words, caught.value.message), caught.value
    await bench.client.predict()


@pytest.mark.parametrize("case", GRPC_METADATA)
async def test_bad_metadata_is_refused(bench: Bench, case: str) -> None:
    metadata, code, words = GRPC_METADATA[case]
    if bench.front == "envoy" and case == "huge metadata":
        # Envoy ends such a call without a word.
        code, words = "INTERNAL", "RST_STREAM"
    body = predict_request([1.0, 2.0, 3.0, 4.0]).SerializeToString()

    with pytest.raises(Refusal) as caught:
        # Without a deadline of gRPC's own, which would win.
        await bench.client.call(wire.PREDICT, body, metadata=[metadata], timeout_s=None)

    assert caught.value.code == code, caught.value
    assert re.search(words, caught.value.message), caught.value
    await bench.client.predict()


# REST


@pytest.mark.parametrize("case", REST)
async def test_bad_http_call_is_refused_in_its_form(bench: Bench, case: str) -> None:
    call = REST[case]
    headers = {"Authorization": f"Bearer {CANARY}", "turpin-unit": CANARY, **call.headers}

    with pytest.raises(Refusal) as caught:
        await bench.client.http(call.method, call.path, call.body, headers)

    assert caught.value.code == call.status, caught.value
    assert re.search(call.words, caught.value.message), caught.value
    _check_form(call.form, caught.value)
    await bench.client.predict_rest()


def _check_form(form: str, refusal: Refusal) -> None:
    kind = refusal.headers["Content-Type"]
    if form == "tf-serving":
        assert kind == "application/json"
        assert list(json.loads(refusal.message)) == ["error"]
    elif form == "rfc-9457":
        assert kind == PROBLEM
        document = json.loads(refusal.message)
        assert {"type", "title", "status", "detail"} <= set(document)
        assert document["status"] == refusal.code


@pytest.mark.parametrize("case", RAW)
async def test_bytes_that_no_client_sends_are_answered(bench: Bench, case: str) -> None:
    sent, status = RAW[case]

    answer = await _exchange(bench.gateway.http, sent)

    assert status in answer.partition(b"\r\n")[0], answer
    await bench.client.predict_rest()


async def _exchange(port: int, sent: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(sent)
        async with asyncio.timeout(10):
            return await reader.read(4_000)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@pytest.mark.parametrize("port", ["grpc", "http"])
async def test_client_that_leaves_in_the_middle_is_nobodys_business(bench: Bench, port: str) -> None:
    for sent in (
        b"POST /v1/models/digits:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 29\r\n\r\n{",
        b"PRI * HTTP/2.0",
    ):
        _, writer = await asyncio.open_connection("127.0.0.1", getattr(bench.gateway, port))
        writer.write(sent)
        await writer.drain()
        writer.transport.abort()

    await bench.client.predict_rest()
    await bench.client.predict()


# Rewards


@pytest.mark.parametrize("case", REWARDS)
async def test_bad_reward_is_refused_by_name_and_counts_nothing(bench: Bench, case: str) -> None:
    make, status, label, words = REWARDS[case]
    token = await bench.token()

    with pytest.raises(Refusal) as caught:
        await bench.client.http("POST", "/v1/rewards", make(token))

    _check_problem(caught.value, status, label, words)
    assert await bench.client.reward(token, 1.0) == 202, "the refused one was counted"


async def test_late_reward_is_refused(bench: Bench) -> None:
    token = await bench.token(BYSTANDER)
    closed_at = token_fields(token)["time_us"] * 1e-6 + 0.001
    await until("the end of its window", lambda: unix_now() > closed_at)

    with pytest.raises(Refusal) as caught:
        await bench.client.reward(token, 1.0)

    _check_problem(caught.value, 410, "late", r"the window is 0\.001 s")


async def test_conflict_is_told_from_a_duplicate(bench: Bench) -> None:
    token = await bench.token()

    assert await bench.client.reward(token, 1.0) == 202
    assert await bench.client.reward(token, 1.0) == 200
    with pytest.raises(Refusal) as caught:
        await bench.client.reward(token, 0.0)

    _check_problem(caught.value, 409, "conflict", "for this decision and event 'default'")


@pytest.mark.parametrize("path", ["/v1/rewards", "/v1/rewards:batch"])
async def test_compressed_reward_is_refused(bench: Bench, path: str) -> None:
    with pytest.raises(Refusal) as caught:
        await bench.client.http("POST", path, gzip.compress(b"{}"), {"Content-Encoding": "gzip"})

    _check_problem(caught.value, 415, "encoded", "without Content-Encoding")


@pytest.mark.parametrize("path", ["/v1/rewards", "/v1/rewards:batch"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_wrong_method_of_rewards_is_refused(bench: Bench, method: str, path: str) -> None:
    with pytest.raises(Refusal) as caught:
        await bench.client.http(method, path)

    _check_problem(caught.value, 405, "method_not_allowed", f"{method} {path}")
    assert caught.value.headers["Allow"] == "POST"


async def test_one_bad_line_of_a_batch_is_its_own_fault_alone(bench: Bench) -> None:
    first, second = await bench.token(), await bench.token()
    lines = [
        claim(reward=1)(first),
        b'{"decision": "\xff"}',
        b"nope " + CANARY.encode(),
        literal("NaN")(second),
        b"[" * 5_000,
        claim(reward=7)(second),
        claim(reward=1)(second),
        claim(reward=1)(first),
        claim(reward=0)(first),
    ]

    body, _ = await bench.client.http("POST", "/v1/rewards:batch", b"\r\n".join(lines) + b"\n\n")

    answers = [json.loads(line) for line in body.splitlines()]
    assert [answer["status"] for answer in answers] == [202, 400, 400, 422, 422, 422, 202, 200, 409]


async def test_too_many_lines_are_refused(bench: Bench) -> None:
    with pytest.raises(Refusal) as caught:
        await bench.client.http("POST", "/v1/rewards:batch", b"x\n" * 10_001)

    _check_problem(caught.value, 413, "too_large", "10001 lines in one call; at most 10000")


def _check_problem(refusal: Refusal, status: int, label: str, words: str) -> None:
    assert refusal.code == status, refusal
    _check_form("rfc-9457", refusal)
    document = json.loads(refusal.message)
    assert document["type"] == f"urn:turpin:problem:{label}"
    assert re.search(words, document["detail"]), document


# The admin port


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/admin/v1/experiments/nope", 404),
        ("GET", "/admin/v1/experiments/nope/state", 404),
        ("GET", "/admin/v1/experiments/%00%ff/state", 404),
        ("GET", "/admin/v2", 404),
        ("DELETE", "/admin/v1/experiments", 405),
        ("POST", "/metrics", 405),
    ],
)
async def test_bad_admin_call_is_a_problem(bench: Bench, method: str, path: str, status: int) -> None:
    url = f"http://127.0.0.1:{bench.gateway.admin}{path}"

    async with bench.client.session.request(method, url) as answer:
        body = await answer.text()

    assert (answer.status, answer.content_type) == (status, PROBLEM)
    assert json.loads(body)["status"] == status

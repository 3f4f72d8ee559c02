"""Canary secrets planted wherever one can be put appear in nothing that a gateway, or a command about it, says or keeps."""

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
import yaml
from typer.testing import CliRunner

from router import cli
from router.admin.routes import ROUTES, Route
from tests.authority import Authority
from tests.redis_server import AOF, free_port, redis_server
from tests.system.client import Client, Refusal
from tests.system.gateway import Gateway, configuration, end, endless, launched, serving, until
from tests.system.model_server import MODEL, DigitsServer
from tests.system.operator import EXPERIMENTS, call
from tests.system.traffic import Nature, Traffic

pytestmark = pytest.mark.timeout(120)

# One of each kind, so that what leaks says where from.
TOKENS: Final = {role: f"canary-{role}-4f1b9d7e" for role in ("viewer", "operator", "admin")}
UNKNOWN_TOKEN: Final = "canary-unknown-8c2e6a01"
KEY: Final = "canary-decision-key-93b7d5f2e1a8"
PASSWORD: Final = "canary-redis-5e0c7b3d"
FEED: Final = "canary-feed-d1a94c6f"
PAYLOAD: Final = "canary-payload-27e8b0f5"
UNIT: Final = "canary-unit-b6d3f19a"
CANARIES: Final = [*TOKENS.values(), UNKNOWN_TOKEN, KEY, PASSWORD, FEED, PAYLOAD, UNIT]
REQUESTS: Final = 100


class Said:
    """All that was printed, answered and kept, by where. Mutable: it grows."""

    def __init__(self) -> None:
        self.by_place: dict[str, str] = {}

    def add(self, place: str, text: str, *, but: str = "") -> None:
        """Take what was said somewhere; `but` is what may be said there."""
        self.by_place[f"{len(self.by_place)} {place}"] = text.replace(but, "") if but else text

    def leaks(self, *secrets: str) -> list[str]:
        """Return where which secret is, with what stands around it."""
        return [
            f"{place}: {text[max(0, at - 60) : at + 60]!r}"
            for place, text in self.by_place.items()
            for secret in secrets
            if (at := text.find(secret)) >= 0
        ]


@asynccontextmanager
async def running(folder: Path, redis_port: int, key_file: Authority) -> AsyncIterator[Gateway]:
    """Run a gateway with a secret in every setting that takes one."""
    files = key_file.files()
    async with DigitsServer() as server:
        document = configuration(
            folder,
            server.address,
            workers=2,
            experiments=[endless()],
            store=f"redis://turpin:{PASSWORD}@127.0.0.1:{redis_port}?timeout_ms=5000",
            decision_keys=[f"k1:{KEY}"],
            spool={"folder": f"{folder}/spool"},
            journal={"folder": f"{folder}/journal"},
            admin={
                "tokens": [
                    {"name": role, "role": role, "sha256": hashlib.sha256(token.encode()).hexdigest()}
                    for role, token in TOKENS.items()
                ]
            },
            tls={"metrics": {"cert": files.cert, "key": files.key}},
        )
        document["listen"]["metrics"] = f"127.0.0.1:{free_port()}"
        # Nobody listens there: what is said of it must not tell the rest of the address.
        feed = f"https://feed:{FEED}@127.0.0.1:{free_port()}/prices.json?secret={FEED}"
        document["backends"]["fed"] = {"target": server.address, "price_usd_per_hour": {"feed": feed, "key": "k"}}
        gateway = launched(folder, document)
        try:
            ready = await until("a ready line", lambda: gateway.events("ready"), patience_s=60)
            gateway.grpc, gateway.http, gateway.admin = (ready[-1][name] for name in ("grpc", "http", "admin"))
            yield gateway
        finally:
            end(gateway)


async def test_planted_secrets_are_said_nowhere(tmp_path: Path) -> None:
    said, authority = Said(), Authority(tmp_path)
    users = ["--user", "turpin", "on", f">{PASSWORD}", "~*", "&*", "+@all", "--user", "default", "off"]
    with redis_server(tmp_path / "redis", *AOF, *users) as redis:
        async with running(tmp_path, redis.port, authority) as gateway, Client.to(gateway) as client:
            await until("an experiment", lambda: _is_running(gateway))
            tokens = await _use(client, said)
            await _operate(gateway, said)
            await until("a complaint about the feed", lambda: gateway.events("price feed not readable"))
            _check(gateway.config_file, said)
            log = await gateway.stop()
            # What it says when its store does not let it in, and when it is not there.
            wrong = yaml.safe_load(gateway.config_file.read_text())
            wrong["store"] = wrong["store"].replace(f":{PASSWORD}@", f":{PASSWORD}-wrong@")
            said.add("a start with a wrong password", await _refused_start(tmp_path, wrong))
        said.add("the log", log)
    for file in (tmp_path / "journal").rglob("*"):
        if file.is_file():
            said.add(f"the journal {file.name}", file.read_bytes().decode(errors="replace"))
    key_lines = [line for line in (tmp_path / "key.pem").read_text().splitlines() if not line.startswith("-")]

    assert len(said.by_place) > 60
    assert all(len(line) > 10 for line in key_lines[:-1])
    assert said.leaks(*CANARIES, *tokens, *key_lines[:-1]) == []


async def _is_running(gateway: Gateway) -> bool:
    status, text = await _admin(gateway, "GET", f"{EXPERIMENTS}/{MODEL}/state", TOKENS["viewer"])
    return status == 200 and json.loads(text)["phase"] == "running"


async def _admin(gateway: Gateway, method: str, path: str, token: str, body: str | None = None) -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    timeout = aiohttp.ClientTimeout(total=20.0)
    url = f"http://127.0.0.1:{gateway.admin}{path}"
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.request(method, url, data=body, headers=headers) as answer,
    ):
        # Of a stream its beginning.
        raw = await (answer.content.readline() if path.endswith("/events") else answer.read())
        return answer.status, raw.decode(errors="replace")


async def _use(client: Client, said: Said) -> list[str]:
    """Predict and reward, well and badly, with secrets in all that clients send; return the decision tokens."""
    tokens = []
    for number in range(REQUESTS):
        answer = await client.predict(metadata=[("turpin-unit", UNIT), ("turpin-request-id", f"{UNIT}-{number}")])
        tokens.append(answer.decision)
        await client.reward(answer.decision, 1.0)
    secret = {"Authorization": f"Bearer {UNKNOWN_TOKEN}", "turpin-unit": UNIT, "Cookie": UNKNOWN_TOKEN}
    predict = f"/v1/models/{MODEL}:predict"
    forged = tokens[0][:-6] + ("AAAAAA" if not tokens[0].endswith("AAAAAA") else "BBBBBB")
    for path, body in (
        (predict, json.dumps({"instances": [[PAYLOAD, 2, 3, 4]]})),
        (predict, json.dumps({"inputs": {PAYLOAD: [[1, 2, 3, 4]]}})),
        (predict, '{"instances": [[' + PAYLOAD),
        (predict, json.dumps({"signature_name": PAYLOAD, "instances": [[1, 2, 3, 4]]})),
        (predict, json.dumps({"instances": [[1, 2, 3, 4]], PAYLOAD: 1})),
        ("/v1/rewards", json.dumps({"decision": forged, "reward": 1})),
        ("/v1/rewards", json.dumps({"decision": PAYLOAD, "reward": 1})),
        ("/v1/rewards", json.dumps({"decision": tokens[1], "reward": 0})),
        ("/v1/rewards", json.dumps({"decision": tokens[1], "reward": PAYLOAD})),
        ("/v1/rewards:batch", json.dumps({"decision": tokens[1], "reward": 5})),
    ):
        try:
            answered, _ = await client.http("POST", path, body.encode(), secret)
            said.add(f"the answer of {path}", answered.decode())
        except Refusal as refusal:
            # As TF Serving it quotes the value that it can't read, to whoever sent it and to nobody else.
            said.add(f"the refusal of {path}", f"{refusal.message} {refusal.headers}", but=PAYLOAD)
    return tokens


def _filled(route: Route) -> str:
    names = {"name": MODEL, "arm": "v1", "backend": "fed", "model": MODEL, "version": "9", "capture": "none"}
    return re.sub(r"\{(\w+)\}", lambda found: names[found[1]], route.path)


async def _operate(gateway: Gateway, said: Said) -> None:
    """Call every route as it should be, with the wrong token, and with what is no JSON."""
    for route in ROUTES:
        path = _filled(route)
        calls: list[tuple[str, str | None]] = [(UNKNOWN_TOKEN, None if route.method == "GET" else "{}")]
        if route.method == "GET":
            calls.append((TOKENS["viewer"], None))
        elif route.name in ("pause", "resume", "drain_arm", "restore_arm", "patch_experiment"):
            calls += [(TOKENS["viewer"], "{}"), (TOKENS["operator"], json.dumps({"reason": "a reason"}))]
        if route.method != "GET":
            calls += [(TOKENS["operator"], f'{{"{PAYLOAD}'), (TOKENS["operator"], json.dumps({PAYLOAD: PAYLOAD})[:-1])]
        for token, body in calls:
            status, text = await _admin(gateway, route.method, path, token, body)
            said.add(f"{route.method} {path} {status}", text)
    for token in TOKENS.values():
        # A token where none belongs; the path itself is what the caller sent, and is said back to it alone.
        await _admin(gateway, "GET", f"{EXPERIMENTS}/{token}", token)
        await _admin(gateway, "GET", f"/admin/v1/audit?cursor={token}", token)
        await _admin(gateway, "GET", f"/admin/v1/audit?token={token}", "")


def _check(config: Path, said: Said) -> None:
    """Run `turpin check` on the configuration as it is, and with each of its secrets in the wrong place."""
    document = yaml.safe_load(config.read_text())
    key = document["tls"]["metrics"]["key"]
    broken: dict[str, Mapping[str, Any]] = {
        "as it is": {},
        "store": {"store": document["store"].replace("redis://", "rediss2://")},
        "database": {"store": document["store"].replace("?", "/x?")},
        "option": {"store": f"{document['store']}&password={PASSWORD}"},
        "sentinel": {"store": f"redis+sentinel://u:{PASSWORD}@h:1?sentinel_password={PASSWORD}"},
        "keys": {"decision_keys": [KEY[:5], f"k1:{KEY}", f"k1:{KEY}", f":{KEY}"]},
        "tokens": {"admin": {"tokens": [{"name": "a", "role": "root", "sha256": TOKENS["admin"]}]}},
        "tokens as text": {"admin": {"tokens": TOKENS["admin"]}},
        "swapped": {"tls": {"metrics": {"cert": key, "key": document["tls"]["metrics"]["cert"]}}},
        "key as text": {"tls": {"metrics": {"cert": key, "key": Path(key).read_text()}}},
        "feed": {
            "backends": {
                "a": {"target": "h:1", "price_usd_per_hour": {"feed": f"http://u:{FEED}@h/?{FEED}", "key": "k"}}
            }
        },
    }
    for what, change in broken.items():
        config.write_text(yaml.safe_dump(document | dict(change)))
        for words in (["check"], ["check", "--json"]):
            done = CliRunner().invoke(cli.app, [*words, "-c", str(config)])
            assert done.exit_code == (0 if what == "as it is" else 2), (what, done.output)
            said.add(f"turpin check, {what}", done.output)
    config.write_text(yaml.safe_dump(document))


async def _refused_start(folder: Path, document: Mapping[str, Any]) -> str:
    gateway = launched(folder, document)
    try:
        assert await gateway.ended() == 1
        return gateway.log_file.read_text()
    finally:
        end(gateway)


async def test_requests_are_not_logged_however_they_end(tmp_path: Path) -> None:
    async with DigitsServer() as server:
        settings = configuration(tmp_path, server.address, workers=2, experiments=[endless()])
        async with serving(tmp_path, settings) as gateway, Client.to(gateway) as client:
            await gateway.in_phase("running")
            # What is captured is kept and shown, and logged as little.
            status, _ = await call(gateway, "POST", "/admin/v1/captures", {"experiment": MODEL, "examples_max": 1000})
            assert status == 201
            await _some_of_all(client)
            lines = len(gateway.log_file.read_text().splitlines())
            await _some_of_all(client)
            more = gateway.log_file.read_text().splitlines()[lines:]
            await gateway.stop()

    assert more == []


async def _some_of_all(client: Client) -> None:
    """Make good and bad calls of each kind, many of each."""
    traffic = Traffic(client, Nature(dict.fromkeys((1, 2, 3), 0.5), seed=1))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(traffic.run(2))
        await until("some traffic", lambda: len(traffic.acknowledged) > 50)
        for _ in range(20):
            for method, path, body in (
                ("POST", f"/v1/models/{MODEL}:predict", b"{"),
                ("POST", "/v1/models/nobody:predict", b'{"instances": [1]}'),
                ("POST", "/v1/rewards", b'{"decision": "x", "reward": 1}'),
                ("GET", "/v1/rewards", None),
                ("GET", "/nowhere", None),
            ):
                with pytest.raises(Refusal):
                    await client.http(method, path, body)
            with pytest.raises(Refusal):
                await client.predict(model="nobody")
        traffic.stop.set()

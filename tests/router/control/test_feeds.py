"""Prices come from files and https addresses; whatever else comes from there changes nothing."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from router.config.document import BadInput, validate
from router.config.gateway import load_config
from router.config.settings import Backend, Feed
from router.control.feeds import Feeds

KEY = "aws/g4dn"


def feeds(
    feed: str, *, tls: ssl.SSLContext | None = None, more: float | None = None
) -> tuple[Feeds, list[tuple[str, float]]]:
    """Feeds of one backend that has a feed, and of one with a fixed price; and what they told of prices."""
    heard: list[tuple[str, float]] = []
    backends = {
        "a": validate(Backend, {"target": "a:1", "price_usd_per_hour": {"feed": feed, "key": KEY}}),
        "b": validate(Backend, {"target": "b:1", "price_usd_per_hour": 2.0}),
    }
    made = Feeds(backends, now=lambda: 100.0, on_price=lambda *price: heard.append(price), tls=tls)
    return made, heard


async def test_file_is_read_again_and_again(tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    made, heard = feeds(f"file:{file}")
    for text in ('{"aws/g4dn": 1.0}', "garbage", '{"aws/g4dn": 1.5}', '{"aws/g4dn": 150}'):
        file.write_text(text)
        await made.read(f"file:{file}", None)

    assert heard == [("b", 2.0), ("a", 1.0), ("a", 1.5)]
    assert made.prices_usd_per_hour() == {"a": 1.5, "b": 2.0}
    (shown, fixed) = made.view()
    assert (shown["backend"], shown["usd_per_hour"], shown["waiting_usd_per_hour"]) == ("a", 1.5, 150.0)
    assert fixed["feed"] is None
    assert made.accept("a", 150.0)
    assert made.prices_usd_per_hour()["a"] == 150.0
    assert made.warnings() == {}


async def test_missing_file_leaves_the_price_unknown_and_says_so(tmp_path: Path) -> None:
    made, _ = feeds(f"file:{tmp_path}/none.json")
    await made.read(f"file:{tmp_path}/none.json", None)

    assert made.prices_usd_per_hour() == {"b": 2.0}
    assert "is not known yet" in made.warnings()["a"]
    assert "No such file" in made.warnings()["a"]


async def test_pipe_and_folder_are_refused_at_once(tmp_path: Path) -> None:
    pipe, folder = tmp_path / "pipe", tmp_path / "folder"
    os.mkfifo(pipe)
    folder.mkdir()
    made, _ = feeds(f"file:{pipe}")
    async with asyncio.timeout(5.0):
        await made.read(f"file:{pipe}", None)

    assert f"{pipe} is no regular file" in made.warnings()["a"]
    made, _ = feeds(f"file:{folder}")
    await made.read(f"file:{folder}", None)
    assert "Is a directory" in made.warnings()["a"]


@dataclass
class Market:
    """An https server with a price. Mutable: what it answers, and which tags it was asked with."""

    url: str = ""
    tls: ssl.SSLContext | None = None
    body: bytes = b'{"aws/g4dn": 1.0}'
    status: int = 200
    asked: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer with an ETag, and with 304 to whoever has it."""
        tag = f'"{hash(self.body)}"'
        self.asked.append(request.headers.get("If-None-Match", ""))
        if self.status != 200:
            return web.Response(status=self.status, headers={"Location": "https://127.0.0.1:1/"})
        if self.asked[-1] == tag:
            return web.Response(status=304)
        return web.Response(body=self.body, headers={"ETag": tag})


@pytest.fixture
async def market(tmp_path: Path) -> AsyncIterator[Market]:
    names = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
    files = ("-keyout", f"{tmp_path}/key.pem", "-out", f"{tmp_path}/cert.pem")
    command = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *files, *names)
    made_by = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    assert await made_by.wait() == 0
    made = Market(tls=ssl.create_default_context(cafile=f"{tmp_path}/cert.pem"))
    app = web.Application()
    app.router.add_get("/prices.json", made.answer)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(f"{tmp_path}/cert.pem", f"{tmp_path}/key.pem")
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=serving)
    await site.start()
    address: Any = runner.addresses[0]
    made.url = f"https://127.0.0.1:{address[1]}/prices.json"
    yield made
    await runner.cleanup()


async def read(made: Feeds, market: Market, times: int = 1) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=market.tls or True)) as session:
        for _ in range(times):
            await made.read(market.url, session)


async def test_address_is_asked_with_its_tag_and_unchanged_is_fresh(market: Market) -> None:
    made, heard = feeds(market.url, tls=market.tls)
    await read(made, market, times=2)

    assert heard == [("b", 2.0), ("a", 1.0)]
    assert [bool(tag) for tag in market.asked] == [False, True]
    assert (made.view()[0]["age_s"], made.view()[0]["stale"]) == (0.0, False)


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (503, b"", "the feed answered 503"),
        (302, b"", "the feed answered 302"),
        (200, b"<html>", "it is no JSON object"),
        (200, b" " * (2**20 + 1), "it has more than 1048576 bytes"),
    ],
)
async def test_what_is_no_price_keeps_the_last_one(market: Market, status: int, body: bytes, why: str) -> None:
    made, _ = feeds(market.url, tls=market.tls)
    await read(made, market)
    market.status, market.body = status, body
    await read(made, market)

    assert made.prices_usd_per_hour()["a"] == 1.0
    assert why in made.view()[0]["error"]


async def test_server_nobody_vouches_for_is_refused(market: Market) -> None:
    made, _ = feeds(market.url)
    async with aiohttp.ClientSession() as session:
        await made.read(market.url, session)

    assert "a" not in made.prices_usd_per_hour()
    assert made.view()[0]["error"] == "ClientConnectorCertificateError"


async def test_feeds_are_followed_until_they_are_stopped(tmp_path: Path) -> None:
    (tmp_path / "prices.json").write_text('{"aws/g4dn": 1.0}')
    is_read = asyncio.Event()
    price = {"feed": f"file:{tmp_path}/prices.json", "key": KEY}
    backend = validate(Backend, {"target": "a:1", "price_usd_per_hour": price})
    made = Feeds({"a": backend}, now=lambda: 100.0, on_price=lambda *_: is_read.set())
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(made.run())
        await asyncio.wait_for(is_read.wait(), 10.0)
        following.cancel()

    assert made.prices_usd_per_hour() == {"a": 1.0}


@pytest.mark.parametrize("feed", ["http://prices.internal/x", "https://", "prices.json", "ftp://x", "file:"])
def test_feed_is_a_file_or_https(feed: str) -> None:
    with pytest.raises(BadInput, match='must be "https'):
        validate(Feed, {"feed": feed, "key": KEY})


def test_secrets_of_an_address_are_not_shown() -> None:
    feed = validate(Feed, {"feed": "https://user:secret@host/prices?token=secret", "key": KEY})

    assert "secret" not in feed.shown()
    assert "secret" not in feed.model_dump_json()


def test_file_lies_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "turpin.yaml").write_text(
        "store: 'memory:'\nbackends: {a: {target: 'a:1', price_usd_per_hour: {feed: 'file:prices.json', key: k}}}\n"
    )

    price = load_config(tmp_path / "turpin.yaml", {}).backends["a"].price_usd_per_hour

    assert isinstance(price, Feed)
    assert price.feed == f"file:{tmp_path}/prices.json"


def test_file_without_a_path_is_refused_where_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "turpin.yaml").write_text(
        "store: 'memory:'\nbackends: {a: {target: 'a:1', price_usd_per_hour: {feed: 'file:', key: k}}}\n"
    )

    with pytest.raises(BadInput, match='must be "https://…", or "file:PATH"'):
        load_config(tmp_path / "turpin.yaml", {})

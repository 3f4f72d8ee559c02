"""TLS on every port of a real gateway with two workers: plain calls and strangers are turned away, and clients get through."""

import asyncio
import json
import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import grpc.aio
import pytest
import yaml
from typer.testing import CliRunner, Result

from router import cli
from serving import wire
from tests.authority import Authority
from tests.system.client import TIMEOUT_S, Client, Refusal
from tests.system.fronts import FRONTS
from tests.system.gateway import Gateway, configuration, end, endless, launched, until
from tests.system.model_server import DigitsServer

pytestmark = pytest.mark.timeout(120)

NAMED = [("grpc.ssl_target_name_override", "localhost"), ("grpc.enable_http_proxy", 0)]


@asynccontextmanager
async def encrypted(
    folder: Path, authority: Authority, *, is_mutual: bool, front: str = "grpc"
) -> AsyncIterator[tuple[Gateway, int]]:
    """Run a gateway with TLS on all its ports before a model server; lend it and the port of the metrics."""
    files = authority.files(is_mutual=is_mutual)
    one = {"cert": files.cert, "key": files.key, "client_ca": files.client_ca}
    async with DigitsServer() as server:
        document = configuration(folder, server.address, experiments=[endless()], workers=2, front=front)
        document |= {"tls": dict.fromkeys(("grpc", "http", "admin", "metrics"), one)}
        document["listen"]["metrics"] = f"127.0.0.1:{_free_port()}"
        gateway = launched(folder, document)
        try:
            # Three processes start, and the machine may be busy with others.
            ready = await until("a ready line", lambda: gateway.events("ready"), patience_s=60)
            gateway.grpc, gateway.http, gateway.admin = (ready[-1][name] for name in ("grpc", "http", "admin"))
            yield gateway, int(document["listen"]["metrics"].rpartition(":")[2])
        finally:
            end(gateway)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def fetched(port: int, path: str, context: ssl.SSLContext | None) -> int:
    """Return the status of a GET, 0 when there is no connection."""
    scheme = "https" if context else "http"
    connector = aiohttp.TCPConnector(ssl=context or False)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session,
            session.get(f"{scheme}://localhost:{port}{path}") as answer,
        ):
            return answer.status
    except aiohttp.ClientError:
        return 0


async def called(port: int, credentials: Any | None) -> str:
    """Return the code of a call over gRPC; the model is not there, which only a gateway that answers can know."""
    request = wire.PredictRequest(model_spec={"name": "nope"}).SerializeToString()
    channel = (
        grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=NAMED)
        if credentials is None
        else grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=NAMED)
    )
    async with channel:
        try:
            await channel.unary_unary(wire.PREDICT)(request, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            return str(error.code().name)
    return "OK"


@pytest.mark.parametrize("front", FRONTS)
async def test_every_port_is_encrypted_and_knows_its_clients(tmp_path: Path, front: str) -> None:
    authority = Authority(tmp_path)
    async with encrypted(tmp_path, authority, is_mutual=True, front=front) as (gateway, metrics):
        ports = {gateway.http: "/healthz", gateway.admin: "/admin/v1/version", metrics: "/metrics"}
        known, stranger = authority.client(has_certificate=True), authority.client()
        (tmp_path / "other").mkdir()
        foreign = Authority(tmp_path / "other")
        forged = authority.client()
        foreign.authority.issue_cert("client").configure_cert(forged)
        statuses = {
            name: [await fetched(port, path, context) for port, path in ports.items()]
            for name, context in (("known", known), ("stranger", stranger), ("forged", forged), ("plain", None))
        }
        codes = {
            "known": await called(gateway.grpc, authority.credentials(has_certificate=True)),
            "stranger": await called(gateway.grpc, authority.credentials()),
            "plain": await called(gateway.grpc, None),
        }

        foreign.files()
        for name in ("cert.pem", "key.pem"):
            shutil.copyfile(tmp_path / "other" / name, tmp_path / name)
        trusting = foreign.client()
        authority.authority.issue_cert("client").configure_cert(trusting)
        after = [await fetched(port, path, trusting) for port, path in ports.items()]
        own = authority.authority.issue_cert("client")
        roots = foreign.authority.cert_pem.bytes()
        trusting_grpc = grpc.ssl_channel_credentials(roots, own.private_key_pem.bytes(), own.cert_chain_pems[0].bytes())

        async def is_renewed() -> bool:
            return await called(gateway.grpc, trusting_grpc) == "NOT_FOUND"

        # Envoy is told within a second.
        await until("the new certificate on gRPC's port", is_renewed)

    # aiohttp answers a plain request on a TLS port with nothing.
    assert statuses == {"known": [200] * 3, "stranger": [0] * 3, "forged": [0] * 3, "plain": [0] * 3}
    assert after == [200] * 3, "new certificates are taken up"
    assert codes == {"known": "NOT_FOUND", "stranger": "UNAVAILABLE", "plain": "UNAVAILABLE"}


async def test_requests_and_commands_go_through(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with encrypted(tmp_path, authority, is_mutual=True) as (gateway, _):
        own = authority.authority.issue_cert("client")
        own.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "client.pem"))
        environ = {"SSL_CERT_FILE": str(authority.ca), "TURPIN_CLIENT_CERT": str(tmp_path / "client.pem")}
        connector = aiohttp.TCPConnector(ssl=authority.client(has_certificate=True))
        credentials = authority.credentials(has_certificate=True)
        async with (
            aiohttp.ClientSession(f"https://localhost:{gateway.http}", connector=connector) as session,
            grpc.aio.secure_channel(f"127.0.0.1:{gateway.grpc}", credentials, options=NAMED) as channel,
        ):
            client = Client(session, channel)
            decided = await until("a decision", lambda: _decision(client))
            over_rest = await client.predict_rest()
            acknowledged = await client.reward(over_rest.decision, 1.0)
        command = ("experiments", "list", "--json", "--admin", f"https://localhost:{gateway.admin}")
        listed = await asyncio.to_thread(run, *command, **environ)
        without = await asyncio.to_thread(run, *command, SSL_CERT_FILE=str(authority.ca))

    assert decided.decision
    assert acknowledged == 202
    assert [one["name"] for one in json.loads(listed.stdout)["experiments"]] == ["digits"]
    assert (without.exit_code, "no gateway answers" in without.stderr) == (1, True)


def run(*words: str, **environ: str) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(cli.app, list(words), env=environ)


async def _decision(client: Client) -> Any:
    """Predict once the experiment's arms are warm."""
    try:
        answer = await client.predict()
    except Refusal:
        return None
    return answer if answer.decision else None


def test_files_that_cant_be_used_are_told_by_check(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    files = authority.files()
    document = configuration(tmp_path, "tfs:8500")
    document["tls"] = {
        "http": {"cert": files.cert, "key": str(tmp_path / "gone.pem")},
        "admin": {"cert": files.key, "key": files.key},
    }
    (tmp_path / "turpin.yaml").write_text(yaml.safe_dump(document))

    done = run("check", "-c", str(tmp_path / "turpin.yaml"))

    assert done.exit_code == 2
    assert f"tls.http: can't read {tmp_path}/gone.pem: No such file" in done.stderr
    assert "tls.admin: " in done.stderr
    assert "are no certificate and its key" in done.stderr

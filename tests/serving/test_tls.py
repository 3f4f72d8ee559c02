"""Certificates from files: what can't be used is refused by name, and what is renewed is taken up by new connections."""

import asyncio
import contextlib
import ssl
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from serving.grpc_server import GrpcServer
from serving.tls import CertificateFiles, grpc_credentials, https_context
from tests.authority import Authority

PATH = "/test.Test/Echo"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def said(port: int, context: ssl.SSLContext) -> bytes:
    """Connect and read what the server says; OSError when there is no connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    try:
        return await reader.read()
    finally:
        writer.close()


async def http_port(files: CertificateFiles) -> tuple[asyncio.Server, int]:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=https_context(files))
    return server, server.sockets[0].getsockname()[1]


async def echoed(port: int, credentials: Any) -> bytes | grpc.StatusCode:
    """Call over gRPC; return the answer, or the code of the failure."""
    options = [("grpc.ssl_target_name_override", "localhost"), ("grpc.enable_http_proxy", 0)]
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=options) as channel:
        try:
            return bytes(await channel.unary_unary(PATH)(b"hello", timeout=10))
        except grpc.aio.AioRpcError as error:
            return error.code()


async def grpc_port(files: CertificateFiles) -> tuple[GrpcServer, int]:
    async def echo(body: bytes, context: Any) -> bytes:
        return body

    server = GrpcServer({PATH: echo}, message_bytes=-1, is_port_shared=False)
    return server, await server.start("127.0.0.1:0", credentials=grpc_credentials(files))


async def test_http_is_encrypted_and_wants_a_clients_certificate_where_a_ca_is_named(authority: Authority) -> None:
    for is_mutual in (False, True):
        server, port = await http_port(authority.files(is_mutual=is_mutual))
        async with server:
            assert await said(port, authority.client(has_certificate=True)) == b"hello"
            if is_mutual:
                # With TLS 1.3 a client hears of its refusal in place of the first answer.
                with contextlib.suppress(OSError):
                    assert await said(port, authority.client()) == b""
            else:
                assert await said(port, authority.client()) == b"hello"


async def test_grpc_is_encrypted_and_wants_a_clients_certificate_where_a_ca_is_named(authority: Authority) -> None:
    for is_mutual in (False, True):
        server, port = await grpc_port(authority.files(is_mutual=is_mutual))
        try:
            assert await echoed(port, authority.credentials(has_certificate=True)) == b"hello"
            expected = grpc.StatusCode.UNAVAILABLE if is_mutual else b"hello"
            assert await echoed(port, authority.credentials()) == expected
        finally:
            await server.stop(0)


def copied(source: str, target: str) -> None:
    Path(target).write_bytes(Path(source).read_bytes())


async def test_renewed_certificates_are_taken_up_and_broken_ones_are_not(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")
    files = authority.files()
    https, port = await http_port(files)
    server, grpc_number = await grpc_port(files)

    async def answers(whose: Authority) -> list[Any]:
        try:
            http: Any = await said(port, whose.client())
        except ssl.SSLError:
            http = None
        return [http, await echoed(grpc_number, whose.credentials())]

    try:
        before = await answers(authority)
        renewed = other.files()
        copied(renewed.cert, files.cert)
        half = await answers(authority)  # the new certificate stands beside the old key
        copied(renewed.key, files.key)
        after, old = await answers(other), await answers(authority)
    finally:
        https.close()
        await server.stop(0)

    assert [before, half, after] == [[b"hello", b"hello"]] * 3
    assert old == [None, grpc.StatusCode.UNAVAILABLE]


def test_what_cant_be_used_is_refused_by_name(authority: Authority, tmp_path: Path) -> None:
    good = authority.files()
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    other = tmp_path / "other.pem"
    authority.authority.issue_cert("x").private_key_pem.write_to_path(str(other))

    for words, changes in (
        ("gone.pem", {"key": str(tmp_path / "gone.pem")}),
        ("no certificate and its key", {"key": str(other)}),
        ("no certificate and its key", {"cert": str(empty)}),
        ("holds no certificates", {"client_ca": str(empty)}),
    ):
        with pytest.raises(OSError, match=words):
            CertificateFiles(**{"cert": good.cert, "key": good.key, **changes}).context()


def test_key_with_a_passphrase_is_refused_and_nobody_is_asked(authority: Authority) -> None:
    from cryptography.hazmat.primitives import serialization

    files = authority.files()
    key = serialization.load_pem_private_key(Path(files.key).read_bytes(), None)
    Path(files.key).write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )

    with pytest.raises(OSError, match="has a passphrase"):
        files.context()

"""One request made beforehand, sent again and again over gRPC or REST; what is not answered has a name."""

import json
from typing import Any, Final, Protocol, Self

import aiohttp
import grpc
import grpc.aio

from serving import wire

_DT_FLOAT: Final = 1


class Sender(Protocol):
    """One protocol to a server."""

    async def send(self) -> str:
        """Send the request; return "ok", or why it was not answered: the gRPC code or HTTP status."""
        ...

    async def close(self) -> None:
        """Drop the connections."""
        ...


def body_of(model: str, name: str, rows: int, width: int) -> bytes:
    """Make a PredictRequest with one float input of shape (rows, width), all zeros."""
    request = wire.PredictRequest(model_spec={"name": model})
    tensor = request.inputs[name]
    tensor.dtype = _DT_FLOAT
    for size in (rows, width):
        tensor.tensor_shape.dim.add(size=size)
    tensor.tensor_content = bytes(4 * rows * width)
    return bytes(request.SerializeToString())


class GrpcSender:
    """Sends bytes over one channel, made inside a running loop."""

    def __init__(self, target: str, body: bytes, timeout_s: float) -> None:
        options = (("grpc.max_receive_message_length", -1), ("grpc.enable_http_proxy", 0))
        self._channel = grpc.aio.insecure_channel(target, options=options)
        self._call: Any = self._channel.unary_unary(wire.PREDICT)
        self._body, self._timeout_s = body, timeout_s

    async def send(self) -> str:
        """Send the request; see `Sender.send`."""
        try:
            await self._call(self._body, timeout=self._timeout_s)
        except grpc.aio.AioRpcError as error:
            return str(error.code().name)
        return "ok"

    async def close(self) -> None:
        """Drop the connection."""
        await self._channel.close()


class RestSender:
    """Sends JSON over connections that are kept, made inside a running loop."""

    def __init__(self, target: str, model: str, rows: int, width: int, timeout_s: float) -> None:
        self._url = f"http://{target}/v1/models/{model}:predict"
        self._body = json.dumps({"instances": [[0.0] * width] * rows}).encode()
        self._headers = {"turpin-timeout-ms": str(max(1, int(timeout_s * 1000)))}
        # As many connections as requests: the generator must not queue them.
        connector = aiohttp.TCPConnector(limit=0)
        # A second more than the server has: its own answer says more than our silence.
        self._session = aiohttp.ClientSession(
            connector=connector, timeout=aiohttp.ClientTimeout(total=timeout_s + 1.0), headers=self._headers
        )

    async def send(self) -> str:
        """Send the request; see `Sender.send`."""
        try:
            async with self._session.post(self._url, data=self._body) as answer:
                await answer.read()
                return "ok" if answer.status == 200 else str(answer.status)
        except TimeoutError:
            return "timeout"
        except (aiohttp.ClientError, OSError):
            return "unreached"

    async def close(self) -> None:
        """Drop the connections."""
        await self._session.close()


class Many:
    """Several senders in turn: as many connections, and clients. Mutable: whose turn it is."""

    def __init__(self, senders: list[Sender]) -> None:
        self._senders = senders
        self._turn = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for one in self._senders:
            await one.close()

    async def send(self) -> str:
        """Send the next one's request."""
        self._turn = (self._turn + 1) % len(self._senders)
        return await self._senders[self._turn].send()

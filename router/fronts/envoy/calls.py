"""One call on its way through Envoy: what its headers say, as our handlers know it from grpc, and where it stands."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from router.fronts.envoy.messages import Headers, check_length, read_timeout, status_headers
from serving.errors import ServingError

Event: TypeAlias = Mapping[str, Any]
# A future wherever a request has a body.
Receive: TypeAlias = Callable[[], asyncio.Future[Event]]
Send: TypeAlias = Callable[[Event], Awaitable[None]]

CONTENT: Final = (b"content-type", b"application/grpc")
# What handlers look for; nothing else is decoded.
_METADATA: Final = (b"turpin-unit", b"turpin-request-id", b"turpin-segment", b"turpin-timeout-ms")


class Call:
    """A call, and the context that a handler gets.

    Mutable: its trailers, whether its request has come whole, and whether its client has left or was refused already.
    """

    __slots__ = (
        *("_client", "deadline", "headers", "is_over", "is_read", "look_at"),
        *("receive", "send", "since", "task", "trailers"),
    )

    def __init__(self, scope: Mapping[str, Any], receive: Receive, send: Send, now: float) -> None:
        """`now` is loop time."""
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self._client: tuple[str, int] | None = scope["client"]
        self.receive, self.send = receive, send
        self.since = self.look_at = now
        self.deadline: float | None = None
        self.task = asyncio.current_task()
        self.trailers: Headers = []
        self.is_read = self.is_over = False

    def read_deadline(self) -> None:
        """Take over the client's deadline; InvalidArgument for one that can't be read."""
        text = self.headers.get(b"grpc-timeout")
        if text is not None:
            self.deadline = self.since + read_timeout(text)

    async def body(self, bytes_max: int) -> bytes | None:
        """Return what was sent, a message with its prefix; None when the client left before, or was refused meanwhile.

        MessageTooLarge as soon as that is known.
        """
        received: bytes | bytearray = b""
        while True:
            event = await self.receive()
            if self.is_over or event["type"] != "http.request":
                return None
            if not received:
                # Most requests are one piece, which is not copied.
                received = event["body"]
            else:
                received = received if isinstance(received, bytearray) else bytearray(received)
                received += event["body"]
            check_length(received, bytes_max)
            if not event["more_body"]:
                self.is_read = True
                return bytes(received)

    async def refuse(self, error: ServingError) -> None:
        """End the call with an error instead of an answer."""
        self.is_over = True
        await self.send({"type": "http.response.start", "status": 200, "headers": [CONTENT, *status_headers(error)]})
        await self.send({"type": "http.response.body", "body": b""})

    def time_remaining(self) -> float | None:
        """Return the seconds that the client leaves; None when it named no deadline."""
        return None if self.deadline is None else self.deadline - asyncio.get_running_loop().time()

    def invocation_metadata(self) -> Sequence[tuple[str, str]]:
        """Return the headers that are ours. Latin-1 keeps bytes apart that are no text, and never fails."""
        headers = self.headers
        return [(name.decode(), headers[name].decode("latin-1")) for name in _METADATA if name in headers]

    def peer(self) -> str:
        """Name the connection."""
        return "" if self._client is None else f"{self._client[0]}:{self._client[1]}"

    def set_trailing_metadata(self, trailers: Sequence[tuple[str, str]]) -> None:
        """Send these after the answer."""
        self.trailers = [(name.encode(), value.encode()) for name, value in trailers]

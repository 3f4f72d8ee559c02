"""The gRPC server behind Envoy: an ASGI application of unary calls that are bytes in and bytes out, and of health.

Envoy speaks HTTP/2 in a thread of its own; here each call is one task. Traps of pyvoy, all seen, and what is done:
- A client that leaves cancels nothing. `receive` tells of it, but never waits once the request is whole: the older calls
  are asked now and then, the older the rarer.
- Trailers are dropped in silence where the client did not say `te: trailers`: such calls are refused.
- A handler that returns without an answer hangs its client: every way out answers, or has nobody to answer to.
"""

import asyncio
import contextlib
import functools
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from router.fronts.envoy.admin import Admin
from router.fronts.envoy.calls import CONTENT, Call, Event, Receive, Send
from router.fronts.envoy.health import BYTES_MAX, CHECK, WATCH, Health
from router.fronts.envoy.messages import ENCODINGS, framed, inflated, is_compressed, message_of
from serving.errors import DeadlineExceeded, InternalError, InvalidArgument, ServingError, Unimplemented
from serving.grpc_server import Handler, quiet

log: Final = logging.getLogger(__name__)

_ANSWER: Final = {
    "type": "http.response.start",
    "status": 200,
    "headers": [CONTENT, (b"grpc-accept-encoding", ENCODINGS)],
    "trailers": True,
}
_OK: Final = (b"grpc-status", b"0")

# A request that has not come whole by then is a slow client or an attack, as in fronts.bodies.
_BODY_S: Final = 15.0
# Whether a client has left is asked of calls older than this, then whenever another quarter of their age has passed: a
# question costs about as much as an answer, and a batch rarely takes longer.
_LOOK_S: Final = 0.05
_LOOK_SHARE: Final = 0.25

# Once the last call is answered, its answer has yet to leave the socket.
_FLUSH_S: Final = 0.5
_FLUSH_LOOK_S: Final = 0.02


class EnvoyServer:
    """Calls as Envoy brings them. Made inside a running loop, in which `look` must run beside it.

    Mutable: the calls under way in the order they came, and how many calls, without health's, have begun and are not over.
    """

    def __init__(
        self,
        routes: Mapping[str, Handler],
        *,
        message_bytes: int,
        admin: Admin,
        open_port: Callable[[], Awaitable[None]],
    ) -> None:
        """`routes`: method path -> handler; any other method is UNIMPLEMENTED. `message_bytes`: largest request.

        `open_port` lets Envoy listen, and `admin` is where it is told to stop.
        """
        self._routes = routes
        self._message_bytes = message_bytes
        self._admin = admin
        self._open_port = open_port
        self._health = Health()
        self._loop = asyncio.get_running_loop()
        self._calls: dict[Call, None] = {}
        self._begun = self._count = 0
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    async def start(self, address: str, *, credentials: Any = None) -> int:
        """Let Envoy listen where, and with what certificates, its configuration says; return the port; OSError."""
        await self._open_port()
        await self._admin.wait_until_live()
        return int(address.rpartition(":")[2])

    async def set_serving(self, is_serving: bool) -> None:
        """Tell health checks whether to send requests here."""
        self._health.set(is_serving=is_serving)

    async def stop(self, grace_s: float) -> None:
        """Turn health to NOT_SERVING, give clients a moment to leave, and calls under way their grace; take no new ones."""
        self._health.set(is_serving=False)
        await quiet(lambda: self._begun)
        await self._admin.drain()
        try:
            async with asyncio.timeout(grace_s):
                await self._is_idle.wait()
        except TimeoutError:
            log.warning("%d calls are cut off after %.0f s", self._count, grace_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FLUSH_S):
                # What is left then is a Watch of health.
                while await self._admin.active() > len(self._calls):  # noqa: ASYNC110 Envoy has no events for us
                    await asyncio.sleep(_FLUSH_LOOK_S)

    async def __call__(self, scope: Event, receive: Receive, send: Send) -> None:
        """Answer one call, as ASGI's application; errors of the handler become statuses."""
        call = Call(scope, receive, send, self._loop.time())
        path: str = scope["path"]
        handler = self._routes.get(path)
        self._calls[call] = None
        if handler is not None:
            self._begun += 1
            self._count += 1
            self._is_idle.clear()
        answer: bytes | None = None
        try:
            answer = await self._answer(call, path, handler)
        except ServingError as error:
            await call.refuse(error)
        except asyncio.CancelledError:
            # When it was us who cancelled there is nobody to be answered.
            if not call.is_over:
                raise
        except Exception as error:  # Bulkhead: one call must not end the service, nor show a traceback.
            log.exception("call failed: %s", path)
            await call.refuse(InternalError(f"{type(error).__name__} in {path}; the server's log says more"))
        finally:
            del self._calls[call]
            if handler is not None:
                self._count -= 1
                if not self._count:
                    self._is_idle.set()
        if answer is not None:
            await send(_ANSWER)
            await send({"type": "http.response.body", "body": framed(answer)})
            await send({"type": "http.response.trailers", "headers": [_OK, *call.trailers]})

    async def _answer(self, call: Call, path: str, handler: Handler | None) -> bytes | None:
        """Return the answer; None when the client left, or was refused, before its request was whole."""
        _check(call)
        if handler is None and path not in (CHECK, WATCH):
            raise Unimplemented("Method not found!")
        bytes_max = BYTES_MAX if handler is None else self._message_bytes
        body = await call.body(bytes_max)
        if body is None:
            return None
        message = message_of(body)
        if is_compressed(body):
            # In a thread whatever its size: a small message may hold a large one.
            encoding = call.headers.get(b"grpc-encoding", b"")
            message = await asyncio.to_thread(inflated, message, encoding, bytes_max)
        if handler is not None:
            return await handler(message, call)
        if path == CHECK:
            return self._health.check(message)
        # pyvoy's error, when the client leaves just when there is news for it.
        with contextlib.suppress(OSError):
            await call.send(_ANSWER)
            await self._health.watch(message, call)
        return None

    async def look(self) -> None:
        """Look at the older calls for ever: whose client has left, and whose request never comes whole."""
        while True:
            await asyncio.sleep(_LOOK_S)
            now = self._loop.time()
            for call in self._due(now):
                if call.is_read:
                    # While it is asked it is not asked again.
                    call.look_at = float("inf")
                    call.receive().add_done_callback(functools.partial(self._told, call))
                    continue
                left_s = call.time_remaining()
                if now - call.since > _BODY_S or (left_s is not None and left_s <= 0):
                    waited = f"the request had not come whole after {now - call.since:.3f} s"
                    await call.refuse(DeadlineExceeded(waited, "arrival"))
                    call.look_at = float("inf")

    def _due(self, now: float) -> list[Call]:
        due = []
        for call in self._calls:
            if now - call.since < _LOOK_S:
                # All others are younger.
                break
            if call.look_at <= now and not call.is_over:
                due.append(call)
        return due

    def _told(self, call: Call, told: asyncio.Future[Event]) -> None:
        """Take the answer to whether a client is still there."""
        if told.cancelled() or told.exception() is not None or call not in self._calls or call.is_over:
            return
        if told.result()["type"] == "http.disconnect":
            call.is_over = True
            if call.task is not None:
                call.task.cancel()
        else:
            now = self._loop.time()
            call.look_at = now + _LOOK_SHARE * (now - call.since)


def _check(call: Call) -> None:
    """Refuse what is no gRPC, or could not be answered; take over the deadline."""
    if not call.headers.get(b"content-type", b"").startswith(CONTENT[1]):
        raise InvalidArgument("a gRPC call has the content-type application/grpc")
    if call.headers.get(b"te") != b"trailers":
        raise InvalidArgument("a gRPC call says te: trailers, without which its status can't be told")
    call.read_deadline()

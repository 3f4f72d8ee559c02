"""One replica of a backend as the dispatcher sees it: bytes out, bytes back, a named error otherwise."""

import asyncio
from typing import Any, NamedTuple, Protocol

import grpc
import grpc.aio

from serving import wire
from serving.errors import BackendError, Code, DeadlineExceeded, Unavailable

_CHANNEL_OPTIONS = (
    # A merged batch and its answer may be larger than gRPC's 4 MiB; what they may hold is bounded by our queues.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # Backends are named in the configuration; a proxy variable meant for the internet must not divert their traffic.
    ("grpc.enable_http_proxy", 0),
    # gRPC's default lets waits grow to 2 minutes: a restarted model server must have its traffic back within 2 s.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # How long one attempt to connect may take; the default of 20 s would be spent on one address that drops packets.
    ("grpc.min_reconnect_backoff_ms", 1_000),
    # A peer that vanished without a word (power, NAT) is noticed within 20 s, while calls are open; without it a call
    # would only learn so at its own timeout. Servers bear it: a call of 100 s was not cut off for too many pings.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


# gRPC's words for a call that was cut off though we cancel none: a server, or a proxy, that is going down. A model that
# answers CANCELLED has words of its own.
_CUT_OFF = ("CANCELLED", "Received RST_STREAM")


class Servable(NamedTuple):
    """What can be asked for a prediction: one version of a model on a backend.

    `version` None leaves the choice to the backend, by `label` or else its latest: for requests that only pass through.
    """

    backend: str
    model: str
    version: int | None
    label: str = ""

    def write_to(self, spec: wire.Message) -> None:
        """Make a ModelSpec name this servable."""
        spec.name = self.model
        spec.ClearField("version_choice")
        if self.version is not None:
            spec.version.value = self.version
        elif self.label:
            spec.version_label = self.label

    def public_words(self, message: str, name: str) -> str:
        """Put the name that a client used into TF Serving's words for a version that is not there."""
        for words in ("Latest({})", "Specific({}, "):
            message = message.replace(words.format(self.model), words.format(name))
        return message

    def __str__(self) -> str:
        choice = (self.label or "latest") if self.version is None else self.version
        return f"{self.backend}/{self.model}/{choice}"


class Upstream(Protocol):
    """A replica that answers unary calls. Here is the seam for another transport, and for tests."""

    @property
    def address(self) -> str:
        """Where it is, as the configuration names it."""
        ...

    async def call(self, method: str, body: bytes, timeout_s: float) -> bytes:
        """Send one message and return the answer's bytes.

        Raises BackendError when the replica answered with an error, Unavailable when it could not be reached or was
        going down, DeadlineExceeded after `timeout_s` seconds. Returns only when the call has really ended.
        """
        ...

    async def close(self) -> None:
        """Drop the connection; calls under way end as Unavailable."""
        ...


class GrpcUpstream:
    """An `Upstream` behind one grpc.aio channel, made inside a running loop and kept for the replica's whole life.

    A call is bounded by gRPC's own deadline and never cancelled, since grpc.aio keeps about 1 KB of each cancelled call
    for ever (measured over 64,000; grpc/grpc#43360). Whoever stops waiting leaves the call to run to its deadline.
    """

    # Mutable: `_methods` path -> callable, as many as methods we use; `_under_way` the calls not ended, held here since
    # grpc.aio cancels a call nobody refers to.
    __slots__ = ("_channel", "_methods", "_under_way", "address")

    def __init__(self, address: str) -> None:
        self.address = address
        self._channel = grpc.aio.insecure_channel(address, options=_CHANNEL_OPTIONS)
        self._methods: dict[str, Any] = {}
        self._under_way: set[Any] = set()

    async def call(self, method: str, body: bytes, timeout_s: float) -> bytes:
        """Send one message and return the answer's bytes; see `Upstream.call`."""
        if method not in self._methods:
            self._methods[method] = self._channel.unary_unary(method)
        call = self._methods[method](body, timeout=timeout_s)
        ended = asyncio.get_running_loop().create_future()
        self._under_way.add(call)

        def on_end(_: object) -> None:
            self._under_way.discard(call)
            # The waiter may have been cancelled, which cancels its future and nothing else.
            if not ended.done():
                ended.set_result(None)

        call.add_done_callback(on_end)
        await ended
        try:
            answer: bytes = await call
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Nobody cancelled us: the channel was closed, which grpc.aio reports so.
            raise Unavailable(f"the connection to {self.address} was closed while {method} was under way") from None
        except grpc.aio.AioRpcError as error:
            raise _named(error, self.address, timeout_s) from None
        return answer

    async def close(self) -> None:
        """Drop the connection; calls under way end as Unavailable."""
        await self._channel.close()


def _named(
    error: grpc.aio.AioRpcError, address: str, timeout_s: float
) -> BackendError | DeadlineExceeded | Unavailable:
    """Return our error for gRPC's. UNAVAILABLE is one thing, whether we or the server said it: ask another replica."""
    code = Code.from_number(error.code().value[0])
    details = error.details() or ""
    if code is Code.UNAVAILABLE or (code is Code.CANCELLED and details.startswith(_CUT_OFF)):
        return Unavailable(f"{address} is unavailable: {details}")
    if code is Code.DEADLINE_EXCEEDED:
        return DeadlineExceeded(f"{address} did not answer within {timeout_s:.3f} s")
    return BackendError(code, details)

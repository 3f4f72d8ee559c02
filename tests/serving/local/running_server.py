"""The model server's whole process but for its command line, in a thread of the test's process."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass

from serving import wire
from serving.local.options import Ports, ServerOptions
from serving.local.server import serve
from serving.local.versions import Engine


@dataclass(frozen=True, slots=True)
class Running:
    """Addresses of a server that runs, and what SIGTERM does to it."""

    grpc: str
    rest: str
    stop: Callable[[], object]
    ended: threading.Event


@contextmanager
def running(load: Callable[[str], Engine], config: wire.Message, poll_wait_s: float = 0.05) -> Iterator[Running]:
    """Run a server on free ports of loopback, in a thread with an event loop of its own."""
    started: Future[tuple[Ports, Callable[[], object]]] = Future()

    async def main() -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        options = ServerOptions(config, host="127.0.0.1", port=0, rest_api_port=0, poll_wait_s=poll_wait_s, threads=2)
        try:
            await serve(
                options,
                load,
                lambda ports: started.set_result((ports, lambda: loop.call_soon_threadsafe(stop.set))),
                stop,
            )
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    ended = threading.Event()

    def run() -> None:
        asyncio.run(main())
        ended.set()

    thread = threading.Thread(target=run)
    thread.start()
    ports, stop = started.result(60)
    try:
        yield Running(f"127.0.0.1:{ports.grpc}", f"http://127.0.0.1:{ports.rest}", stop, ended)
    finally:
        if not ended.is_set():
            stop()
        thread.join(30)
        assert not thread.is_alive()

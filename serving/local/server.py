"""The model server's process: load, serve until told to stop, and end with every call answered."""

import asyncio
import logging
import signal
from collections.abc import Callable
from typing import Final

from serving.local.grpc_front import GrpcFront
from serving.local.keeper import Keeper
from serving.local.models import Models
from serving.local.monitoring import Requests
from serving.local.options import Ports, ServerOptions
from serving.local.rest_front import RestFront
from serving.local.versions import Engine
from serving.local.workers import Workers

log: Final = logging.getLogger(__name__)

# A call under way at SIGTERM gets as long as any REST call may take.
_GRACE_S: Final = 30.0


async def serve(
    options: ServerOptions, load: Callable[[str], Engine], started: Callable[[Ports], None], stop: asyncio.Event
) -> None:
    """Load the models, serve them, call `started`, and return after `stop` once the calls under way are answered.

    ServingError when a configured model does not come up, OSError when a port is taken.
    """
    models = Models(load, allow_labels_for_unavailable=options.allow_labels_for_unavailable)
    keeper = Keeper(models, options.poll_wait_s)
    workers = Workers(options.threads)
    requests = Requests(models.knows)
    grpc_front = GrpcFront(models, keeper, workers, requests, _GRACE_S, options.channel_arguments)
    rest_front = RestFront(
        models, workers, requests, _GRACE_S, is_cors=options.is_cors, metrics_path=options.metrics_path
    )
    try:
        await keeper.start(options.config)
        grpc_port = await grpc_front.start(options.host, options.port, options.socket_path)
        rest_port = None
        if options.rest_api_port is not None:
            rest_port = await rest_front.start(options.host, options.rest_api_port)
        await _poll_until(stop, keeper, lambda: started(Ports(grpc_port, rest_port)))
        log.info("stopping: calls under way get %.0f s", _GRACE_S)
    finally:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(grpc_front.stop(), name="stop gRPC")
            tasks.create_task(rest_front.stop(), name="stop REST")
        workers.close()
        keeper.close()
        models.close()


async def _poll_until(stop: asyncio.Event, keeper: Keeper, started: Callable[[], None]) -> None:
    async with asyncio.TaskGroup() as tasks:
        polls = tasks.create_task(keeper.run(), name="poll")
        started()
        await stop.wait()
        polls.cancel()


async def serve_until_signal(
    options: ServerOptions, load: Callable[[str], Engine], started: Callable[[Ports], None]
) -> None:
    """Run `serve` until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(options, load, started, stop)

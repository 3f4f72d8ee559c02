"""The admin port as the control process runs it: all parts of it put together, listening until the stack is left."""

import contextlib
from collections.abc import Callable
from typing import Any

import structlog

from router.admin.application import application
from router.admin.backends import Backends
from router.admin.gate import Gate
from router.admin.health import Health
from router.admin.money import Money
from router.admin.reading import Reading
from router.admin.token import made_token
from router.aggregate import Aggregate
from router.config import Config
from router.config.fields import split_address
from router.control.feeds import Feeds
from router.fronts.http import serve_http
from router.metrics import Metrics
from router.store import Store

log = structlog.get_logger(__name__)


async def listen(
    config: Config,
    stack: contextlib.AsyncExitStack,
    *,
    store: Store,
    aggregate: Aggregate,
    metrics: Metrics,
    is_ready: Callable[[], bool],
    unix_now: Callable[[], float],
    feeds: Feeds,
    backends: Callable[[], list[dict[str, Any]]],
    costs: Callable[[], dict[str, Any]],
) -> int:
    """Listen on the admin port, and on that of the metrics if there is one; return the admin port. `backends` shows what
    model servers have loaded. OSError if a port
    can't be had, or the token not be made."""
    token, token_file = "", ""
    if not config.admin.tokens:
        token, path = made_token(config.store)
        token_file = str(path)
        # Not as "token…": that would be hidden.
        log.info("writing through the admin port wants what is in this file", file=token_file)
        if not config.store.startswith("sqlite:"):
            stack.callback(path.unlink, missing_ok=True)
    gate = Gate(config.admin, made_token=token)
    health = Health(
        store=store,
        aggregate=aggregate,
        metrics=metrics,
        is_ready=is_ready,
        unix_now=unix_now,
        token_file=token_file,
    )
    reading = Reading(store=store, unix_now=unix_now)
    app = application(
        gate, health.handlers(), reading.handlers(), Money(feeds, costs).handlers(), Backends(backends).handlers()
    )
    runner, port = await serve_http(app, *split_address(config.listen.admin), is_shared=False)
    stack.push_async_callback(runner.cleanup)
    if config.listen.metrics is not None:
        extra, _ = await serve_http(
            health.metrics_application(gate), *split_address(config.listen.metrics), is_shared=False
        )
        stack.push_async_callback(extra.cleanup)
    return port

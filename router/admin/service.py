"""The admin port as the control process runs it: all parts of it put together, listening until the stack is left."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog
from aiohttp import web

from router.admin.application import application
from router.admin.backends import Backends
from router.admin.bypass import Bypasses
from router.admin.captures import Captures
from router.admin.desk import Desk
from router.admin.editing import Editing
from router.admin.events import Events
from router.admin.gate import Gate
from router.admin.health import Health
from router.admin.money import Money
from router.admin.openapi import OpenApi
from router.admin.orders import Orders
from router.admin.reading import Reading
from router.admin.reports import Reports
from router.admin.token import made_token
from router.aggregate import Aggregate
from router.capture.shelf import Shelf
from router.config import Config
from router.config.fields import split_address
from router.config.tls import https_of
from router.console.files import add_console
from router.control.feeds import Feeds
from router.deploy.uploads import Uploads
from router.fronts.http import serve_http
from router.link import Order
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
    tell: Callable[[Order], Awaitable[None]],
    shelf: Shelf,
    versions: Uploads,
) -> int:
    """Listen on the admin port and that of the metrics; return the former. OSError for a port or token we can't have."""
    token, token_file = _token(config, stack)
    gate = Gate(config.admin, made_token=token)
    health = Health(
        store=store, aggregate=aggregate, metrics=metrics, is_ready=is_ready, unix_now=unix_now, token_file=token_file
    )
    reading = Reading(store=store, unix_now=unix_now)
    reports = Reports(store=store, unix_now=unix_now)
    desk = Desk(store=store, backends=config.backends, unix_now=unix_now)
    bypasses = Bypasses(desk=desk, tell=tell)
    editing = Editing(
        desk=desk,
        store=store,
        backends=config.backends,
        prices_usd_per_hour=feeds.prices_usd_per_hour,
        unix_now=unix_now,
    )
    orders = Orders(desk=desk, store=store, bypasses=bypasses, unix_now=unix_now)
    money = Money(feeds, costs, store=store, unix_now=unix_now)
    events = Events(store)
    loaded = Backends(backends, aggregate=aggregate, metrics=metrics)
    captures = Captures(shelf, desk=desk, store=store, tell=tell, unix_now=unix_now)
    parts = (events, OpenApi(), health, reading, reports, editing, orders, money, loaded, captures, versions)
    app = application(gate, *(part.handlers() for part in parts))
    if config.admin.console:
        add_console(app)
    app.on_shutdown.append(events.close)
    await _run_beside(stack, events=events.run(), bypasses=bypasses.run(), captures=captures.run())
    tls = https_of(config.tls.admin)
    runner, port = await serve_http(app, *split_address(config.listen.admin), is_shared=False, tls=tls)
    stack.push_async_callback(runner.cleanup)
    await _listen_for_scrapes(config, stack, health.metrics_application(gate))
    return port


async def _run_beside(stack: contextlib.AsyncExitStack, **endless: Coroutine[Any, Any, None]) -> None:
    """Run these until the stack is left."""
    tasks = await stack.enter_async_context(asyncio.TaskGroup())
    for name, run in endless.items():
        stack.callback(tasks.create_task(run, name=name).cancel)


async def _listen_for_scrapes(config: Config, stack: contextlib.AsyncExitStack, app: web.Application) -> None:
    """Listen on the port of the metrics, if there is to be one."""
    if config.listen.metrics is None:
        return
    tls = https_of(config.tls.metrics)
    runner, _ = await serve_http(app, *split_address(config.listen.metrics), is_shared=False, tls=tls)
    stack.push_async_callback(runner.cleanup)


def _token(config: Config, stack: contextlib.AsyncExitStack) -> tuple[str, str]:
    """Return the made token and its file, empty where tokens are configured; without a store's file it goes with us."""
    if config.admin.tokens:
        return "", ""
    token, path = made_token(config.store)
    # Not as "token…": that would be hidden.
    log.info("writing through the admin port wants what is in this file", file=str(path))
    if not config.store.startswith("sqlite:"):
        stack.callback(path.unlink, missing_ok=True)
    return token, str(path)

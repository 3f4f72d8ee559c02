"""The control plane of a gateway: the leader, the admin API, prices, bills and deployments, beside the data plane."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from router.admin.service import listen
from router.aggregate import Aggregate
from router.backends import pools
from router.capture.shelf import Shelf
from router.config import Config
from router.control.accounts import Accounts
from router.control.feeds import Feeds
from router.control.leader import Leader
from router.control.price_book import PriceBook
from router.deploy.service import deploying
from router.link import Order
from router.metrics import Metrics
from router.store import Store
from serving.replicas import Pools


async def run(
    config: Config,
    *,
    store: Store,
    aggregate: Aggregate,
    metrics: Metrics,
    shelf: Shelf,
    unix_now: Callable[[], float],
    is_ready: Callable[[], bool],
    tell: Callable[[Order], Awaitable[None]],
    on_listening: Callable[[int], None],
) -> None:
    """Run until cancelled; `on_listening` is told the admin port. OSError if a port can't be had."""
    async with contextlib.AsyncExitStack() as stack:
        # Of its own: what this process asks of model servers must not wait behind predictions.
        control = pools(config, Metrics())
        stack.push_async_callback(control.close)
        await control.look_up()
        leader, feeds, accounts = _leading(config, store, control, metrics, unix_now)
        versions = deploying(config, store=store, leader=leader, upstreams=control, unix_now=unix_now)
        port = await listen(
            config,
            stack,
            store=store,
            aggregate=aggregate,
            metrics=metrics,
            is_ready=is_ready,
            unix_now=unix_now,
            feeds=feeds,
            backends=leader.servers.view,
            costs=accounts.view,
            tell=tell,
            shelf=shelf,
            versions=versions.uploads,
        )
        on_listening(port)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(feeds.run(), name="price feeds")
            tasks.create_task(PriceBook(store, feeds, lambda: leader.fence).run(), name="price book")
            tasks.create_task(accounts.run(), name="accounts")
            tasks.create_task(leader.run(), name="leader")
            tasks.create_task(versions.driver.run(), name="deployments")
            tasks.create_task(control.run(), name="replicas")


def _leading(
    config: Config, store: Store, control: Pools, metrics: Metrics, unix_now: Callable[[], float]
) -> tuple[Leader, Feeds, Accounts]:
    """Build what leads, inside the loop."""
    feeds = Feeds(
        config.backends,
        now=asyncio.get_running_loop().time,
        on_price=lambda name, price: metrics.price_usd_per_hour.labels(name).set(price),
    )
    leader = Leader(config, store=store, upstreams=control, unix_now=unix_now, feeds=feeds)
    accounts = Accounts(
        store=store,
        upstreams=control,
        sights=leader.servers.sights,
        feeds=feeds,
        metrics=metrics,
        unix_now=unix_now,
        fence=lambda: leader.fence,
    )
    return leader, feeds, accounts

"""The whole admin port over a store in memory, with a clock that tests move; no leader unless a test plays one."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from bandits.experiment import step
from bandits.life import ArmWarmed
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
from router.aggregate import Aggregate
from router.capture.shelf import Shelf
from router.config import Config
from router.config.document import validate
from router.config.settings import Admin
from router.control.dossier import Dossier, dossier_of, encode
from router.control.feeds import Feeds
from router.control.price_book import PriceBook
from router.deploy.joining import Joining
from router.deploy.publishing import Publishing
from router.deploy.uploads import Uploads
from router.fronts.http import serve_http
from router.link import Order, Override
from router.metrics import Metrics
from router.store.memory import MemoryStore
from tests.router.control.world import BACKEND
from turpin.tar import Limits

TOKEN = "turpin_" + "x" * 43
NOW = 1_800_000_000.0
EXPERIMENTS = "/admin/v1/experiments"
MODELS = {"digits": {"base_path": "/models/digits", "versions": [1, 2, 3, 4]}}
CONFIG = validate(
    Config,
    {
        "store": "memory:",
        "backends": {
            BACKEND: {"target": "tfs:1", "price_usd_per_hour": 0.5, "control": "managed", "models": MODELS},
            "elsewhere": {"target": "tfs:2", "price_usd_per_hour": 0.1},
        },
    },
)


def specified(*versions: int, **changes: Any) -> dict[str, Any]:
    """An experiment as people write it."""
    arms = [{"name": f"v{number}", "backend": BACKEND, "version": number} for number in versions or (1, 2, 3)]
    made = {"name": "digits", "model": "digits", "control": "v1", "arms": arms, "objective": {"value_usd": 1e-6}}
    return made | changes


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, body and headers."""

    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def label(self) -> str:
        """The last part of a problem's type."""
        return str(self.body["type"]).rpartition(":")[2]


@dataclass(slots=True)
class Bench:
    """Mutable: its clock, what workers were told, and the session that calls."""

    store: MemoryStore
    session: aiohttp.ClientSession
    bypasses: Bypasses
    feeds: Feeds
    book: PriceBook
    told: list[Override]
    telling: asyncio.Condition
    shelf: Shelf
    captures: Captures
    ordered: list[Order]
    clock: dict[str, float] = field(default_factory=lambda: {"now": NOW})
    folder: Path = Path()

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Call with the token, and JSON where there is a body."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        sent = {"Authorization": f"Bearer {TOKEN}", "Content-Type": kind} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        raw = body if isinstance(body, bytes) else json.dumps({} if body is None else body).encode()
        async with self.session.request(method, path, data=None if method == "GET" else raw, headers=sent) as got:
            text = await got.read()
            return Answer(
                got.status, json.loads(text) if text else None, {k.lower(): v for k, v in got.headers.items()}
            )

    async def order(self, verb: str, body: Any = None, name: str = "digits", **headers: str) -> Answer:
        """Give an order."""
        return await self.call("POST", f"{EXPERIMENTS}/{name}:{verb}", body, **headers)

    async def heard(self, count: int) -> None:
        """Wait until the workers were told so often."""
        async with asyncio.timeout(10.0), self.telling:
            await self.telling.wait_for(lambda: len(self.told) >= count)

    async def etag(self, name: str = "digits") -> str:
        """The current ETag."""
        return (await self.call("GET", f"{EXPERIMENTS}/{name}")).headers["etag"]

    async def edit(self, method: str, body: Any, name: str = "digits") -> Answer:
        """Change what is there now."""
        return await self.call(method, f"{EXPERIMENTS}/{name}", body, If_Match=await self.etag(name))

    async def dossier(self, name: str = "digits") -> Dossier:
        """The experiment as stored."""
        (found,) = [record for record in await self.store.experiments() if record.name == name]
        return dossier_of(found.name, found.revision, found.document)

    async def put(self, dossier: Dossier) -> None:
        """Write as a leader does."""
        fence = await self.store.lease("leader", self.clock["now"], 1e9)
        await self.store.save_experiment(dossier.name, encode(dossier.document), dossier.revision, fence)

    async def started(self, *versions: int, **changes: Any) -> None:
        """Create and start an experiment, and have every arm warm."""
        assert (await self.call("POST", EXPERIMENTS, specified(*versions, **changes))).status == 201
        assert (await self.order("start")).status == 200
        dossier = await self.dossier()
        life = dossier.life
        for arm in range(len(life.arms)):
            life = step(life, ArmWarmed(NOW, arm)).life
        await self.put(dossier.with_life(life))


@contextlib.asynccontextmanager
async def bench(config: Config = CONFIG) -> AsyncIterator[Bench]:
    """Listen, and call."""
    store, told, telling, clock = MemoryStore(), list[Override](), asyncio.Condition(), {"now": NOW}
    await store.open()

    async def tell(order: Override) -> None:
        async with telling:
            told.append(order)
            telling.notify_all()

    def now() -> float:
        return clock["now"]

    feeds = Feeds(config.backends, now=now)
    # Nobody leads but for the price book of a test that takes the lease.
    book = PriceBook(store, feeds, lambda: store._lease.epoch if store._lease.holder else None)
    shelf, ordered = Shelf(now, workers=2), list[Order]()

    async def have_captured(order: Order) -> None:
        ordered.append(order)

    desk = Desk(store=store, backends=config.backends, unix_now=now)
    bypasses = Bypasses(desk=desk, tell=tell)
    health = Health(store=store, aggregate=Aggregate(), metrics=Metrics(), is_ready=lambda: True, unix_now=now)
    events = Events(store, look_s=0.01)
    captures = Captures(shelf, desk=desk, store=store, tell=have_captured, unix_now=now)
    app = application(
        Gate(Admin(), made_token=TOKEN),
        OpenApi().handlers(),
        events.handlers(),
        captures.handlers(),
        health.handlers(),
        Reading(store=store, unix_now=now).handlers(),
        Reports(store=store, unix_now=now).handlers(),
        Editing(
            desk=desk,
            store=store,
            backends=config.backends,
            prices_usd_per_hour=feeds.prices_usd_per_hour,
            unix_now=now,
        ).handlers(),
        Money(feeds, dict, store=store, unix_now=now).handlers(),
        Backends(list, aggregate=Aggregate(), metrics=Metrics()).handlers(),
        Orders(desk=desk, store=store, bypasses=bypasses, unix_now=now).handlers(),
        Uploads(
            store=store,
            publishing=Publishing(config.backends, {BACKEND: {"digits": "/models/digits"}}),
            joining=Joining(store=store, desk=desk),
            limits=Limits(1 << 20, 20),
            unix_now=now,
        ).handlers(),
    )
    app.on_shutdown.append(events.close)
    runner, port = await serve_http(app, "127.0.0.1", 0, is_shared=False)
    looking = asyncio.create_task(events.run())  # noqa: TID251 - cancelled below
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            yield Bench(store, session, bypasses, feeds, book, told, telling, shelf, captures, ordered, clock)
    finally:
        looking.cancel()
        await runner.cleanup()

"""A published snapshot of two arms, and the predictor of a worker around stand-ins for its backends."""

import asyncio
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from router.decisions import Keyring, Mode
from router.journal import Journal
from router.labels import Labels
from router.ledger import Ledger
from router.metrics import Metrics
from router.predict import Context, Predictor, Reply
from router.routes import Routes
from router.snapshot import PARTS, ArmRoute, Snapshot
from router.store import Cell
from router.trials import Trials
from serving import methods, wire
from serving.dispatcher import Answer, Dispatcher
from serving.errors import ServingError
from serving.methods import Method
from serving.upstream import Servable
from tests.serving.replica import request

BACKEND = "tfs-a"
MODEL = "digits"
# The top bit is set, as every other epoch's is.
EPOCH = 2**64 - 5
NOW = 1_700_000_000.0
PRICE_USD_PER_HOUR = 3.6
KEYS = (("k1", b"0123456789abcdef"),)
V1, V2 = Servable(BACKEND, MODEL, 1), Servable(BACKEND, MODEL, 2)
# The cells of the two arms in the open block.
CELL_1, CELL_2 = Cell(EPOCH, 0, 3), Cell(EPOCH, 1, 3)
DEADLINE = 30.0


def arm_routes(*parts: int) -> tuple[ArmRoute, ...]:
    """Arms v1, v2, …: versions of one model on one backend."""
    return tuple(ArmRoute(f"v{n}", BACKEND, MODEL, n, share, PRICE_USD_PER_HOUR) for n, share in enumerate(parts, 1))


def snapshot(*parts: int, **changes: Any) -> Snapshot:
    """A running experiment whose arms have these parts (halves, when none are given)."""
    made = Snapshot(
        name="digits-2026",
        model=MODEL,
        epoch=EPOCH,
        version=7,
        block=3,
        published_at=NOW,
        mode=Mode.EXPERIMENT,
        entry_labels=("stable",),
        control=0,
        serving=0,
        arms=arm_routes(*(parts or (PARTS // 2, PARTS // 2))),
        is_sticky=False,
        reward_low=0.0,
        reward_high=1.0,
        window_s=1800.0,
        reference_rows=1,
    )
    return msgspec.structs.replace(made, **changes)


class Instant(Dispatcher):
    """A dispatcher that answers at once with the request's own tensors, or raises what `fails` says of the servable."""

    def __init__(self, fails: Mapping[Servable, ServingError] | None = None) -> None:
        self.fails = dict(fails or {})
        self.asked: list[tuple[Servable, float]] = []
        self.probes: list[tuple[Servable, int]] = []
        self.is_alone = True

    def has_another(self) -> bool:
        """Whether there is a second replica."""
        return not self.is_alone

    def probe(self, servable: Servable, rows: int) -> None:
        """Note what was asked for."""
        self.probes.append((servable, rows))

    async def predict(
        self,
        servable: Servable,
        request: wire.Message,
        deadline: float,
        method: Method = methods.PREDICT,
        client: Hashable = None,
    ) -> Answer:
        """Answer or fail; other methods than Predict with nothing but who answered."""
        self.asked.append((servable, deadline))
        if servable in self.fails:
            raise self.fails[servable]
        response = method.response()
        if method is methods.PREDICT:
            response = wire.PredictResponse(outputs=request.inputs, model_spec={})
        for spec in method.answer_specs(response):
            spec.name, spec.version.value = servable.model, servable.version or 0
        return Answer(response, rows=2, replica="a:1", batch_rows=8, charged_ns=5_000)

    @property
    def servables(self) -> list[Servable]:
        """The servables that were asked, in order."""
        return [servable for servable, _ in self.asked]


@dataclass(slots=True)
class Bench:
    """A predictor and all it writes to. Mutable, as its parts are."""

    predictor: Predictor
    routes: Routes
    ledger: Ledger
    metrics: Metrics
    keys: Keyring = field(default_factory=lambda: Keyring(KEYS))
    trials: Trials = field(default_factory=Trials)

    def count(self, name: str, **labels: str) -> float:
        """The value of a metric; 0 while there is no such series."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


def bench(
    dispatchers: Mapping[str, Dispatcher],
    snapshots: Iterable[Snapshot] = (),
    *,
    retry_ratio: float = 0.2,
    clock: Callable[[], float] = lambda: 0.0,
    journal: Journal | None = None,
    trials: Trials | None = None,
    labels: Mapping[tuple[str, str], Mapping[str, int]] | None = None,
) -> Bench:
    """Build a predictor over dispatchers by backend; each backend is configured with a model of its own name."""
    routes = Routes({backend: (backend,) for backend in dispatchers}, Labels(labels or {}))
    for one in snapshots:
        routes.update(one)
    keys, ledger, metrics, trials = Keyring(KEYS), Ledger(), Metrics(), trials or Trials()
    predictor = Predictor(
        routes=routes,
        dispatchers=dispatchers,
        keys=keys,
        ledger=ledger,
        metrics=metrics,
        retry_ratio=retry_ratio,
        unix_now=lambda: NOW,
        clock=clock,
        trials=trials,
        journal=journal,
    )
    return Bench(predictor, routes, ledger, metrics, keys, trials)


def body(model: str = MODEL, *, version: int | None = None, label: str = "", first: int = 0, rows: int = 2) -> bytes:
    """A request whose rows hold first, first + 1, …."""
    message = request(first, rows)
    message.model_spec.name = model
    if version is not None:
        message.model_spec.version.value = version
    elif label:
        message.model_spec.version_label = label
    return bytes(message.SerializeToString())


def ask(on: Bench, number: int | None = None, **context: bytes) -> Reply:
    """Predict; with a number as the request's id the draw repeats from run to run, and is not counted."""
    known = context if number is None else {"request_id": number.to_bytes(4), **context}
    return asyncio.run(on.predictor.predict(body(), Context(DEADLINE, **known)))


def counted(on: Bench) -> dict[Cell, dict[str, int]]:
    """What the next flush adds to blocks of time."""
    return {cell: dict(fields) for cell, fields in on.ledger.parcel().deltas.items() if cell.block >= 0}


def spec_of(reply: Reply) -> wire.Message:
    """The model_spec that the client sees."""
    return wire.PredictResponse.FromString(reply.body).model_spec


def predicted(on: Bench, sent: bytes) -> Reply:
    """Predict once."""
    return asyncio.run(on.predictor.predict(sent, Context(DEADLINE)))

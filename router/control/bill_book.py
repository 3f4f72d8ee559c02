"""Bills that outlive the process: the leader writes them to the store, and whoever starts goes on from there."""

from collections.abc import Callable, Iterable

import msgspec
import structlog

from router.control.bills import Bill, Bills
from router.store import Fenced, Record, RevisionConflict, Store

log = structlog.get_logger(__name__)


class KeptBill(msgspec.Struct, frozen=True, array_like=True):
    """One version's bill. Integers as text: a large fleet's pico-dollars leave 64 bits within a year."""

    model: str
    version: str
    busy_ns: str
    idle_ns: str
    busy_pico_usd: str
    idle_pico_usd: str
    egress_pico_usd: str = "0"  # of bills from before it was kept


class KeptBills(msgspec.Struct, frozen=True):
    """The bills of one backend since some moment (unix s)."""

    since: float
    time_ns: str
    time_pico_usd: str
    versions: tuple[KeptBill, ...]


def kept_of(bills: Bills, backend: str, since: float) -> KeptBills:
    """Return one backend's bills as they are kept."""
    versions = [
        KeptBill(
            *loaded,
            str(bill.busy_ns),
            str(bill.idle_ns),
            str(bill.busy_pico_usd),
            str(bill.idle_pico_usd),
            str(bill.egress_pico_usd),
        )
        for (where, loaded), bill in bills.of.items()
        if where == backend
    ]
    return KeptBills(since, str(bills.time_ns[backend]), str(bills.time_pico_usd[backend]), tuple(versions))


def set_to(bills: Bills, backend: str, kept: KeptBills) -> None:
    """Go on from what is kept, in place of what was counted here. ValueError for what is no count."""
    of = {
        (backend, (one.model, one.version)): Bill(
            int(one.busy_ns),
            int(one.idle_ns),
            int(one.busy_pico_usd),
            int(one.idle_pico_usd),
            int(one.egress_pico_usd),
        )
        for one in kept.versions
    }
    time_ns, time_pico_usd = int(kept.time_ns), int(kept.time_pico_usd)
    for key in [key for key in bills.of if key[0] == backend]:
        del bills.of[key]
    bills.of.update(of)
    bills.time_ns[backend], bills.time_pico_usd[backend] = time_ns, time_pico_usd


class BillBook:
    """Keeps store and bills alike. Mutable: since when is billed, and the revisions last seen, by backend."""

    def __init__(self, store: Store, bills: Bills, fence: Callable[[], int | None], began_at: float) -> None:
        """`fence` returns that of the lease on leading, None when this process does not lead."""
        self._store, self._bills, self._fence = store, bills, fence
        self._revisions: dict[str, int] = {}
        self.since = began_at

    async def read(self) -> None:
        """Go on from what is kept. StoreError when the store is away."""
        for record in await self._store.bills():
            self._take(record)

    async def write(self, backends: Iterable[str]) -> None:
        """Keep these backends' bills, if this process leads. StoreError when the store is away."""
        for backend in backends:
            if (fence := self._fence()) is None:
                return
            document = msgspec.json.encode(kept_of(self._bills, backend, self.since))
            try:
                revision = await self._store.save_bill(backend, document, self._revisions.get(backend, 0), fence)
            except RevisionConflict:
                # Another one led meanwhile, and heard the same workers: go on from what it wrote.
                await self.read()
                continue
            except Fenced:
                return
            self._revisions[backend] = revision

    def _take(self, record: Record) -> None:
        if self._revisions.get(record.name) == record.revision:
            return
        try:
            kept = msgspec.json.decode(record.document, type=KeptBills)
            set_to(self._bills, record.name, kept)
        except ValueError as error:
            log.error("bills of a backend can't be read, they begin anew", backend=record.name, reason=str(error))
        else:
            self.since = min(self.since, kept.since)
        self._revisions[record.name] = record.revision

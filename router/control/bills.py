"""What model servers were paid for: each replica's time as busy or idle, shared among the versions loaded on it.

Pure. Every nanosecond of a replica's time is charged once: while calls are in flight to whoever made them (the workers'
meters say how much), else in equal parts to all versions loaded, bystanders included. Money is counted at the price of
the moment, in pico-dollars. Reported, and never decided by: an arm that gets little traffic would be dear for that alone.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from router.egress import Sent
from router.heartbeat import ReplicaBeat
from serving.cost import pico_usd, share

# A worker's word is up to a heartbeat old, so that a second may seem to hold more than one of work; that much is carried
# to the next. Beyond, several workers had calls on one replica at once, each charging the whole: a replica has one time.
_CARRIED_MAX_NS: Final = 2_000_000_000

# A version on a backend: (model, version as text; "" where the request left it to the server).
Loaded = tuple[str, str]
Place = tuple[str, str]  # backend, replica
# Whatever has no name of its own: requests that left the version to the server, and versions that went long ago.
_FOLDED: Final = ("", "")
# Of so many what they have sent is remembered: more than ever send at once, and those that ended lately.
_GATEWAYS_KEPT: Final = 1_000


@dataclass(slots=True)
class _Replica:
    """One replica's accounts. Mutable throughout."""

    since: float
    idle_ns: int = 0  # not yet charged as idle; negative while more work was heard of than time
    pool_ns: int = 0  # busy, and not yet charged to anybody: its calls are under way


@dataclass(slots=True)
class Bill:
    """What one version has cost so far. Mutable: nanoseconds and pico-dollars, they only grow."""

    busy_ns: int = 0
    idle_ns: int = 0
    busy_pico_usd: int = 0
    idle_pico_usd: int = 0
    egress_pico_usd: int = 0

    def add(self, other: "Bill") -> None:
        """Have this one pay for the other, too."""
        self.busy_ns += other.busy_ns
        self.idle_ns += other.idle_ns
        self.busy_pico_usd += other.busy_pico_usd
        self.idle_pico_usd += other.idle_pico_usd
        self.egress_pico_usd += other.egress_pico_usd


# So many versions of a backend have bills of their own. Of more, those that came first and are not loaded any more are
# folded into one: years of deployments fill no memory, and the sum stays.
VERSIONS_KEPT: Final = 200


@dataclass(slots=True)
class Bills:
    """The bills of all versions on all backends. Mutable: it only grows, by `observe`.

    `time_ns` and `time_pico_usd` are per backend what its replicas' time came to: busy and idle of all versions together,
    but for calls under way and what is carried (at most 2 s a replica).
    """

    of: dict[tuple[str, Loaded], Bill] = field(default_factory=lambda: defaultdict(Bill))
    time_ns: Counter[str] = field(default_factory=Counter)
    time_pico_usd: Counter[str] = field(default_factory=Counter)
    _replicas: dict[Place, _Replica] = field(default_factory=dict)
    _heard: dict[tuple[str, Place], ReplicaBeat] = field(default_factory=dict)
    _sent: dict[str, tuple[Sent, ...]] | None = None  # what each gateway said of egress; None before the first look

    def observe(
        self,
        now: float,
        beats: Mapping[str, Mapping[str, Mapping[str, ReplicaBeat]]],
        loaded: Mapping[Place, Iterable[Loaded]],
        prices_usd_per_hour: Mapping[str, float],
    ) -> None:
        """Charge the time since the last look. `now` in seconds of a clock that never jumps; `beats` by gateway, backend
        and replica, counts since each gateway's start; `loaded` has every replica that is paid for.
        """
        for place, versions in loaded.items():
            known = self._replicas.get(place)
            if known is None:
                self._replicas[place] = _Replica(now)
                self._news(beats, place)
                continue
            wall_ns = max(0, round((now - known.since) * 1e9))
            known.since = max(now, known.since)
            busy_ns, charged = self._news(beats, place)
            self._charge(place, known, wall_ns, busy_ns, charged, sorted(set(versions)), prices_usd_per_hour)
        for place in self._replicas.keys() - loaded.keys():
            del self._replicas[place]
        self._heard = {key: beat for key, beat in self._heard.items() if key[0] in beats and key[1] in loaded}

    def observe_egress(self, sent: Mapping[str, tuple[Sent, ...]]) -> None:
        """Charge what sending answers has cost since the last look, by gateway: since each one's start. What they had sent
        before the first look was charged by whoever looked then. No part of the replicas' time."""
        before = self._sent
        # A gateway that is not heard for a while goes on where it was: names are new at each start.
        lately = {name: said for name, said in (before or {}).items() if name not in sent} | dict(sent)
        self._sent = dict(list(lately.items())[-_GATEWAYS_KEPT:])
        if before is None:
            return
        for gateway, rows in sent.items():
            old = {(backend, model, version): was for backend, model, version, was in before.get(gateway, ())}
            for backend, model, version, now in rows:
                more = now - old.get((backend, model, version), 0)
                self.of[backend, (model, version)].egress_pico_usd += max(0, more)

    def fold(self, loaded: Mapping[Place, Iterable[Loaded]]) -> None:
        """Put together what versions have cost that went long ago, where there are more than VERSIONS_KEPT."""
        there = {(backend, version) for (backend, _), versions in loaded.items() for version in versions}
        for backend in {backend for backend, _ in self.of}:
            mine = [key for key in self.of if key[0] == backend]
            gone = [key for key in mine if key not in there and key[1] != _FOLDED]
            for key in gone[: max(0, len(mine) - VERSIONS_KEPT)]:
                self.of[backend, _FOLDED].add(self.of.pop(key))

    def _charge(
        self,
        place: Place,
        known: _Replica,
        wall_ns: int,
        busy_ns: int,
        charged: Counter[Loaded],
        versions: list[Loaded],
        prices_usd_per_hour: Mapping[str, float],
    ) -> None:
        backend, price = place[0], prices_usd_per_hour.get(place[0], 0.0)
        self.time_ns[backend] += wall_ns
        self.time_pico_usd[backend] += pico_usd(wall_ns, price)
        room_ns = known.idle_ns + wall_ns + _CARRIED_MAX_NS
        known.pool_ns += min(busy_ns, room_ns)
        known.idle_ns += wall_ns - min(busy_ns, room_ns)
        paid_ns = min(known.pool_ns, charged.total())
        if charged:
            owners = sorted(charged)
            for owner, part_ns in zip(owners, share(paid_ns, [charged[one] for one in owners]), strict=True):
                bill = self.of[backend, owner]
                bill.busy_ns += part_ns
                bill.busy_pico_usd += pico_usd(part_ns, price)
            known.pool_ns -= paid_ns
        if known.idle_ns > 0:
            # A replica on which nothing is known to be loaded idles for nobody.
            owners = versions or [("", "")]
            for owner, part_ns in zip(owners, share(known.idle_ns, [1] * len(owners)), strict=True):
                bill = self.of[backend, owner]
                bill.idle_ns += part_ns
                bill.idle_pico_usd += pico_usd(part_ns, price)
            known.idle_ns = 0

    def _news(
        self, beats: Mapping[str, Mapping[str, Mapping[str, ReplicaBeat]]], place: Place
    ) -> tuple[int, Counter[Loaded]]:
        """Return what all gateways report of a replica since they were last heard: busy time, and whom it was charged."""
        busy_ns, charged = 0, Counter[Loaded]()
        for gateway, backends in beats.items():
            beat = backends.get(place[0], {}).get(place[1])
            if beat is None:
                continue
            before = self._heard.get((gateway, place), ReplicaBeat(0))
            self._heard[gateway, place] = beat
            busy_ns += max(0, beat.busy_ns - before.busy_ns)
            old = {(model, version): ns for model, version, ns in before.charged_ns}
            for model, version, ns in beat.charged_ns:
                if (more := ns - old.get((model, version), 0)) > 0:
                    charged[model, version] += more
        return busy_ns, charged

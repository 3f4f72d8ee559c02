"""The replicas of a backend: found by name again and again, asked whether they live, ejected and let back in."""

import asyncio
import contextlib
import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping, Sequence
from typing import Final, Protocol

from serving import wire
from serving.errors import DeadlineExceeded, ServingError, Unavailable
from serving.health import Health
from serving.outliers import Outliers
from serving.upstream import GrpcUpstream, Upstream

log = logging.getLogger(__name__)

# Design §6.
RESOLVE_S: Final = 5.0
# A name that is not answered keeps its last addresses; an address is dropped when it was missing so often in a row, since
# some servers of names tell a part of a long list.
_MISSES_MAX: Final = 3
# A hung replica is out after two questions without an answer: within 1.1 s. A healthy one answers in milliseconds.
ASK_S: Final = 0.5
_ANSWER_S: Final = 0.3
# When our own timer comes later than this, it is we who are slow: nobody is blamed for a missing answer.
_LAG_MAX_S: Final = 0.1
# Calls on a replica that was dropped end by then; its channel is closed.
_LINGER_S: Final = 60.0

# Returns the addresses of a host.
Resolve = Callable[[str], Awaitable[Sequence[str]]]


class Listener(Protocol):
    """Who sends calls to replicas, and is told which there are."""

    def replace(self, upstreams: Sequence[Upstream]) -> None:
        """These are the replicas now."""
        ...

    def admit(self, address: str, *, is_open: bool) -> None:
        """This one gets calls, or none for now."""
        ...

    def heard(self, address: str, seconds: float) -> None:
        """This one answered a small question in that time."""
        ...


class Replicas:
    """One backend's replicas. Mutable: the replicas, their health, and what was not found lately."""

    def __init__(
        self,
        targets: Sequence[str],
        *,
        resolve: Resolve | None = None,
        connect: Callable[[str], Upstream] = GrpcUpstream,
        on_ejection: Callable[[], None] = lambda: None,
    ) -> None:
        """Made inside a running loop. Until a name is resolved it stands for itself."""
        self._targets = tuple(targets)
        self._resolve = resolve or _resolve
        self._connect = connect
        self._on_ejection = on_ejection
        self._upstreams = {target: connect(target) for target in targets}
        self._health = {target: Health() for target in targets}
        self._outliers = Outliers()
        self._misses: dict[str, int] = {}
        self._found: dict[str, tuple[str, ...]] = {}
        self._listeners: list[Listener] = []
        self._suspects: asyncio.Queue[str] = asyncio.Queue(maxsize=64)
        self._gone: list[tuple[float, Upstream]] = []

    @property
    def upstreams(self) -> tuple[Upstream, ...]:
        """All replicas, the ejected included."""
        return tuple(self._upstreams.values())

    @property
    def is_any_in(self) -> bool:
        """Whether any replica takes calls."""
        return any(not health.is_out for health in self._health.values())

    def is_out(self, address: str) -> bool:
        """Whether a replica is ejected."""
        return address in self._health and self._health[address].is_out

    def tell(self, listener: Listener) -> None:
        """Tell of every change from now on."""
        self._listeners.append(listener)

    def suspect(self, address: str) -> None:
        """A call found nobody there: ask at once."""
        with contextlib.suppress(asyncio.QueueFull):
            self._suspects.put_nowait(address)

    def ended(self, address: str, *, is_fault: bool, asked: Hashable = None) -> None:
        """A call ended there, for what was `asked`; `is_fault`: by a fault that is not the request's. Where calls fail and
        do not elsewhere, no more are sent for a while."""
        health, now = self._health.get(address), asyncio.get_running_loop().time()
        if health is None or health.is_out:
            return
        others = [one for one, of_it in self._health.items() if one != address and not of_it.is_out]
        if self._outliers.ended(address, now, is_fault=is_fault, others=others, asked=asked):
            self._set(address, health.failing(now))

    async def run(self) -> None:
        """Look after the replicas until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._resolve_on(), name="resolve")
            tasks.create_task(self._ask_on(tasks), name="ask replicas")
            tasks.create_task(self._ask_suspects(), name="ask suspects")

    async def close(self) -> None:
        """Drop all connections."""
        for upstream in (*self._upstreams.values(), *(one for _, one in self._gone)):
            await upstream.close()

    async def look_up(self) -> None:
        """Resolve all names once, and take over what was found."""
        for target in self._targets:
            host, _, port = target.rpartition(":")
            if _is_address(host):
                self._found[target] = (target,)
                continue
            try:
                async with asyncio.timeout(RESOLVE_S):
                    hosts = await self._resolve(host.strip("[]"))
            except (OSError, TimeoutError) as error:
                log.warning("name not resolved", extra={"target": target, "reason": str(error)})
                continue
            if hosts:
                self._found[target] = tuple(f"[{one}]:{port}" if ":" in one else f"{one}:{port}" for one in hosts)
        self._take_over([one for target in self._targets for one in self._found.get(target, (target,))])

    def _take_over(self, found: Sequence[str]) -> None:
        wanted = dict.fromkeys(found)
        for address in self._upstreams:
            self._misses[address] = 0 if address in wanted else self._misses.get(address, 0) + 1
        kept = [
            one
            for one in self._upstreams
            if one in wanted or (self._misses[one] < _MISSES_MAX and one not in self._targets and not self.is_out(one))
        ]
        addresses = list(dict.fromkeys((*kept, *wanted)))
        if addresses == list(self._upstreams):
            return
        log.info("replicas changed", extra={"before": list(self._upstreams), "after": addresses})
        now = asyncio.get_running_loop().time()
        self._gone += [(now, one) for address, one in self._upstreams.items() if address not in addresses]
        self._upstreams = {one: self._upstreams.get(one) or self._connect(one) for one in addresses}
        self._health = {one: self._health.get(one, Health()) for one in addresses}
        self._misses = {one: self._misses.get(one, 0) for one in addresses}
        self._outliers.keep(self._health)
        for listener in self._listeners:
            listener.replace(self.upstreams)

    async def _resolve_on(self) -> None:
        while True:
            await asyncio.sleep(RESOLVE_S)
            await self.look_up()
            now = asyncio.get_running_loop().time()
            for left_at, upstream in list(self._gone):
                if now - left_at > _LINGER_S:
                    self._gone.remove((left_at, upstream))
                    await upstream.close()

    async def _ask_on(self, tasks: asyncio.TaskGroup) -> None:
        asked: dict[str, asyncio.Task[None]] = {}
        while True:
            await asyncio.sleep(ASK_S)
            now, has_others = asyncio.get_running_loop().time(), self.is_any_in
            for address, health in self._health.items():
                if health.is_due(now, has_others=has_others) and (address not in asked or asked[address].done()):
                    asked[address] = tasks.create_task(self._ask(address), name=f"ask {address}")
            asked = {address: task for address, task in asked.items() if address in self._health}

    async def _ask_suspects(self) -> None:
        while True:
            address = await self._suspects.get()
            if address in self._health and not self._health[address].is_out:
                await self._ask(address)

    async def _ask(self, address: str) -> None:
        """Ask one replica something small; any answer is one."""
        loop, upstream, took_s = asyncio.get_running_loop(), self._upstreams.get(address), None
        if upstream is None or address not in self._health:
            return
        began, before = loop.time(), self._health[address]
        others = any(not one.is_out for other, one in self._health.items() if other != address)
        request = wire.GetModelStatusRequest(model_spec={"name": "turpin"}).SerializeToString()
        try:
            await upstream.call(wire.GET_MODEL_STATUS, request, _ANSWER_S)
            after, took_s = before.answered(loop.time()), loop.time() - began
        except Unavailable:
            after = before.refused(loop.time(), has_others=others)
        except DeadlineExceeded:
            if loop.time() - began > _ANSWER_S + _LAG_MAX_S:
                return
            after = before.timed_out(loop.time(), has_others=others)
        except ServingError:
            after, took_s = before.answered(loop.time()), loop.time() - began
        if address not in self._health:
            return
        self._set(address, after)
        if took_s is not None:
            for listener in self._listeners:
                listener.heard(address, took_s)
        if after.timeouts > before.timeouts and others:
            await self._ask(address)

    def _set(self, address: str, after: Health) -> None:
        """Take note of a replica's health, and tell whoever sends to it."""
        before, self._health[address] = self._health[address], after
        if after.is_out and not before.is_out:
            self._on_ejection()
            self._outliers.forget(address)
            log.warning("replica ejected", extra={"replica": address, "ejections": after.ejections})
        elif before.is_out and not after.is_out:
            log.info("replica is back", extra={"replica": address})
        for listener in self._listeners:
            listener.admit(address, is_open=not after.is_out)


class Pools(Mapping[str, tuple[Upstream, ...]]):
    """The replicas of all backends as they are at the moment, by name of the backend."""

    def __init__(self, replicas: Mapping[str, Replicas], *, is_all: bool = True) -> None:
        """`is_all`: the ejected, too."""
        self.replicas = replicas
        self._is_all = is_all

    def __getitem__(self, backend: str) -> tuple[Upstream, ...]:
        replicas = self.replicas[backend]
        found = replicas.upstreams
        return found if self._is_all else tuple(one for one in found if not replicas.is_out(one.address)) or found

    def in_use(self) -> "Pools":
        """Return those that take calls alone; of a backend where none does, all."""
        return Pools(self.replicas, is_all=False)

    def __iter__(self) -> Iterator[str]:
        return iter(self.replicas)

    def __len__(self) -> int:
        return len(self.replicas)

    def tell(self, listeners: Mapping[str, Listener]) -> None:
        """Tell each backend's listener of every change from now on."""
        for name, listener in listeners.items():
            self.replicas[name].tell(listener)

    async def look_up(self) -> None:
        """Resolve all names once."""
        async with asyncio.TaskGroup() as tasks:
            for name, one in self.replicas.items():
                tasks.create_task(one.look_up(), name=f"resolve {name}")

    async def run(self) -> None:
        """Look after all of them until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for name, one in self.replicas.items():
                tasks.create_task(one.run(), name=f"replicas of {name}")

    async def close(self) -> None:
        """Drop all connections."""
        for one in self.replicas.values():
            await one.close()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


async def _resolve(host: str) -> list[str]:
    """Return all addresses of a host, in order. One family only: a replica that has both would be two."""
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    addresses = {family: sorted({str(one[4][0]) for one in found if one[0] == family}) for family in _FAMILIES}
    return next((some for some in addresses.values() if some), [])


_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6)

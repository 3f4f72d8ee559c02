"""A whole service in virtual time: gateways with their leaders and workers on one store, clients, and trouble.

For a while everything goes wrong that may: the store is away, slow or mute, processes are paused, killed and started again,
machines lose power, calls upstream find nobody. Then all is well again, and what was acknowledged must be there.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final, cast

from router import snapshot
from router.control.leader import Leader
from router.decisions import Mode
from router.snapshot import PARTS
from router.store import Cell, Store
from router.store.memory import MemoryStore
from tests.simulated_disk import Machine, SimulatedDisk
from tests.simulation.client import Client
from tests.simulation.door import AMBUSHES, Door, Weather
from tests.simulation.laws import Laws
from tests.simulation.server import Server
from tests.simulation.settings import BACKEND, RATES, START, Shape, config_of
from tests.simulation.worker import ConnectionLost, Worker

_CLIENTS: Final = 2
_SKEW_S: Final = 0.2
_JUMP_S: Final = 3600.0
# Seconds between two troubles, and how long they last.
_OFTEN_S: Final = (0.2, 1.2)
_RARELY_S: Final = (1.0, 5.0)
# Of troubles in a world where something is to end.
_AMBUSHED_TOO: Final = 0.25
_LASTS_S: Final = (0.3, 4.0)
_RESTART_S: Final = (0.1, 1.5)
# Calls that one thing befalls at times: what a leader writes, and what workers count.
_AMBUSHED: Final = (
    "publish",
    "publish",
    "save_experiment",
    "save_experiment",
    "save_backend",
    "lease",
    "flush",
    "add_rewards",
)
_COUNTED: Final = frozenset({"add_rewards"})
# Requests a second from elsewhere, where an experiment is to end.
_ELSEWHERE: Final = 4000


@dataclass(slots=True, eq=False)
class Process:
    """A leader or a worker. Mutable: its door, and the task that runs it."""

    name: str
    door: Door
    disk: SimulatedDisk
    stop: asyncio.Event
    worker: Worker | None = None
    task: asyncio.Task[None] | None = None


class World:
    """Mutable: all of it."""

    def __init__(
        self, seed: int, shape: Shape, store: MemoryStore, tasks: asyncio.TaskGroup, *, clocks_jump: bool = False
    ) -> None:
        self._seed, self.shape, self.store, self._tasks = seed, shape, store, tasks
        self._clocks_jump = clocks_jump
        self._rng = random.Random(f"{seed} world")
        self._config = config_of(shape)
        self._weather = Weather()
        self.laws = Laws(store)
        self._server = Server(random.Random(f"{seed} server"))
        self._machines = [Machine() for _ in range(shape.gateways)]
        # How far each machine's clock is off.
        self._off_s = [0.0] * shape.gateways
        # By (gateway, kind); and all workers that ever were.
        self._processes: dict[tuple[int, str], Process] = {}
        self.workers: list[Worker] = []
        self._started = 0
        self._elsewhere: Counter[tuple[Cell, str]] = Counter()

    async def live(self) -> None:
        """From the first start to the last check. Raises Broken."""
        await self.store.open()
        for place in range(self.shape.gateways):
            for kind in ("leader", "worker"):
                self._start(place, kind)
        loop = asyncio.get_running_loop()
        end = loop.time() + self.shape.stormy_s + self.shape.calm_s
        async with asyncio.TaskGroup() as rewards:
            watching = rewards.create_task(self._watch())
            others = rewards.create_task(self._count_elsewhere())
            async with asyncio.TaskGroup() as clients:
                for number in range(_CLIENTS):
                    client = Client(number, self._seed, self.laws, self._choose, rewards)
                    clients.create_task(client.run(end - 3.0))
                await self._storm(loop.time() + self.shape.stormy_s)
                await self._calm()
            await asyncio.sleep(max(0.0, end - loop.time()))
            for task in (watching, others):
                task.cancel()
        await self._finish()
        self.laws.at_the_end(self.workers, self._elsewhere)

    def _start(self, place: int, kind: str) -> None:
        self._started += 1
        name = f"{kind}-{place}-{self._started}"
        rng = random.Random(f"{self._seed} {name}")
        door = Door(name, self.store, self._weather, rng, self.laws.done, self._tasks, lambda: self._die(place, kind))
        disk = SimulatedDisk(self._machines[place])
        skew_s, loop = rng.uniform(-_SKEW_S, _SKEW_S), asyncio.get_running_loop()

        def unix_now() -> float:
            return START + skew_s + self._off_s[place] + loop.time()

        process = Process(name, door, disk, asyncio.Event())
        if kind == "worker":
            process.worker = Worker(name, self._config, door, disk, self._server, unix_now)
            self.workers.append(process.worker)
            work = process.worker.run(process.stop)
        else:
            upstreams = {BACKEND: (self._server,)}
            work = Leader(self._config, store=cast("Store", door), upstreams=upstreams, unix_now=unix_now).run()
        process.task = self._tasks.create_task(self._until_killed(door, work), name=name)
        self._processes[place, kind] = process
        self.laws.note("start", name)

    async def _until_killed(self, door: Door, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except BaseException:
            # Whatever comes of a process that was killed, nobody sees it.
            if not door.is_dead:
                raise

    def _kill(self, place: int, kind: str) -> None:
        process = self._processes[place, kind]
        if process.door.is_dead:
            return
        self.laws.note("kill", process.name)
        self.laws.counts["killed"] += 1
        process.door.is_dead = True
        process.door.awake.set()
        process.disk.die()
        assert process.task is not None
        process.task.cancel()

    def _die(self, place: int, kind: str) -> None:
        """Be killed in the middle of something, and be started again."""
        self._kill(place, kind)
        self._tasks.create_task(self._start_later(place, kind))

    async def _start_later(self, place: int, kind: str) -> None:
        await asyncio.sleep(self._rng.uniform(*_RESTART_S))
        if self._processes[place, kind].door.is_dead:
            self._start(place, kind)

    def _choose(self, rng: random.Random) -> Worker:
        """Connect to some worker that is there; ConnectionLost if none is."""
        ready = [one.worker for one in self._processes.values() if one.worker and one.worker.is_ready]
        alive = [worker for worker in ready if not worker.is_dead]
        if not alive:
            raise ConnectionLost
        return rng.choice(alive)

    async def _storm(self, until: float) -> None:
        """Let one thing after the other go wrong, some at a time."""
        loop, rng = asyncio.get_running_loop(), self._rng
        kinds = [self._bad_store, self._bad_store, self._cut_off, self._pause, self._crash, self._bad_server]
        if self.shape.is_busy:
            # Where the whole store is away, or an arm, nothing ends for a while: here something is to end in the storm.
            kinds = [self._cut_off, self._cut_off, self._cut_off, self._pause, self._crash]
        if self._clocks_jump:
            kinds += [self._jump_clock] * 3
        # Most worlds learn something before it begins.
        await asyncio.sleep(rng.choice((0.0, 2.0, 3.5)))
        async with asyncio.TaskGroup() as troubles:
            while loop.time() < until:
                await asyncio.sleep(rng.uniform(*(_RARELY_S if self.shape.is_busy else _OFTEN_S)))
                if not self.shape.is_busy or rng.random() < _AMBUSHED_TOO:
                    self._weather.ambushes[rng.choice(_AMBUSHED)] = rng.choice(AMBUSHES)
                trouble = rng.choice(kinds)
                lasts_s = min(rng.uniform(*_LASTS_S), until - loop.time())
                if lasts_s > 0:
                    troubles.create_task(trouble(lasts_s))

    async def _bad_store(self, lasts_s: float) -> None:
        weather, kind = self._weather, self._rng.randrange(5)
        self.laws.note("weather", kind, lasts_s)
        match kind:
            case 0 | 1:
                weather.is_away = True
            case 2:
                weather.lost, weather.unanswered, weather.late = 0.1, 0.1, 0.1
            case 3:
                weather.slow_s = 0.5
            case _:
                weather.unanswered = 0.5
        await asyncio.sleep(lasts_s)
        weather.clear()

    async def _cut_off(self, lasts_s: float) -> None:
        """Let one worker not reach the store, or only the part that counts rewards."""
        process = self._rng.choice([one for one in self._processes.values() if one.worker is not None])
        self.laws.note("cut off", process.name)
        process.door.cut = self._rng.choice((_COUNTED, _COUNTED | {"flush", "snapshots", "backends"}))
        await asyncio.sleep(lasts_s)
        process.door.cut = frozenset()

    async def _pause(self, lasts_s: float) -> None:
        """Stop a process, for longer than a lease at times."""
        process = self._rng.choice(list(self._processes.values()))
        self.laws.note("pause", process.name)
        process.door.pause(lasts_s)

    async def _crash(self, lasts_s: float) -> None:
        """Kill a process, or cut a machine's power; somebody starts them again."""
        place = self._rng.randrange(self.shape.gateways)
        kinds = [kind for kind in ("leader", "worker") if self._rng.random() < 0.6]
        for kind in kinds:
            self._kill(place, kind)
        if self._rng.random() < 0.5:
            for kind in ("leader", "worker"):
                self._kill(place, kind)
            self._machines[place].cut_power(self._rng)
            kinds = ["leader", "worker"]
        await asyncio.sleep(min(lasts_s, self._rng.uniform(*_RESTART_S)))
        for kind in kinds:
            if self._processes[place, kind].door.is_dead:
                self._start(place, kind)

    async def _jump_clock(self, lasts_s: float) -> None:
        """Set the clock of one machine an hour on, or back, until somebody notices."""
        place = self._rng.randrange(self.shape.gateways)
        # One way in each world: a clock that goes two hours makes spooled rewards too old to be counted (docs: set aside).
        self._off_s[place] = _JUMP_S if self._seed % 2 else -_JUMP_S
        self.laws.note("clock", place, self._off_s[place])
        self.laws.counts["clocks"] += 1
        await asyncio.sleep(lasts_s)
        self._off_s[place] = 0.0

    async def _bad_server(self, lasts_s: float) -> None:
        self._server.unreached, self._server.hanging = self._rng.choice(((0.2, 0.0), (1.0, 0.0), (0.1, 0.05)))
        await asyncio.sleep(lasts_s)
        self._server.unreached = self._server.hanging = 0.0

    async def _calm(self) -> None:
        """All is well from now on, and whoever is dead starts again."""
        self._weather.clear()
        self._weather.ambushes.clear()
        self._server.unreached = self._server.hanging = 0.0
        for (place, kind), process in list(self._processes.items()):
            process.door.awake.set()
            process.door.cut = frozenset()
            if process.door.is_dead:
                self._start(place, kind)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(0.25)
            self.laws.check()
            for process in self._processes.values():
                if process.worker is not None and not process.worker.is_dead:
                    self.laws.acts_by(process.worker)

    async def _count_elsewhere(self) -> None:
        """Count traffic of gateways that are not simulated, so that an experiment ends."""
        loop, sequence = asyncio.get_running_loop(), 0
        while self.shape.is_busy:
            await asyncio.sleep(1.0)
            sequence += 1
            deltas: dict[Cell, dict[str, int]] = {}
            for _, raw in (await self.store.snapshots()).values():
                live = snapshot.decode(raw)
                if live.mode == Mode.EXPERIMENT:
                    for arm, route in enumerate(live.arms):
                        count = _ELSEWHERE * route.parts // PARTS
                        won = round(count * RATES[arm])
                        deltas[Cell(live.epoch, arm, live.block)] = {
                            "decisions": count,
                            "rewards": count,
                            "reward_q": won << 16,
                            "reward_q2": won << 32,
                        }
            for cell, fields in deltas.items():
                for name, number in fields.items():
                    self._elsewhere[cell, name] += number
            await self.store.flush("elsewhere", sequence, deltas, b"", START + loop.time())

    async def _finish(self) -> None:
        """End all processes as an operator does."""
        for process in self._processes.values():
            process.stop.set()
            if process.worker is None and process.task is not None:
                process.task.cancel()
        tasks = [process.task for process in self._processes.values() if process.task is not None]
        await asyncio.wait(tasks, timeout=20.0)

"""A spool's life, written down operation by operation, so that a crash can be tried at each byte of it."""

import asyncio
import errno
import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

from router.metrics import Metrics
from router.spool import Spool, Spooled
from router.spool.file import SpoolFiles
from router.store import Reward, RewardResult, StoreUnavailable
from router.store.memory import MemoryStore
from tests.inline_lane import InlineLane
from tests.router.store.samples import CELL, HOUR, NOW, nonce, reward
from tests.simulated_disk import Machine, SimulatedDisk

FOLDER: Final = Path("/spool")
_MIB: Final = 2**20
_LIVES: Final = 3
_STEPS: Final = 12
# Rewards are few, so that many of them come twice.
_NUMBERS: Final = 40
# Of the operations that may fail.
_FAILS: Final = 0.1
# One for all: to make it costs as much as a whole recovery.
_METRICS: Final = Metrics()

Line = tuple[str, Path, bytes]


@dataclass(slots=True)
class Story:
    """What happened, in order: operations on the disk, and who was told what. Mutable while it is written."""

    lines: list[Line | tuple[str, list[int]]] = field(default_factory=list)

    def told(self, what: str, numbers: Sequence[int]) -> None:
        """Write down rewards that were sent, acknowledged or counted."""
        self.lines.append((what, list(numbers)))


class _Store(MemoryStore):
    """A store that writes down what it counts; it may be away, or mute. Mutable: both."""

    def __init__(self, story: Story) -> None:
        super().__init__()
        self._story = story
        self.is_away = self.is_mute = False

    async def add_rewards(self, rewards: Sequence[Reward]) -> list[RewardResult]:
        if self.is_away:
            raise StoreUnavailable("away")
        found = await super().add_rewards(rewards)
        self._story.told("counted", [number_of(one.nonce) for one in rewards])
        if self.is_mute:
            raise StoreUnavailable("done, and nobody was told")
        return found


_NUMBER_OF: Final = {nonce(number): number for number in range(_NUMBERS)}


def number_of(of: bytes) -> int:
    """Return which reward has this nonce."""
    return _NUMBER_OF[of]


def spool_on(disk: SimulatedDisk, store: MemoryStore, takes_s: Callable[[], float] | None = None) -> Spool:
    """A spool on a simulated disk, without a thread; what it asks of the disk takes so long."""
    spool = Spool(FOLDER, _MIB, store=store, metrics=_METRICS, unix_now=lambda: NOW)
    spool._lane = cast("Any", InlineLane(SpoolFiles(FOLDER, _MIB, disk), takes_s))
    return spool


async def told(seed: int, *, is_flawless: bool = False) -> Story:
    """Live three lives of a process: put, drain, lose the store, lose the disk, and die. `is_flawless`: the disk does all
    that it is asked."""
    rng, story, machine = random.Random(seed), Story(), Machine()
    store = _Store(story)
    await store.open()

    def before(what: str, path: Path, content: bytes) -> None:
        if what in ("append", "sync", "cut") and not is_flawless and rng.random() < _FAILS:
            if what == "append" and content:
                # A full disk takes a part.
                part = content[: rng.randrange(len(content))]
                machine.files[path].do(part)
                story.lines.append((what, path, part))
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        story.lines.append((what, path, content))

    for _ in range(_LIVES):
        disk = SimulatedDisk(machine, before)
        spool = spool_on(disk, store)
        await spool.open()
        for _ in range(_STEPS):
            await _step(rng, spool, store, story)
        disk.die()
    return story


async def _step(rng: random.Random, spool: Spool, store: _Store, story: Story) -> None:
    kind = rng.random()
    if kind < 0.6:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(rng.choice((1, 1, 2))):
                numbers = [rng.randrange(_NUMBERS) for _ in range(rng.randint(1, 3))]
                tasks.create_task(_put(spool, numbers, story))
            if rng.random() < 0.2:
                tasks.create_task(spool.drain())
    elif kind < 0.85:
        await spool.drain()
    else:
        store.is_away, store.is_mute = rng.choice(((False, False), (True, False), (False, True)))


async def _put(spool: Spool, numbers: list[int], story: Story) -> None:
    story.told("sent", numbers)
    try:
        await spool.put([Spooled(_reward(number)) for number in numbers])
    except StoreUnavailable:
        return
    story.told("acknowledged", numbers)


def _reward(number: int) -> Reward:
    return reward(number, 1.0, fields={"rewards": 1, "reward_q": 1 << number}, expires_at=int(NOW) + HOUR)


@dataclass(slots=True)
class Moment:
    """Where a story stands. Mutable: the machine, and what was sent, acknowledged and counted so far."""

    machine: Machine = field(default_factory=Machine)
    sent: set[int] = field(default_factory=set)
    acknowledged: set[int] = field(default_factory=set)
    counted: set[int] = field(default_factory=set)

    def pass_by(self, line: Line | tuple[str, list[int]]) -> None:
        """Let what a line says happen."""
        if len(line) == 2:
            {"sent": self.sent, "acknowledged": self.acknowledged, "counted": self.counted}[line[0]].update(line[1])
            return
        what, path, content = line
        files = self.machine.files
        match what:
            case "create":
                self.machine.make(path)
            case "append":
                files[path].do(content)
            case "cut":
                files[path].do(int.from_bytes(content))
            case "sync":
                files[path].synced, files[path].since = files[path].content, ()
            case "remove" if path in files:
                self.machine.removed[path] = files.pop(path)


def moments(story: Story) -> Iterator[tuple[Moment, Machine]]:
    """Go through a story; at each byte written and after each operation say where it stands, and what is on the disk."""
    moment = Moment()
    for line in story.lines:
        if len(line) == 3 and line[0] == "append":
            _, path, content = line
            for written in range(len(content)):
                torn = moment.machine.copy()
                torn.files[path].do(content[:written])
                yield moment, torn
        moment.pass_by(line)
        if len(line) == 3:
            yield moment, moment.machine.copy()


async def wrong_after(moment: Moment, machine: Machine) -> str:
    """Let another process take over; say which law is broken, empty if none is."""
    store = MemoryStore()
    await store.open()
    await store.add_rewards([_reward(number) for number in sorted(moment.counted)])
    spool = spool_on(SimulatedDisk(machine), store)
    await spool.open()
    await spool.drain()
    is_empty = spool.is_empty
    known = {number_of(key[0]) for key in store._known}
    sums = (await store.sums(CELL.epoch)).get((CELL.arm, CELL.block), {"rewards": 0, "reward_q": 0})
    if not is_empty:
        return "something still waits"
    if lost := moment.acknowledged - known:
        return f"acknowledged and lost: {sorted(lost)}"
    if made_up := known - moment.sent:
        return f"counted and never sent: {sorted(made_up)}"
    if (sums["rewards"], sums["reward_q"]) != (len(known), sum(1 << number for number in known)):
        return f"the sums are {sums}, for {sorted(known)}"
    return ""

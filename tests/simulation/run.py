"""One simulated world from one seed: what came of it, always the same."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass

from router.store.memory import MemoryStore
from tests.simulated_loop import SimulatedLoop
from tests.simulation.entropy import seeded
from tests.simulation.laws import Broken
from tests.simulation.server_clock import ServerClock
from tests.simulation.settings import Shape
from tests.simulation.world import World


@dataclass(frozen=True, slots=True)
class Outcome:
    """The law that was broken, empty if none was; a digest of all that happened; and how much of what did."""

    broken: str
    trace: str
    counts: Counter[str]


def simulate(seed: int, kind: type[MemoryStore] = MemoryStore, *, clocks_jump: bool = False) -> Outcome:
    """Play the world of a seed, on this kind of store; `clocks_jump`: those of gateways do, and the store has its own."""
    loop = SimulatedLoop()
    worlds: list[World] = []

    async def play() -> None:
        shape = Shape.of(random.Random(f"{seed} shape"))
        async with asyncio.TaskGroup() as tasks:
            world = World(seed, shape, ServerClock() if clocks_jump else kind(), tasks, clocks_jump=clocks_jump)
            worlds.append(world)
            await world.live()

    broken = ""
    with seeded(random.Random(f"{seed} entropy"), loop.time), asyncio.Runner(loop_factory=lambda: loop) as runner:
        try:
            runner.run(play())
        except BaseExceptionGroup as group:
            found, rest = group.split(Broken)
            if rest is not None:
                raise
            broken = "; ".join(_leaves(found))
        except Broken as error:
            broken = str(error)
    laws = worlds[0].laws
    return Outcome(broken, laws.trace, laws.counts)


def _leaves(group: BaseException | None) -> list[str]:
    if isinstance(group, BaseExceptionGroup):
        return [leaf for error in group.exceptions for leaf in _leaves(error)]
    return [str(group)]

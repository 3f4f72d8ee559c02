"""The experiment itself: traffic and rewards on one side, watching until it is over on the other."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from load.demo.plan import Options
from load.demo.result import Moment, Run
from load.demo.rewards import RewardSender
from load.demo.senders import Sender
from load.demo.state import Gateway, State
from load.demo.traffic import Traffic
from load.demo.watch import Watch

# The learner publishes once a second; twice as often misses no change by much.
_LOOK_S = 0.5
# So that the picture shows what the end looks like, and that traffic goes on without the losers.
_LINGER_S = 3.0
# Rewards are sent until acknowledged; a gateway that is being started again needs less than this.
LAST_REWARDS_S = 30.0
# Counts reach the state within a flush (250 ms) and a refresh (1 s).
LAST_COUNTS_S = 10.0


@dataclass(frozen=True, slots=True)
class Clients:
    """Whom the demo talks to."""

    gateway: Gateway
    senders: Sequence[Sender]
    rewards: RewardSender
    # The model server's own word: the state of each version.
    server_states: Callable[[], Awaitable[dict[int, str]]]
    # What the held-out images show.
    digits: NDArray[np.int64]
    # Whether the gateway takes requests of both kinds (again).
    is_back: Callable[[], Awaitable[bool]]


async def until_running(run: Run, clients: Clients, console: Console, deadline: float) -> None:
    """Wait until the arms are warm and calibrated and traffic may begin, or until `deadline` (monotonic seconds)."""
    said = ""
    with console.status("  warming the arms up") as status:
        while time.monotonic() < deadline:
            run.state = await clients.gateway.state()
            if run.state is not None and run.state.phase != "warmup" and run.state.phase != "draft":
                return
            words = "  waiting for the gateway" if run.state is None else _warming(run.state)
            status.update(words)
            if words != said and not console.is_terminal:
                console.print(words, highlight=False)
            said = words
            await asyncio.sleep(_LOOK_S)


def _warming(state: State) -> str:
    arms = ", ".join(f"{arm.name} {arm.state}" for arm in state.arms)
    return f"  warming up: {arms}"


async def conduct(run: Run, clients: Clients, options: Options, console: Console, deadline: float) -> None:
    """Send traffic and rewards until the experiment is over or `deadline`; fills in `run`."""
    rewards = clients.rewards
    traffic = Traffic(
        clients.senders,
        clients.digits,
        rate=options.rate,
        seed=options.seed,
        books=run.books,
        reward=rewards.put,
        is_back=clients.is_back,
        clock=time.monotonic,
    )
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(rewards.run(), name="rewards")
        asking = tasks.create_task(traffic.run(stop), name="traffic")
        with Watch(console, run.books) as watch:
            await _observe(run, clients, watch, deadline)
        stop.set()
        await asking
        if not await rewards.finish(LAST_REWARDS_S):
            run.events.append(f"rewards were still unacknowledged after {LAST_REWARDS_S:.0f} s")
            sending.cancel()
    run.rewards_sent = rewards.taken
    run.rewards_acknowledged = rewards.acknowledged
    run.rewards_refused = rewards.refused
    await _settle(run, clients)


async def _observe(run: Run, clients: Clients, watch: Watch, deadline: float) -> None:
    over_at: float | None = None
    while (now := time.monotonic()) < deadline:
        state = await clients.gateway.state()
        if state is not None:
            run.state = state
            run.servers = await clients.server_states() or run.servers
            run.timeline.append(_moment(run, state))
            watch.show(state, run.servers)
        if run.is_over():
            over_at = over_at or now
            if now - over_at >= _LINGER_S:
                return
        await asyncio.sleep(_LOOK_S)
    run.events.append("--max-seconds has passed")


def _moment(run: Run, state: State) -> Moment:
    return Moment(
        run.books.elapsed_s(),
        state.phase,
        {arm.name: arm.state for arm in state.arms},
        {arm.name: arm.weight for arm in state.arms},
        state.value_remaining.q95,
    )


async def _settle(run: Run, clients: Clients) -> None:
    """Wait until the gateway's state shows every reward that was sent."""
    deadline = time.monotonic() + LAST_COUNTS_S
    while time.monotonic() < deadline:
        run.state = await clients.gateway.state() or run.state
        if run.state is not None and run.state.rewards >= run.rewards_sent:
            return
        await asyncio.sleep(_LOOK_S)

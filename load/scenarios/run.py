"""One story from training to JSON: what all stories have in common, and what is ended whatever happens."""

import asyncio
import contextlib
import os
import sys
import time
from functools import partial

import aiohttp
import msgspec
import numpy as np
from rich.console import Console

from load.demo import processes, training
from load.demo import run as main_demo
from load.demo.books import Books
from load.demo.experiment import LAST_COUNTS_S, LAST_REWARDS_S
from load.demo.plan import Options
from load.demo.rewards import RewardSender
from load.demo.senders import RestSender
from load.demo.state import Gateway
from load.demo.traffic import Traffic
from load.scenarios import files
from load.scenarios.diary import Diary, Noting
from load.scenarios.grpc_sender import GrpcSender
from load.scenarios.result import Telling, document
from load.scenarios.servers import Server, open_channel
from load.scenarios.stage import Stage, Stuck
from load.scenarios.stories import story as story_of
from load.scenarios.story import Story
from router.clock import unix_now
from turpin.async_client import AsyncClient

# Ready in 0.4-0.7 s on a quiet machine.
_GATEWAY_S = 30.0
# What every story must show beside its own.
COMMON = ("no_request_failed", "every_reward_counted")


def main(options: Options, name: str) -> int:
    """Tell a story, speaking on stderr; return the exit status."""
    return main_demo.main(options, partial(_demo, name))


async def _demo(name: str, options: Options, console: Console, finished: list[int]) -> None:
    started = time.monotonic()
    story = story_of(name)
    books = Books(tuple(arm.name for arm in story.arms), time.monotonic)
    async with contextlib.AsyncExitStack() as stack:
        console.print(story.title, style="bold", highlight=False)
        trained = await _train(name, story, options, console)
        files.write(story, options.folder, options.ports)
        servers = await _servers(story, options, stack)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        gateway = Gateway(session, options.ports)
        child = await _gateway(options, gateway, stack)
        stage = Stage(
            console=console,
            folder=options.folder,
            gateway=gateway,
            client=AsyncClient(f"http://127.0.0.1:{options.ports.admin}"),
            servers=servers,
            books=books,
            diary=Diary(unix_now),
            checks=(*story.checks, *COMMON),
        )
        pids = {"client": os.getpid(), "gateway": child.pid} | {one: servers[one].pid for one in servers}
        _addresses(console, options, story, pids)
        telling = Telling(name, story, options.seed, books, stage.checks, stage.told, trained=trained, pids=pids)
        async with asyncio.TaskGroup() as tasks:
            guarding = tasks.create_task(_guard(child), name="guard the gateway")
            await _tell(telling, stage, session, options, started + options.max_seconds, stack)
            guarding.cancel()
        telling.duration_s = time.monotonic() - started
        finished.append(_conclude(telling, options, console))
        if options.is_kept:
            console.print("Everything is left running until Ctrl-C (or SIGTERM):", style="bold")
            _addresses(console, options, story, pids)
            await asyncio.Event().wait()


async def _train(name: str, story: Story, options: Options, console: Console) -> tuple[training.Trained, ...]:
    command = [sys.executable, "-m", "load.scenarios.train", name, str(options.folder.root), f"--seed={options.seed}"]
    return await training.follow(command, story.models, options.folder, console, options.max_seconds)


async def _servers(story: Story, options: Options, stack: contextlib.AsyncExitStack) -> dict[str, Server]:
    """Start all model servers beside each other: most of it is importing TensorFlow."""
    folder = options.folder
    servers = {}
    for number, cloud in enumerate(story.clouds):
        server = Server(
            cloud.backend,
            options.ports.of_server(number),
            folder.models_of(cloud.backend),
            folder.logs / f"model-server-{cloud.backend}.log",
            cloud.versions,
        )
        stack.push_async_callback(server.end)
        servers[cloud.backend] = server
    async with asyncio.TaskGroup() as tasks:
        for server in servers.values():
            tasks.create_task(server.start(), name=f"start {server.backend}")
    return servers


async def _gateway(options: Options, gateway: Gateway, stack: contextlib.AsyncExitStack) -> processes.Child:
    folder = options.folder
    child = await processes.start(
        "the gateway", processes.turpin("serve", "-c", str(folder.config)), folder.logs / "gateway.log"
    )
    stack.push_async_callback(processes.end, child)
    await processes.until(child, gateway.is_ready, _GATEWAY_S)
    return child


async def _guard(child: processes.Child) -> None:
    status = await child.process.wait()
    raise child.failure(f"ended with {status}")


async def _tell(
    telling: Telling,
    stage: Stage,
    session: aiohttp.ClientSession,
    options: Options,
    deadline: float,
    stack: contextlib.AsyncExitStack,
) -> None:
    """Play the story over traffic and rewards; fills in `telling`."""
    rewards = RewardSender(session, f"http://127.0.0.1:{options.ports.http}")
    traffic = await _traffic(telling, stage, rewards, session, options, stack)
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(rewards.run(), name="rewards")
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                await stage.until_state("the arms are warm", lambda state: state.phase == "running")
                asking = tasks.create_task(traffic.run(stop), name="traffic")
                showing = tasks.create_task(stage.show(), name="shares")
                try:
                    await telling.story.play(stage)
                finally:
                    stop.set()
                    showing.cancel()
                await asking
        except Stuck as error:
            telling.stuck = str(error)
        except TimeoutError:
            telling.stuck = "--max-seconds has passed"
        if not await rewards.finish(LAST_REWARDS_S):
            sending.cancel()
    telling.rewards_sent, telling.rewards_refused = rewards.taken, rewards.refused
    await _settle(telling, stage)


async def _traffic(
    telling: Telling,
    stage: Stage,
    rewards: RewardSender,
    session: aiohttp.ClientSession,
    options: Options,
    stack: contextlib.AsyncExitStack,
) -> Traffic:
    with np.load(options.folder.held_out) as held_out:
        pixels, digits = held_out["pixels"], held_out["digits"]
    channel = open_channel(options.ports.grpc)
    stack.push_async_callback(channel.close)
    versions = {arm.name: arm.version for arm in telling.story.all_arms}
    rest = RestSender(session, f"http://127.0.0.1:{options.ports.http}", pixels)

    async def is_back() -> bool:
        return True

    return Traffic(
        [Noting(one, stage.diary) for one in (GrpcSender(channel, pixels, versions), rest)],
        digits,
        rate=options.rate,
        seed=options.seed,
        books=telling.books,
        reward=rewards.put,
        is_back=is_back,
        clock=time.monotonic,
    )


async def _settle(telling: Telling, stage: Stage) -> None:
    """Wait until every reward is counted, then note what gateway and servers say."""
    books = telling.books
    with contextlib.suppress(Stuck):
        await stage.until_state(
            "every reward is counted", lambda state: state.rewards >= telling.rewards_sent, LAST_COUNTS_S
        )
    telling.state = await stage.look()
    telling.servers = {name: await server.states() for name, server in stage.servers.items()}
    telling.logged = {
        name: [f"version {one.version} {one.state}" for one in server.changes()]
        for name, server in stage.servers.items()
    }
    counted = telling.state.rewards if telling.state is not None else 0
    stage.check(
        "no_request_failed",
        holds=books.failed_total == 0 and books.answers > 0,
        words=f"{books.requests:,} requests, {books.failed_total} failed",
    )
    stage.check(
        "every_reward_counted",
        holds=counted == telling.rewards_sent and not telling.rewards_refused,
        words=f"{telling.rewards_sent:,} rewards sent, {counted:,} counted, each once",
    )


def _addresses(console: Console, options: Options, story: Story, pids: dict[str, int]) -> None:
    ports = options.ports
    lines = [
        f"gateway {pids['gateway']}: gRPC 127.0.0.1:{ports.grpc}, REST http://127.0.0.1:{ports.http}, "
        f"admin http://127.0.0.1:{ports.admin}"
    ]
    for number, cloud in enumerate(story.clouds):
        grpc_port, rest_port = ports.of_server(number)
        lines.append(
            f"{cloud.backend} {pids[cloud.backend]}, a model server standing for {cloud.location}: "
            f"gRPC 127.0.0.1:{grpc_port}, REST http://127.0.0.1:{rest_port}"
        )
    for line in lines:
        console.print(f"  {line}", highlight=False, soft_wrap=True, markup=False)


def _conclude(telling: Telling, options: Options, console: Console) -> int:
    """Write the JSON, say how it ended; return the exit status."""
    found = msgspec.json.format(msgspec.json.encode(document(telling)), indent=2) + b"\n"
    options.folder.report.write_bytes(found)
    if options.json_path is not None:
        options.json_path.write_bytes(found)
    console.print(f"Numbers {options.folder.report}, logs {options.folder.logs}", highlight=False, soft_wrap=True)
    for message, count in telling.books.failures.most_common(5):
        console.print(f"{count} × {message}", style="yellow", highlight=False, soft_wrap=True, markup=False)
    if telling.is_good:
        console.print(f"All checks hold; {telling.duration_s:.0f} s, training included.", style="bold", highlight=False)
        return main_demo.EXIT_OK
    lacking = ", ".join(name for name, holds in telling.checks.items() if not holds)
    words = f"turpin demo: {telling.stuck or 'not all checks hold'}; not shown: {lacking}"
    console.print(words, style="red", highlight=False, soft_wrap=True, markup=False)
    return main_demo.EXIT_FAILED

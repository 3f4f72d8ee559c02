"""`make bench-scaling`: what one reward, one worker, one leader and one cell cost a Redis; half a minute.

Real gateways on a Redis of their own, with a model server that computes nothing and no traffic: what is left is what each
worker costs the store by being there. Rewards are pushed apart from that. All is counted by Redis itself: its processor
time, which other processes on the machine change little, its bytes on the network and in memory.
"""

import asyncio
import itertools
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from load.chaos.gateway import EXPERIMENT, KEYS, Gateway, configuration
from load.chaos.redis_process import RedisProcess
from load.demo import processes
from load.generate.machine import machine
from load.generate.rig import Setting, clients, gateway, stand_in
from load.generate.run import closed_loop
from load.ports import free_ports
from load.store.outlook import outlook
from load.store.pushing import bytes_per_reward, info, rewards_from
from load.store.unit_costs import Load, Pushed, Units
from router.clock import unix_now
from router.store import Cell, Store, open_store

_ROOT = Path(__file__).parents[2]
# Between these the cost grows by that of the workers alone; the first is one worker and the leader.
_WORKERS: Final = (1, 5)
_SETTLE_S: Final = 3.0
_WARM_UP_S: Final = 1.0
_PUSHED: Final = 20_000
_BATCHES: Final = ((1, 16), (64, 8), (1000, 1))
# Arms and blocks whose sums are added; enough that what else a server keeps does not show.
_ARMS: Final = 3
_BLOCKS: Final = 1000
# What a worker and its rewards add to a cell.
_FIELDS: Final = (
    *("decisions", "rows", "busy_ns", "cost_pico_usd", "assigned", "calls", "errors"),
    *("rewards", "reward_q", "reward_q2", "delay_ms"),
)

Seconds = Annotated[float, typer.Option("--seconds", min=1, max=600, help="How long gateways are watched.")]
Results = Annotated[Path, typer.Option("--results", help="Folder for store_units.json.")]


def main(seconds: Seconds = 8.0, results: Results = _ROOT / "load" / "results") -> None:
    """Measure all of it once."""
    with tempfile.TemporaryDirectory(prefix="turpin-units-") as folder:
        units = asyncio.run(_measure(Path(folder), seconds))
    show(units)
    results.mkdir(parents=True, exist_ok=True)
    written = msgspec.json.format(msgspec.json.encode(units), indent=2)
    (results / "store_units.json").write_bytes(written + b"\n")


async def _measure(folder: Path, seconds: float) -> Units:
    loads, snapshot_bytes = {}, 0
    for workers in _WORKERS:
        loads[workers], snapshot_bytes = await _idle(folder / str(workers), workers, seconds)
    few, many = _WORKERS
    worker = loads[many].less(loads[few], many - few)
    redis = RedisProcess(folder / "pushed")
    await redis.start()
    store = open_store(f"{redis.url}?timeout_ms=5000")
    await store.open()
    try:
        numbers = itertools.count(1)
        rewards = [await _push(store, redis, numbers, batch, callers) for batch, callers in _BATCHES]
        cell_bytes = await _cell(store, redis)
    finally:
        await store.close()
        await redis.end()
    leader, prediction_us = loads[few].less(worker, 1), await _prediction(folder / "predictions", seconds)
    return Units(
        machine=machine(),
        worker=worker,
        leader=leader,
        snapshot_bytes=snapshot_bytes,
        rewards=rewards,
        cell_bytes=cell_bytes,
        reward_bytes=await bytes_per_reward(folder),
        prediction_cpu_us=prediction_us,
    )


async def _idle(folder: Path, workers: int, seconds: float) -> tuple[Load, int]:
    """Watch the Redis of a gateway that nobody asks anything; return the size of its snapshot, too."""
    await asyncio.to_thread(folder.mkdir, parents=True)
    redis = RedisProcess(folder / "redis")
    await redis.start()
    (port,) = free_ports(1)
    command = [sys.executable, "-P", "-m", "load.chaos.model_server", str(port)]
    server = await processes.start("the model server", command, folder / "server.log")
    document = configuration(redis.url, [f"127.0.0.1:{port}"], decision_keys=list(KEYS), rewards={"auth": "none"})
    document["experiments"][0]["policy"] = {"refresh": "1s"}
    gateway = Gateway(folder, "one", document, workers=workers)
    try:
        await gateway.start()
        await asyncio.sleep(_SETTLE_S)
        before = await _counters(redis)
        await asyncio.sleep(seconds)
        after = await _counters(redis)
        store = open_store(redis.url)
        await store.open()
        snapshot = (await store.snapshots())[EXPERIMENT][1]
        await store.close()
        return Load(*((after[name] - before[name]) / seconds for name in _COUNTERS)), len(snapshot)
    finally:
        await gateway.end()
        await processes.end(server)
        await redis.end()


_COUNTERS: Final = ("cpu_us", "total_net_input_bytes", "total_net_output_bytes", "total_commands_processed")


async def _push(store: Store, redis: RedisProcess, numbers: "itertools.count[int]", batch: int, callers: int) -> Pushed:
    """Push new rewards and see what each took of Redis."""
    before = await _counters(redis)
    calls = iter(range(_PUSHED // batch))

    async def send() -> None:
        for _ in calls:
            await store.add_rewards(rewards_from(numbers, batch, unix_now()))

    async with asyncio.TaskGroup() as tasks:
        for _ in range(callers):
            tasks.create_task(send())
    after = await _counters(redis)
    count = _PUSHED // batch * batch
    cpu_us, in_bytes = ((after[name] - before[name]) / count for name in _COUNTERS[:2])
    return Pushed(batch, callers, cpu_us, in_bytes)


async def _cell(store: Store, redis: RedisProcess) -> float:
    """Return what the sums of an arm in a block take of memory."""
    before = await _counters(redis)
    for block in range(_BLOCKS):
        cells = {Cell(2, arm, block): dict.fromkeys(_FIELDS, 10**9 + block) for arm in range(_ARMS)}
        await store.flush("units", block + 1, cells, b"", unix_now())
    after = await _counters(redis)
    return (after["used_memory_dataset"] - before["used_memory_dataset"]) / (_ARMS * _BLOCKS)


async def _counters(redis: RedisProcess) -> dict[str, float]:
    """Return Redis's own counters."""
    said = await info(redis.port)
    names = ("used_cpu_user", "used_cpu_sys", "used_memory_dataset", *_COUNTERS[1:])
    found = {name: float(said[name]) for name in names}
    return {**found, "cpu_us": (found["used_cpu_user"] + found["used_cpu_sys"]) * 1e6}


async def _prediction(folder: Path, seconds: float) -> float:
    """Return what a prediction takes of a gateway's processor, with a stand-in for a fast device behind it."""
    await asyncio.to_thread(folder.mkdir)
    async with (
        stand_in(4.0, 0.05) as (backend, _),
        gateway(folder, backend, Setting(rows=32)) as one,
        clients(one.address, 4) as many,
    ):
        await closed_loop(many.send, in_flight=64, seconds=_WARM_UP_S, clock=time.perf_counter)
        cpu_s = one.cpu_s()
        tally = await closed_loop(many.send, in_flight=64, seconds=seconds, clock=time.perf_counter)
        return (one.cpu_s() - cpu_s) / max(1, int(tally.report()["answered"])) * 1e6


def show(units: Units) -> None:
    """Print the table, and what follows from it."""
    lines = [str(units.machine)]
    for name, load in (("each worker, a second", units.worker), ("the leader, a second", units.leader)):
        cpu = f"{name:24}{load.cpu_us:9,.0f} us of Redis"
        lines.append(f"{cpu}{load.in_bytes / 1e3:9.1f} kB in{load.out_bytes / 1e3:9.1f} kB out")
    lines += [
        f"a reward, {one.batch:4} a call    {one.cpu_us:9.1f} us of Redis{one.in_bytes:9,.0f} bytes in"
        for one in units.rewards
    ]
    lines += [
        f"a remembered reward     {units.reward_bytes:9,.0f} bytes",
        f"an arm in a block       {units.cell_bytes:9,.0f} bytes",
        f"a snapshot              {units.snapshot_bytes:9,} bytes",
        f"a prediction            {units.prediction_cpu_us:9,.0f} us of a gateway",
        *outlook(units),
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    typer.run(main)

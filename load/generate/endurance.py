"""`python -P -m load.generate.endurance`: a million rows through a real gateway, and what a client that leaves costs it.

Every row has a number of its own, and the model answers with its input: whoever gets another's row sees it. Meanwhile
sizes differ, clients leave, deadlines are short, rows are poisoned, and calls fail.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio
import numpy as np
import uvloop

from load.generate import rig
from load.generate.machine import machine
from serving import wire
from serving.arrays import from_numpy, to_numpy

_RESULTS: Final = Path(__file__).parents[1] / "results" / "endurance.json"
_SIZES: Final = (1, 1, 2, 5, 20, 64)
# One row in a thousand is refused with its batch, and a call in fifty fails.
_POISON_EVERY: Final = 997
_FAULTS: Final = (f"--poison-every={_POISON_EVERY}", "--away-every=50")
_IN_FLIGHT: Final = 64
# What the gateway may keep of a request that was cancelled, beyond a bare gRPC server, which grew by 115 B as well.
_BYTES_MAX: Final = 50.0
# Memory is looked at so often. It goes up and down by 30 MB with every 50,000 requests, when cycles are collected: what
# is kept shows in the least that was seen, between the first third and the last.
_LOOKS: Final = 60


class Stubs:
    """Connections to the gateway. Mutable: whose turn it is."""

    def __init__(self, address: str, count: int = 8) -> None:
        self._channels = [grpc.aio.insecure_channel(address, options=[("turpin.channel", i)]) for i in range(count)]
        self._calls: list[Any] = [channel.unary_unary(wire.PREDICT) for channel in self._channels]
        self._turn = 0

    def call(self, body: bytes, timeout_s: float) -> Any:
        """Begin a call on the next connection."""
        self._turn = (self._turn + 1) % len(self._calls)
        return self._calls[self._turn](body, timeout=timeout_s)

    async def close(self) -> None:
        """Drop the connections."""
        for channel in self._channels:
            await channel.close()


def body_of_rows(first: int, rows: int) -> bytes:
    """Make a PredictRequest of rows that hold first, first + 1 …"""
    request = wire.PredictRequest(model_spec={"name": rig.MODEL})
    request.inputs["x"].CopyFrom(from_numpy(np.arange(first, first + rows, dtype=np.int64), as_content=True))
    return bytes(request.SerializeToString())


def judge(answer: bytes, first: int, rows: int) -> str:
    """Say whether an answer holds the rows that were sent, and no poisoned ones."""
    found = to_numpy(wire.PredictResponse.FromString(answer).outputs["x"])
    return "answered" if np.array_equal(found, np.arange(first, first + rows)) else "wrong"


async def send_rows(address: str, rows: int, seed: int) -> Counter[str]:
    """Send so many rows, from 1 on; return what became of the requests: answered, wrong, blamed for another's poison …"""
    rng, seen, stubs, first = random.Random(seed), Counter[str](), Stubs(address), 1
    loop = asyncio.get_running_loop()

    async def client() -> None:
        nonlocal first
        while first <= rows:
            count = rng.choice(_SIZES)
            mine, first = first, first + count
            call = stubs.call(body_of_rows(mine, count), rng.choice((0.01, 30.0, 30.0, 30.0)))
            if rng.random() < 0.05:
                loop.call_later(rng.random() * 0.02, call.cancel)
            is_poisoned = mine // _POISON_EVERY != (mine + count - 1) // _POISON_EVERY or mine % _POISON_EVERY == 0
            try:
                outcome = judge(await call, mine, count)
                if is_poisoned:
                    outcome = "wrong"
            except asyncio.CancelledError:
                outcome = "cancelled"
            except grpc.aio.AioRpcError as error:
                outcome = error.code().name.lower()
                if outcome == "invalid_argument":
                    outcome = "poisoned" if is_poisoned else "blamed"
            seen[outcome] += 1
            seen["rows"] += count

    async with asyncio.TaskGroup() as tasks:
        for _ in range(_IN_FLIGHT):
            tasks.create_task(client())
    await stubs.close()
    return seen


async def cancel(address: str, count: int, seed: int) -> int:
    """Send so many requests and leave each while it is under way; return how many were answered before that."""
    rng, stubs, left, answered = random.Random(seed), Stubs(address), count, 0
    loop, body = asyncio.get_running_loop(), body_of_rows(1, 1)

    async def client() -> None:
        nonlocal left, answered
        while left > 0:
            left -= 1
            call = stubs.call(body, 30.0)
            loop.call_later(rng.random() * 0.01, call.cancel)
            try:
                await call
                answered += 1
            except (asyncio.CancelledError, grpc.aio.AioRpcError):
                continue

    async with asyncio.TaskGroup() as tasks:
        for _ in range(_IN_FLIGHT):
            tasks.create_task(client())
    await stubs.close()
    return answered


def slope(looks: Sequence[int], step: int) -> float:
    """Return by how much the least of memory grew from the first third of the looks to the last, per request."""
    third = len(looks) // 3
    first = min(range(third), key=looks.__getitem__)
    last = min(range(len(looks) - third, len(looks)), key=looks.__getitem__)
    return (looks[last] - looks[first]) / ((last - first) * step)


async def endure(folder: Path, rows: int, cancels: int) -> dict[str, Any]:
    """Do both, at a gateway each, and say what was seen."""
    async with rig.stand_in(0.5, 0.01, *_FAULTS) as (backend, _), rig.gateway(folder, backend, rig.Setting()) as one:
        seen = await send_rows(one.address, rows, seed=1)
    async with rig.stand_in(10.0, 0.01) as (backend, _), rig.gateway(folder, backend, rig.Setting()) as one:
        looks, answered = await _watch(one.address, one.pid, cancels)
    # A bare server of gRPC's, which is cancelled as often and does nothing else.
    async with rig.stand_in(10.0, 0.01) as (backend, grpc_seen):
        bare, _ = await _watch(backend, int(grpc_seen["pid"]), cancels)
    step = cancels // _LOOKS
    return {
        "machine": machine(),
        "requests": dict(sorted(seen.items())),
        "cancelled": cancels - answered,
        "bytes_per_cancelled": {
            "gateway": round(slope(looks, step), 1),
            "bare grpc.aio server": round(slope(bare, step), 1),
            "beyond": round(slope(looks, step) - slope(bare, step), 1),
        },
        "memory_mb": {"gateway": _mb(looks), "bare grpc.aio server": _mb(bare)},
    }


async def _watch(address: str, pid: int, cancels: int) -> tuple[list[int], int]:
    """Cancel so many requests; return a process's memory after each part, and how many were answered all the same."""
    looks, answered = [], 0
    for number in range(_LOOKS):
        answered += await cancel(address, cancels // _LOOKS, seed=number)
        looks.append(rig.memory_bytes(pid))
    return looks, answered


def _mb(looks: Sequence[int]) -> list[float]:
    """Say it in megabytes."""
    return [round(one / 1e6, 1) for one in looks]


def main() -> int:
    """Measure, show, and keep the numbers; 1 if a row was wrong, somebody blamed for another, or memory grew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--cancels", type=int, default=300_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = uvloop.run(endure(Path(folder), given.rows, given.cancels))
    text = json.dumps(result, indent=2) + "\n"
    _RESULTS.write_text(text)
    sys.stdout.write(text)
    seen = result["requests"]
    is_well = not seen.get("wrong") and not seen.get("blamed") and result["bytes_per_cancelled"]["beyond"] < _BYTES_MAX
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())

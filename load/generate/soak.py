"""`python -P -m load.generate.soak`: a gateway under calls for ten minutes, and whether its worker's memory stays flat.

Connections are made anew all the time, some clients leave, some have 3 ms: what adds up in such a life shows as growth.
"""

import argparse
import asyncio
import contextlib
import json
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio
import uvloop
import yaml

from load.demo.processes import turpin
from load.generate import rig
from load.generate.endurance import body_of_rows
from load.generate.machine import machine
from load.ports import free_ports
from serving import wire

_RESULTS: Final = Path(__file__).parents[1] / "results" / "soak.json"
_CONNECTIONS: Final = 8
# A connection ends after so many calls.
_CALLS_EACH: Final = 500
# Far below what a core can do: what is asked is time, not load.
_RATE_PER_S: Final = 160.0
# Of the calls, those that their client takes back, and those with a deadline that the model may miss.
_LEFT_SHARE, _SHORT_SHARE, _SHORT_S = 0.1, 0.1, 0.003
# So often memory is looked at; with the store's and Python's own coming and going the least of some looks is compared.
_LOOKS: Final = 60
# By what the least of the last third may exceed that of the first, which begins after a tenth of the time.
_GROWTH_MAX: Final = 0.03
_READY_S: Final = 20.0
_END_S: Final = 20.0
_PATIENT_S: Final = 20.0


@contextlib.asynccontextmanager
async def gateway(folder: Path, backend: str, front: str) -> AsyncIterator[tuple[str, int]]:
    """Run a gateway with one worker; yield its address and the process id of the worker."""
    ports = dict(zip(("grpc", "http", "admin"), (f"127.0.0.1:{port}" for port in free_ports(3)), strict=True))
    model = {"base_path": f"/models/{rig.MODEL}", "versions": [1]}
    config = {
        "front": front,
        "store": f"sqlite:///{folder}/turpin.db",
        "listen": ports,
        "backends": {"tfs": {"target": backend, "price_usd_per_hour": 0.5, "models": {rig.MODEL: model}}},
    }
    path = folder / "turpin.yaml"
    path.write_text(yaml.safe_dump(config))
    with (folder / "gateway.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(*turpin("serve", "-c", str(path)), stdout=log, stderr=log)
    try:
        await rig.wait_until_serving(ports["grpc"])
        (worker,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()  # noqa: ASYNC240
        yield ports["grpc"], int(worker)
    finally:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(_END_S):
            await process.wait()


async def connection(address: str, number: int, until: float, seen: Counter[str]) -> None:
    """Call over one connection after the other until that loop time, each call when its turn has come."""
    loop, rng, body = asyncio.get_running_loop(), random.Random(number), body_of_rows(1, 1)
    pause_s = _CONNECTIONS / _RATE_PER_S
    begun = 0
    while loop.time() < until:
        # A setting of its own: channels that are alike share their connection.
        options = [("turpin.channel", number * 1_000_000 + begun)]
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            predict = channel.unary_unary(wire.PREDICT)
            for _ in range(_CALLS_EACH):
                await asyncio.sleep(rng.uniform(0.0, 2.0 * pause_s))
                seen[await _end_of(predict, body, rng)] += 1
                if loop.time() >= until:
                    break
        begun += 1


async def _end_of(predict: Any, body: bytes, rng: random.Random) -> str:
    """Make one call, patient, hurried or taken back, and say how it ended."""
    kind = rng.random()
    call = predict(body, timeout=_SHORT_S if kind < _SHORT_SHARE else _PATIENT_S)
    if kind > 1.0 - _LEFT_SHARE:
        asyncio.get_running_loop().call_later(rng.uniform(0.0, 0.005), call.cancel)
    try:
        await call
    except asyncio.CancelledError:
        return "taken back"
    except grpc.aio.AioRpcError as error:
        name = error.code().name.lower()
        return "too late" if name == "deadline_exceeded" and kind < _SHORT_SHARE else name
    return "answered"


def growth(looks: Sequence[int]) -> float:
    """Return by what share the least of the last third is above that of the first, without the first tenth."""
    settled = looks[len(looks) // 10 :]
    third = max(1, len(settled) // 3)
    return min(settled[-third:]) / min(settled[:third]) - 1.0


async def soak(folder: Path, front: str, minutes: float) -> dict[str, Any]:
    """Do it, and say what was seen."""
    seen, looks = Counter[str](), []
    async with rig.stand_in(2.0, 0.01) as (backend, _), gateway(folder, backend, front) as (address, worker):
        until = asyncio.get_running_loop().time() + 60.0 * minutes
        async with asyncio.TaskGroup() as tasks:
            for number in range(_CONNECTIONS):
                tasks.create_task(connection(address, number, until, seen))
            for _ in range(_LOOKS):
                await asyncio.sleep(60.0 * minutes / _LOOKS)
                looks.append(rig.memory_bytes(worker))
    return {
        "machine": machine(),
        "minutes": minutes,
        "calls": dict(sorted(seen.items())),
        "memory_mb": [round(one / 1e6, 1) for one in looks],
        "growth": round(growth(looks), 4),
    }


def is_well(result: dict[str, Any]) -> bool:
    """Say whether all calls ended as they were meant to, and memory stayed."""
    return set(result["calls"]) <= {"answered", "taken back", "too late"} and result["growth"] < _GROWTH_MAX


def main() -> int:
    """Measure, show, and keep the numbers of this front; 1 if a call failed or memory grew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--front", choices=("grpc", "envoy"), default="envoy")
    parser.add_argument("--minutes", type=float, default=10.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = uvloop.run(soak(Path(folder), given.front, given.minutes))
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    kept = json.loads(_RESULTS.read_text()) if _RESULTS.exists() else {}
    _RESULTS.write_text(json.dumps({**kept, given.front: result}, indent=2) + "\n")
    return 0 if is_well(result) else 1


if __name__ == "__main__":
    sys.exit(main())

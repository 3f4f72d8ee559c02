"""A gateway with an experiment of many arms, before a stand-in for a device, for as long as it is asked."""

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml

from load.demo.processes import turpin
from load.generate.rig import MODEL, stand_in
from load.ports import free_ports

EXPERIMENT: Final = MODEL
# So fast that the gateway is what the load saturates; 50 arms are calibrated within seconds.
_A_MS, _B_MS = 1.0, 0.02
_READY_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the gateway listens, and its control process, whose loop answers the admin port."""

    grpc: str
    admin: str
    pid: int

    def ran_and_waited_s(self) -> tuple[float, float]:
        """Return how long the loop's thread has run, and how long it could have and had to wait for a processor."""
        ran_ns, waited_ns, _ = Path(f"/proc/{self.pid}/task/{self.pid}/schedstat").read_text().split()
        return int(ran_ns) * 1e-9, int(waited_ns) * 1e-9


@contextlib.asynccontextmanager
async def running(folder: Path, arms: int) -> AsyncIterator[Stage]:
    """Run it until all arms take part; TimeoutError if they never do."""
    grpc, http, admin = free_ports(3)
    async with stand_in(_A_MS, _B_MS, f"--versions={arms}") as (backend, _):
        path = folder / "turpin.yaml"
        path.write_text(yaml.safe_dump(_configuration(folder, backend, arms, (grpc, http, admin))))
        with (folder / "gateway.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(*turpin("serve", "-c", str(path)), stdout=log, stderr=log)
        stage = Stage(f"127.0.0.1:{grpc}", f"http://127.0.0.1:{admin}", process.pid)
        try:
            await _until_all_take_part(stage, arms)
            yield stage
        finally:
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(_READY_S):
                await process.wait()


async def _until_all_take_part(stage: Stage, arms: int) -> None:
    async with asyncio.timeout(_READY_S):
        while True:
            if await _takes_part(stage, arms):
                return
            await asyncio.sleep(0.5)


async def _takes_part(stage: Stage, arms: int) -> bool:
    with contextlib.suppress(aiohttp.ClientError, TimeoutError):
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5.0)) as session,
            session.get(f"{stage.admin}/admin/v1/experiments/{EXPERIMENT}/state") as answer,
        ):
            state = json.loads(await answer.read())
            return bool(sum(arm["state"] == "eligible" for arm in state.get("arms", ())) == arms)
    return False


def _configuration(folder: Path, backend: str, arms: int, ports: tuple[int, int, int]) -> dict[str, Any]:
    grpc, http, admin = ports
    return {
        "store": f"sqlite:///{folder / 'turpin.db'}",
        "listen": {"grpc": f"127.0.0.1:{grpc}", "http": f"127.0.0.1:{http}", "admin": f"127.0.0.1:{admin}"},
        "backends": {"tfs": {"target": backend, "price_usd_per_hour": 0.5}},
        "experiments": [
            {
                "name": EXPERIMENT,
                "model": MODEL,
                "control": "v1",
                "arms": [{"name": f"v{n}", "backend": "tfs", "version": n} for n in range(1, arms + 1)],
                "objective": {"value_usd": 1e-6, "reward": {"window": "10s"}},
                "policy": {"block": "2s", "floor": 0.5 / arms},
                # It must not end while it is measured.
                "stop": {"cycle": None, "min_per_arm": 10**9},
                # Calibrated with few and small batches: nothing here depends on costs.
                "batching": {"max_rows": 4},
            }
        ],
    }

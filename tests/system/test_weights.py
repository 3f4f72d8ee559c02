"""What a worker weighs and how fast it starts; what it must never load; and that a retried request is one decision."""

import asyncio
import os
from pathlib import Path
from statistics import median
from typing import Final

import pytest

from router.decisions import Mode
from tests.system.client import Client, token_fields
from tests.system.gateway import configuration, endless, serving, until
from tests.system.model_server import DigitsServer
from tests.system.traffic import Nature, Traffic

pytestmark = pytest.mark.timeout(60)

# Issue 2, point 4.
START_S_MAX: Final = 2.0
RSS_MIB_MAX: Final = 120
HEAVY: Final = ("tensorflow", "keras", "sklearn", "matplotlib", "scipy/stats")


def cpu_s(pid: int) -> float:
    """Processor time of a process so far, in user and system mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mib(pid: int) -> float:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status["VmRSS"].split()[0]) / 1024


def mapped(pid: int) -> set[str]:
    """The files that a process has mapped into its memory."""
    lines = (line.split(maxsplit=5) for line in Path(f"/proc/{pid}/maps").read_text().splitlines())
    return {fields[5] for fields in lines if len(fields) == 6}


async def test_worker_is_light_starts_soon_and_holds_no_tensorflow(tmp_path: Path) -> None:
    # Three workers are three starts. On a shared machine wall time says how busy it is, so processor time is bounded:
    # the median's, which on a quiet machine is what the wall shows too.
    async with DigitsServer() as server:
        settings = configuration(tmp_path, server.address, workers=3, experiments=[endless()])
        async with serving(tmp_path, settings) as gateway, Client.to(gateway) as client:
            workers = gateway.workers()
            starts_s = [cpu_s(pid) for pid in workers]
            await gateway.in_phase("running")
            traffic = Traffic(client, Nature(dict.fromkeys((1, 2, 3), 0.5), seed=5))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(traffic.run(8))
                await until("500 requests", lambda: len(traffic.acknowledged) >= 500)
                traffic.stop.set()
            weights_mib = [rss_mib(pid) for pid in workers]
            files = {pid: mapped(pid) for pid in (*workers, gateway.process.pid)}
            await gateway.stop()

    assert len(workers) == 3
    assert median(starts_s) < START_S_MAX, starts_s
    assert max(weights_mib) < RSS_MIB_MAX, weights_mib
    for pid, names in files.items():
        assert names, f"no mapping of {pid} can be seen"
        assert not [name for name in names if any(heavy in name for heavy in HEAVY)], pid


async def test_retried_request_is_the_same_decision_on_every_worker(tmp_path: Path) -> None:
    async with DigitsServer() as server:
        settings = configuration(tmp_path, server.address, workers=2, experiments=[endless()])
        async with serving(tmp_path, settings) as gateway:
            await gateway.in_phase("running")
            # Workers take the new weights up within 250 ms; a new connection meets either of them.
            await until("the experiment on both workers", lambda: _is_learned_everywhere(gateway.grpc, gateway.http))
            seen = [await _decide(gateway.grpc, gateway.http) for _ in range(6)]
            await gateway.stop()
            await gateway.start_again()
            seen.append(await _decide(gateway.grpc, gateway.http))
            await gateway.stop()

    first, *others = seen
    assert len(set(first)) == len(first), "different requests are different decisions"
    assert {arm for arm, _ in first} == {0, 1, 2}
    assert all(other == first for other in others)


async def _is_learned_everywhere(grpc: int, http: int) -> bool:
    modes = set()
    for _ in range(10):
        async with Client.at(grpc, http) as client:
            modes.add(token_fields((await client.predict()).decision)["mode"])
    return modes == {Mode.EXPERIMENT}


async def _decide(grpc: int, http: int) -> list[tuple[int, bytes]]:
    """Send twenty requests with ids of their own, each over both ports, on new connections; return (arm, nonce)."""
    decisions = []
    async with Client.at(grpc, http) as client:
        for number in range(20):
            once = await client.predict(metadata=[("turpin-request-id", f"request {number}")])
            again = await client.predict_rest(headers={"turpin-request-id": f"request {number}"})
            fields, repeated = token_fields(once.decision), token_fields(again.decision)
            assert (fields["arm"], fields["nonce"]) == (repeated["arm"], repeated["nonce"])
            decisions.append((fields["arm"], fields["nonce"]))
    return decisions

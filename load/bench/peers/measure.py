"""One peer under one load, once: what h2load says of it, and what its models counted."""

import asyncio
import struct
from pathlib import Path
from typing import Final

import aiohttp
import grpc
import grpc.aio

from load.bench import processes
from load.bench.measure import ASKED, IN_FLIGHT, OTHERS, Disagreement, Row, result
from load.bench.peers.environments import installed
from load.bench.peers.programs import program
from load.bench.peers.servers.work import ARMS, COUNTS
from load.bench.peers.table import Peer, Place
from load.bench.push import push
from load.ports import free_ports

# Ray with HAProxy needed 47 s on a machine with a load of 20.
_READY_S: Final = 120.0
_POLL_S: Final = 0.25
# The slowest answered 25 requests a second on a machine with a load of 20; BentoML has trained its batches after 20.
_WARM_UP: Final = 300
_CALL_S: Final = 10.0
_LOG: Final = 500
_LENGTH: Final = 5


async def measure(peer: Peer, load: str, seconds: float, folder: Path) -> Row:
    """Run a peer anew, and measure it for about so many seconds with 64 requests in flight.

    NotInstalled, Disagreement, or what h2load raises.
    """
    counts = folder / "counts"
    counts.write_bytes(bytes(8 * ARMS))
    first, second, third = free_ports(3)
    place = Place(await installed(peer.environment), (first, second, third), folder)
    address, log = f"127.0.0.1:{place.ports[0]}", folder / "peer.log"
    settings = {COUNTS: str(counts), **peer.settings(place)}
    async with program(peer.command(place), settings, log) as child:
        await _ready(peer, address, child, log)
        warm = await push(
            folder, address, peer.asked, requests=_WARM_UP, per_second=None, cores=OTHERS, in_flight=IN_FLIGHT
        )
        for _ in range(ASKED):
            await ask(peer, address)
        requests = max(_WARM_UP, int(seconds * _WARM_UP / warm.seconds))
        before, cpu_s = counted(counts), processes.cpu_s(child.pid)
        pushed = await push(
            folder, address, peer.asked, requests=requests, per_second=None, cores=OTHERS, in_flight=IN_FLIGHT
        )
        cpu_s = processes.cpu_s(child.pid) - cpu_s
        agree(peer, len(pushed.took_s), pushed.missing, [b - a for a, b in zip(before, counted(counts), strict=True)])
        return result(peer.name, load, pushed, cpu_s, processes.memory_mb(child.pid))


def counted(counts: Path) -> tuple[int, ...]:
    """Return how many rows each model has been asked."""
    return struct.unpack(f"<{ARMS}Q", counts.read_bytes())


def agree(peer: Peer, answers: int, missing: int, rows: list[int]) -> None:
    """Raise Disagreement unless each answer's row has been at a model, and each arm has had some."""
    if not answers:
        raise Disagreement(f"{peer.name}: not one of {missing} requests was answered")
    # One that failed may have been at a model all the same.
    if not answers <= sum(rows) <= answers + missing:
        raise Disagreement(
            f"{peer.name}: {answers} answers and {missing} failures, but its models saw {sum(rows)} rows"
        )
    if sum(1 for some in rows if some) != peer.arms:
        raise Disagreement(f"{peer.name}: rows of each model {rows}, but {peer.arms} should have had some")


async def ask(peer: Peer, address: str) -> None:
    """Ask once as a client would, and raise Disagreement unless status, shape and values are right."""
    body = await (_ask_grpc if peer.asked.is_grpc else _ask_http)(peer, address)
    try:
        is_right = peer.is_right(body)
    except (KeyError, TypeError, ValueError) as error:
        raise Disagreement(f"{peer.name} answers what can't be read: {body[:200]!r}") from error
    if not is_right:
        raise Disagreement(f"{peer.name} answers something else: {body[:200]!r}")


async def _ask_grpc(peer: Peer, address: str) -> bytes:
    async with grpc.aio.insecure_channel(address) as channel:
        try:
            answer: bytes = await channel.unary_unary(peer.asked.path)(peer.asked.data[_LENGTH:], timeout=_CALL_S)
        except grpc.aio.AioRpcError as error:
            raise Disagreement(f"{peer.name} answers {error.code()}: {error.details()}") from error
    return answer


async def _ask_http(peer: Peer, address: str) -> bytes:
    headers = dict(header.split(": ", 1) for header in peer.asked.headers)
    url, timeout = f"http://{address}{peer.asked.path}", aiohttp.ClientTimeout(total=_CALL_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(url, data=peer.asked.data, headers=headers) as answer,
        ):
            body = await answer.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Disagreement(f"{peer.name} does not answer: {error!r}") from error
    if answer.status != 200:
        raise Disagreement(f"{peer.name} answers {answer.status}: {body[:200]!r}")
    return body


async def _ready(peer: Peer, address: str, child: asyncio.subprocess.Process, log: Path) -> None:
    """Wait for the first right answer; Disagreement with its last words if it ends or none comes."""
    last = "nothing"
    try:
        async with asyncio.timeout(_READY_S):
            while child.returncode is None:
                try:
                    return await ask(peer, address)
                except Disagreement as error:
                    last = str(error)
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        last = f"not ready after {_READY_S:.0f} s: {last}"
    raise Disagreement(f"{peer.name}: {last}; its last words: {_last_words(log)}")


def _last_words(log: Path) -> str:
    return log.read_text(errors="replace")[-_LOG:].strip()

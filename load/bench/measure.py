"""One system under one load, once: what h2load and the servers say of it, and whether they agree."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
import grpc.aio

from load.bench import processes
from load.bench.push import Pushed, push
from load.bench.systems import KEY, Running, System
from load.generate.rig import stand_in
from load.generate.sender import body_of
from router.decisions import BadToken, Keyring
from serving import wire

# 1 x 256 float32, as in performance.md.
_INPUT, _COLUMNS = "x", 256
# The gateway has a core of its own; generator and backend share the other.
_GATEWAY: Final = {0}
_OTHERS: Final = {1}
LOADS: Final[dict[str, float | None]] = {"sat": None, "lo": 1_000.0}
_WARM_UP: Final = 2_000
_ASKED: Final = 20
_CALL_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured: of each answer the processor time, and what stands in bench.json."""

    system: str
    load: str
    cpu_us: float
    rps: float
    p50_ms: float
    p99_ms: float
    errors: int
    rss_mb: float


class Disagreement(Exception):
    """The generator, the servers and the answers tell different stories."""


async def measure(system: System, load: str, seconds: float, folder: Path) -> Row:
    """Run a system and its backend anew, and measure it under a load for about so many seconds."""
    async with (
        stand_in(0.0, 0.0, "--versions=2") as (backend, seen),
        system.run(folder, backend) as running,
    ):
        processes.pin(running.pid, _GATEWAY)
        processes.pin(seen["pid"], _OTHERS)
        body = body_of(running.model, _INPUT, 1, _COLUMNS)
        warm = await push(folder, running.address, body, requests=_WARM_UP, per_second=None, cores=_OTHERS)
        await _ask(running, body, has_token=system.has_tokens)
        per_second = LOADS[load]
        requests = int(seconds * (per_second or _WARM_UP / warm.seconds))
        before = await _counts(running)
        cpu_s = processes.cpu_s(running.pid)
        pushed = await push(folder, running.address, body, requests=requests, per_second=per_second, cores=_OTHERS)
        cpu_s = processes.cpu_s(running.pid) - cpu_s
        _agree(system, pushed, await _counts(running), before)
        memory_mb = processes.memory_mb(running.pid)
    answers = len(pushed.took_s)
    return Row(
        system.name,
        load,
        cpu_us=cpu_s / answers * 1e6,
        rps=answers / pushed.seconds,
        p50_ms=pushed.quantile_s(0.5) * 1e3,
        p99_ms=pushed.quantile_s(0.99) * 1e3,
        errors=pushed.missing,
        rss_mb=memory_mb,
    )


async def _counts(running: Running) -> tuple[int, int]:
    """Return what the gateway has counted: answers and decisions; zeros where it counts nothing."""
    answered = await running.answered()
    return (0, 0) if answered is None else (answered, await running.decided())


def _agree(system: System, pushed: Pushed, after: tuple[int, int], before: tuple[int, int]) -> None:
    """Raise Disagreement unless the gateway counted what was answered: to h2load an error is an answer, too."""
    if not system.name.startswith("turpin"):
        return
    answered, decided = after[0] - before[0], after[1] - before[1]
    wanted = len(pushed.took_s)
    if answered != wanted or decided != (wanted if system.has_tokens else 0):
        raise Disagreement(f"{system.name}: {wanted} answers, but it counted {answered} and {decided} decisions")


async def _ask(running: Running, body: bytes, *, has_token: bool) -> None:
    """Ask a few times as a client would, and raise Disagreement unless status, rows and token are right."""
    keys = Keyring([KEY])
    sent = wire.PredictRequest.FromString(body)
    async with grpc.aio.insecure_channel(running.address) as channel:
        for _ in range(_ASKED):
            call = channel.unary_unary(wire.PREDICT)(body, timeout=_CALL_S)
            try:
                answer = wire.PredictResponse.FromString(await call)
            except grpc.aio.AioRpcError as error:
                raise Disagreement(f"{running.address} answers {error.code()}: {error.details()}") from error
            if answer.outputs[_INPUT] != sent.inputs[_INPUT]:
                raise Disagreement(f"{running.address} answers with other rows than were sent")
            token = dict(await call.trailing_metadata()).get("turpin-decision", "")
            try:
                rows = keys.verify(token).rows if has_token else 0
            except BadToken as error:
                raise Disagreement(f"{running.address} answers with a bad token: {error}") from error
            if has_token and rows != 1:
                raise Disagreement(f"the token is of {rows} rows, not 1")

"""One system under one load, once: what h2load and the servers say of it, and whether they agree."""

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import grpc
import grpc.aio
import numpy as np
from numpy.typing import NDArray

from load.bench import processes
from load.bench.backend import backend as cheap_backend
from load.bench.push import Asked, Pushed, grpc_of, push, rest_of
from load.bench.systems import KEY, Running, System
from router.decisions import BadToken, Keyring
from serving import wire
from serving.arrays import from_numpy, to_numpy

# 1 x 256 float32, as in performance.md, and ten numbers back, as of a classifier.
_INPUT, _COLUMNS, CLASSES = "x", 256, 10
# What there is of each is six digits behind the point: 2.4 kB of JSON.
_DIGITS: Final = 6
# The gateway has a core of its own; generator and backend share the other.
GATEWAY: Final = {0}
OTHERS: Final = {1}
# A closed loop that keeps any of these gateways busy.
IN_FLIGHT: Final = 64
_WARM_UP: Final = 2_000
ASKED: Final = 20
_CALL_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Load:
    """So many requests in flight, as fast as they are answered or so many a second."""

    in_flight: int
    per_second: float | None = None


LOADS: Final = {"sat": Load(IN_FLIGHT), "lo": Load(IN_FLIGHT, 1_000.0), "one": Load(1)}


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
    return (await measure_both(system, load, seconds, folder))[0]


async def measure_both(system: System, load: str, seconds: float, folder: Path) -> tuple[Row, float]:
    """As `measure`, and return what the backend took, too, in microseconds of processor time an answer."""
    async with (
        cheap_backend(columns=CLASSES) as (backend, seen),
        system.run(folder, backend) as running,
    ):
        # Where there is no gateway, what the backend takes is measured.
        pid = running.pid or seen["pid"]
        processes.pin(pid, GATEWAY)
        processes.pin(seen["pid"], OTHERS)
        sent = row_of(running.model)
        asked = asked_of(running, sent)
        wanted = LOADS[load]
        pushing = functools.partial(push, folder, running.address, asked, cores=OTHERS, in_flight=wanted.in_flight)
        warm = await pushing(requests=_WARM_UP, per_second=None)
        await ask(running, sent, has_token=system.has_tokens)
        requests = int(seconds * (wanted.per_second or _WARM_UP / warm.seconds))
        before = await _counts(running)
        cpu_s, backend_s = processes.cpu_s(pid), processes.cpu_s(seen["pid"])
        pushed = await pushing(requests=requests, per_second=wanted.per_second)
        cpu_s, backend_s = processes.cpu_s(pid) - cpu_s, processes.cpu_s(seen["pid"]) - backend_s
        after = await _counts(running)
        memory_mb = processes.memory_mb(pid)
    if before is None or after is None:
        _reached(system, _WARM_UP + ASKED + len(pushed.took_s), seen["rows"])
    else:
        _agree(system, pushed, after, before)
    return result(system.name, load, pushed, cpu_s, memory_mb), backend_s / len(pushed.took_s) * 1e6


def result(system: str, load: str, pushed: Pushed, cpu_s: float, memory_mb: float) -> Row:
    """Return the row of a system that took so much processor time for what was sent."""
    answers = len(pushed.took_s)
    return Row(
        system,
        load,
        cpu_us=cpu_s / answers * 1e6,
        rps=answers / pushed.seconds,
        p50_ms=pushed.quantile_s(0.5) * 1e3,
        p99_ms=pushed.quantile_s(0.99) * 1e3,
        errors=pushed.missing,
        rss_mb=memory_mb,
    )


def numbers() -> NDArray[np.float64]:
    """Return the one row that is sent, always the same."""
    return np.random.default_rng(0).random((1, _COLUMNS)).round(_DIGITS)


def row_of(model: str) -> wire.Message:
    """Return a request of that row."""
    request = wire.PredictRequest(model_spec={"name": model})
    request.inputs[_INPUT].CopyFrom(from_numpy(numbers().astype(np.float32), as_content=True))
    return request


def asked_of(running: Running, sent: wire.Message) -> Asked:
    """Return the request as a front takes it."""
    if running.front == "grpc":
        return grpc_of(sent.SerializeToString())
    return rest_of(running.model, json.dumps({"instances": numbers().tolist()}).encode())


async def _counts(running: Running) -> tuple[int, int] | None:
    """Return what the gateway has counted, answers and decisions; None where it counts nothing."""
    answered = await running.answered()
    return None if answered is None else (answered, await running.decided())


def _reached(system: System, answers: int, rows: int) -> None:
    """Raise Disagreement unless each answer's row has been at the backend: where nobody counts, an error is an answer."""
    if rows != answers:
        raise Disagreement(f"{system.name}: {answers} answers, but {rows} rows came to the backend")


def _agree(system: System, pushed: Pushed, after: tuple[int, int], before: tuple[int, int]) -> None:
    """Raise Disagreement unless the gateway counted what was answered: to h2load an error is an answer, too."""
    answered, decided = after[0] - before[0], after[1] - before[1]
    wanted = len(pushed.took_s)
    if answered != wanted or decided != (wanted if system.has_tokens else 0):
        raise Disagreement(f"{system.name}: {wanted} answers, but it counted {answered} and {decided} decisions")


async def ask(running: Running, sent: wire.Message, *, has_token: bool) -> None:
    """Ask a few times as a client would, and raise Disagreement unless status, rows and token are right."""
    keys = Keyring([KEY])
    expected = to_numpy(sent.inputs[_INPUT])[:, :CLASSES]
    for _ in range(ASKED):
        found, token = await (_ask_grpc if running.front == "grpc" else _ask_rest)(running, sent)
        if not np.array_equal(found, expected):
            raise Disagreement(f"{running.address} answers with other rows than were sent")
        try:
            rows = keys.verify(token).rows if has_token else 1
        except BadToken as error:
            raise Disagreement(f"{running.address} answers with a bad token: {error}") from error
        if rows != 1:
            raise Disagreement(f"the token is of {rows} rows, not 1")


async def _ask_grpc(running: Running, sent: wire.Message) -> tuple[NDArray[Any], str]:
    async with grpc.aio.insecure_channel(running.address) as channel:
        call = channel.unary_unary(wire.PREDICT)(sent.SerializeToString(), timeout=_CALL_S)
        try:
            answer = wire.PredictResponse.FromString(await call)
        except grpc.aio.AioRpcError as error:
            raise Disagreement(f"{running.address} answers {error.code()}: {error.details()}") from error
        token = dict(await call.trailing_metadata()).get("turpin-decision", "")
    return to_numpy(answer.outputs[_INPUT]), str(token)


async def _ask_rest(running: Running, sent: wire.Message) -> tuple[NDArray[Any], str]:
    asked = asked_of(running, sent)
    timeout = aiohttp.ClientTimeout(total=_CALL_S)
    headers = {"content-type": "application/json"}
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.post(f"http://{running.address}{asked.path}", data=asked.data, headers=headers) as answer,
    ):
        said = await answer.read()
        if answer.status != 200:
            raise Disagreement(f"{running.address} answers {answer.status}: {said[:200]!r}")
        predictions = np.asarray(json.loads(said)["predictions"], np.float32)
        return predictions, answer.headers.get("turpin-decision", "")

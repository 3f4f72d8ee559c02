"""The benches' backend: its answers are a model server's, it counts them, and no bytes break it (AddressSanitizer)."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import grpc
import grpc.aio
import numpy as np
import pytest

from load.bench import backend
from load.bench.settings import CannotRun
from serving import wire
from serving.arrays import from_numpy, to_numpy
from serving.errors import ServingError
from serving.upstream import GrpcUpstream
from tests.compiler import need_compiler

CALL_S = 10.0
# Whatever it does wrong ends it, which its report at the end then misses.
SANITIZED = (
    "-std=c11",
    "-g",
    "-O1",
    "-Wall",
    "-Wextra",
    "-Wpedantic",
    "-Werror",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
)
ROWS = np.arange(12.0, dtype=np.float32).reshape(3, 4)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_compiler()
    return backend.compiled(tmp_path_factory.mktemp("backend") / "backend", SANITIZED)


def request(version: int | None = None) -> wire.Message:
    made = wire.PredictRequest(model_spec={"name": "half", "signature_name": "serving_default"})
    if version is not None:
        made.model_spec.version.value = version
    made.inputs["x"].CopyFrom(from_numpy(ROWS, as_content=True))
    return made


async def asked(upstream: GrpcUpstream, message: wire.Message) -> wire.Message:
    return wire.PredictResponse.FromString(await upstream.call(wire.PREDICT, message.SerializeToString(), CALL_S))


async def test_rows_come_back_cut_and_named(program: Path) -> None:
    async with backend.backend(versions=3, columns=2, program=program) as (address, seen):
        upstream = GrpcUpstream(address)
        latest, pinned = await asked(upstream, request()), await asked(upstream, request(version=2))
        status = wire.GetModelStatusResponse.FromString(await upstream.call(wire.GET_MODEL_STATUS, b"", CALL_S))
        await upstream.close()

    assert np.array_equal(to_numpy(latest.outputs["x"]), ROWS[:, :2])
    assert (latest.model_spec.name, latest.model_spec.signature_name) == ("half", "serving_default")
    assert (latest.model_spec.version.value, pinned.model_spec.version.value) == (3, 2)
    assert [one.version for one in status.model_version_status] == [1, 2, 3]
    assert (seen["calls"], seen["rows"]) == (2, 6)


async def test_rows_that_are_shorter_come_back_whole(program: Path) -> None:
    """As those are that a gateway makes up from a signature, to find out what a call costs."""
    sent = wire.PredictRequest(model_spec={"name": "half"})
    sent.inputs["x"].CopyFrom(from_numpy(ROWS[:, :1], as_content=True))
    async with backend.backend(columns=2, program=program) as (address, _):
        upstream = GrpcUpstream(address)
        answer = await asked(upstream, sent)
        await upstream.close()

    assert np.array_equal(to_numpy(answer.outputs["x"]), ROWS[:, :1])


async def test_a_large_message_comes_back_whole(program: Path) -> None:
    sent = wire.PredictRequest(model_spec={"name": "half"})
    rows = np.random.default_rng(0).random((4096, 1024), dtype=np.float32)
    sent.inputs["x"].CopyFrom(from_numpy(rows, as_content=True))
    async with backend.backend(program=program) as (address, seen):
        upstream = GrpcUpstream(address)
        answer = await asked(upstream, sent)
        await upstream.close()

    assert np.array_equal(to_numpy(answer.outputs["x"]), rows)
    assert seen["rows"] == 4096


def without_input() -> wire.Message:
    return wire.PredictRequest(model_spec={"name": "half"})


def with_two() -> wire.Message:
    made = request()
    made.inputs["y"].CopyFrom(made.inputs["x"])
    return made


def of_one_dim() -> wire.Message:
    made = request()
    made.inputs["x"].CopyFrom(from_numpy(ROWS.ravel(), as_content=True))
    return made


def of_values() -> wire.Message:
    made = request()
    made.inputs["x"].CopyFrom(from_numpy(ROWS))
    return made


@pytest.mark.parametrize("made", [without_input, with_two, of_one_dim, of_values])
async def test_what_it_can_not_answer_is_an_error(program: Path, made: Callable[[], wire.Message]) -> None:
    async with backend.backend(columns=2, program=program) as (address, seen):
        upstream = GrpcUpstream(address)
        with pytest.raises(ServingError) as refused:
            await asked(upstream, made())
        await upstream.close()

    assert refused.value.code.name == "INVALID_ARGUMENT"
    assert seen["rows"] == 0


async def test_a_call_it_does_not_know_is_unimplemented(program: Path) -> None:
    async with backend.backend(program=program) as (address, _), grpc.aio.insecure_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await channel.unary_unary("/tensorflow.serving.PredictionService/Classify")(b"", timeout=CALL_S)

    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_broken_bytes_are_errors_and_no_more(program: Path) -> None:
    whole, dice = request().SerializeToString(), random.Random(0)

    def broken() -> bytes:
        body = bytearray(whole)
        for _ in range(dice.randint(1, 3)):
            body[dice.randrange(len(body))] = dice.randrange(256)
        return bytes(body[: dice.randint(0, len(body))])

    async def send(call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes], body: bytes) -> grpc.StatusCode:
        try:
            await call(body, timeout=CALL_S)
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    async with backend.backend(program=program) as (address, seen), grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary(wire.PREDICT)
        async with asyncio.TaskGroup() as tasks:
            sent = [tasks.create_task(send(call, broken())) for _ in range(2_000)]
        codes = [one.result() for one in sent]

    assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT}
    assert seen["calls"] == codes.count(grpc.StatusCode.OK)


def test_without_a_compiler_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(CannotRun, match="cc \\(gcc in Debian\\)"):
        backend.compiled(tmp_path / "backend")

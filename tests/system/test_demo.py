"""The demo as a stranger runs it, checked by what the servers themselves say and by an independent computation."""

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from serving import arrays, wire

TURPIN = Path(sys.executable).with_name("turpin")
PRICE_USD_PER_HOUR = 0.526
VALUE_USD = 1e-6
# Interleaved, so that whatever disturbs the machine meets all versions; the median of so many moves by 2 % between runs.
COST_CALLS = 150


def free_ports(count: int = 5) -> int:
    """Return the first of so many ports in a row that nobody listens on."""
    for base in range(20_000, 32_000, 10):
        try:
            for port in range(base, base + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return base
    raise AssertionError(f"no {count} free ports in a row")


def run_demo(folder: Path, *options: str, environment: dict[str, str] | None = None) -> tuple[int, dict[str, Any]]:
    """Run `turpin demo` into `folder` and return its exit status and its JSON."""
    result = folder / "result.json"
    command: list[str | Path] = [
        TURPIN,
        "demo",
        "--port-base",
        str(free_ports()),
        "--output",
        folder / "out",
        "--json",
        result,
        *options,
    ]
    done = subprocess.run(command, env=os.environ | (environment or {}), capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    assert result.exists(), done.stderr
    return done.returncode, json.loads(result.read_text())


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("demo")
    status, result = run_demo(folder)
    assert status == 0, result
    return folder / "out", result


@pytest.fixture(scope="module")
def every_version(demo: tuple[Path, dict[str, Any]]) -> Iterator[grpc.Channel]:
    """A model server of its own with all three versions, started after the traffic has ended."""
    command: list[str | Path] = [TURPIN, "model-server", "--host", "127.0.0.1", "--port", "0", "--rest_api_port", "-1"]
    with subprocess.Popen(
        [*command, "--model_config_file", demo[0] / "models.config"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            with grpc.insecure_channel(line.split("gRPC ")[1].split(",")[0].strip()) as channel:
                yield channel
        finally:
            server.terminate()
            assert server.wait(30) == 0


def predict(channel: grpc.Channel, version: int, pixels: "np.ndarray[Any, np.dtype[np.float32]]") -> Any:
    request = wire.PredictRequest()
    request.model_spec.name = "digits"
    request.model_spec.version.value = version
    request.inputs["pixels"].CopyFrom(arrays.from_numpy(pixels, as_content=True))
    body = channel.unary_unary(wire.PREDICT)(request.SerializeToString(), timeout=30)
    return arrays.to_numpy(wire.PredictResponse.FromString(body).outputs["probabilities"])


@pytest.mark.system
@pytest.mark.timeout(300)
def test_the_demo_fails_nothing_counts_every_reward_and_unloads_both_losers(demo: tuple[Path, dict[str, Any]]) -> None:
    _, result = demo

    assert result["failed"] == 0
    assert result["requests"] == result["rewards_sent"] == result["rewards_counted"] > 1_000
    assert result["phase"] == "concluded"
    assert sorted([result["winner"], *result["unloaded"]]) == ["v1", "v2", "v3"]
    assert result["retired"] == result["unloaded"]
    assert sum(result["shares"].values()) == pytest.approx(1, abs=1e-5)
    assert result["value_usd"] > result["uniform_value_usd"] > 0
    assert result["billed_usd"] > 0
    assert len(set(result["pids"].values())) == 3


@pytest.mark.system
@pytest.mark.timeout(300)
def test_the_winner_is_the_best_by_an_independent_computation(
    demo: tuple[Path, dict[str, Any]], every_version: grpc.Channel
) -> None:
    folder, result = demo
    held_out = np.load(folder / "held-out.npz")
    pixels, digits = held_out["pixels"], held_out["digits"]
    rows = result["reference_rows"]

    right = {
        version: float(np.mean(predict(every_version, version, pixels).argmax(axis=1) == digits))
        for version in (1, 2, 3)
    }
    seconds: dict[int, list[float]] = {1: [], 2: [], 3: []}
    for _ in range(COST_CALLS):
        for version, taken in seconds.items():
            started = time.perf_counter()
            predict(every_version, version, pixels[:rows])
            taken.append(time.perf_counter() - started)
    cost = {version: statistics.median(taken) / rows * PRICE_USD_PER_HOUR / 3600 for version, taken in seconds.items()}
    value = {version: VALUE_USD * right[version] - cost[version] for version in right}

    assert result["winner"] == f"v{max(value, key=lambda version: value[version])}", (right, cost, value)
    # The gap that decides, as it was measured in traffic: alone on an idle machine the same calls take half of it or less.
    measured = {arm["name"]: arm["prediction_cost_usd"] for arm in result["arms"]}
    assert measured["v3"] - measured["v2"] >= 0.04 * VALUE_USD, (measured, cost)
    assert cost[3] > 2 * cost[2], cost


@pytest.mark.system
@pytest.mark.timeout(300)
def test_without_the_learner_the_demo_fails(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import dataclasses\n"
        "import bandits.assess as module\n"
        "honest = module.assess\n"
        "def stub(*question, **caches):\n"
        "    answer = honest(*question, **caches)\n"
        "    return dataclasses.replace(answer, is_drained=False, is_over=False, retire=(),\n"
        "                               weights=answer.weights * 0 + 1 / len(answer.weights))\n"
        "module.assess = stub\n"
    )

    status, result = run_demo(tmp_path, "--max-seconds", "60", environment={"PYTHONPATH": str(tmp_path)})

    assert status == 1
    assert result["phase"] == "running"
    assert result["winner"] is None
    assert result["unloaded"] == []

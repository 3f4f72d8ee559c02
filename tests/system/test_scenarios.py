"""The demo's other stories as a stranger runs them: their JSON, and what the model servers themselves say in the end."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from serving import wire
from tests.system.test_demo import TURPIN, free_ports

# A story takes about a minute; on a machine with other work to do, several.
PATIENCE_S = 240.0
KEYS = (
    *("requests", "failed", "experiment", "phase", "winner", "retired", "unloaded", "shares", "value_usd"),
    *("uniform_value_usd", "billed_usd", "rewards_sent", "rewards_counted", "duration_s", "scenario", "checks"),
)


def finished(result: Path, process: "subprocess.Popen[str]") -> dict[str, Any]:
    """Wait for a story's JSON."""
    give_up_at = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up_at:
        if result.exists():
            try:
                found: dict[str, Any] = json.loads(result.read_text())
            except json.JSONDecodeError:
                continue
            return found
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.2)
    raise AssertionError(f"no result within {PATIENCE_S:g} s")


@contextmanager
def told(folder: Path, scenario: str) -> Iterator[tuple[dict[str, Any], int]]:
    """Tell a story with --keep, and yield its JSON and its first port while everything is left running."""
    base, result = free_ports(7), folder / "result.json"
    command: Sequence[str | Path] = [
        *(TURPIN, "demo", "--scenario", scenario, "--keep", "--seed", "3", "--port-base", str(base)),
        *("--output", folder / "out", "--json", result),
    ]
    with subprocess.Popen(command, env=os.environ, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield finished(result, process), base
        finally:
            process.send_signal(signal.SIGTERM)
            _, words = process.communicate(timeout=60)
    assert "Traceback" not in words, words
    assert process.returncode == 0, words


def states(port: int) -> Mapping[int, str]:
    """Ask a model server itself; {} when nobody is there."""
    request = wire.GetModelStatusRequest(model_spec={"name": "digits"}).SerializeToString()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            answer = channel.unary_unary(wire.GET_MODEL_STATUS)(request, timeout=10)
        except grpc.RpcError:
            return {}
    found = wire.GetModelStatusResponse.FromString(answer).model_version_status
    return {one.version: wire.STATE_NAMES[one.state] for one in found}


def assert_good(result: Mapping[str, Any], scenario: str) -> None:
    assert result["checks"]
    assert [name for name, holds in result["checks"].items() if not holds] == [], result["stuck"]
    assert tuple(result)[: len(KEYS)] == KEYS
    assert (result["scenario"], result["failed"], result["seed"]) == (scenario, 0, 3)
    assert result["requests"] == result["rewards_sent"] == result["rewards_counted"] > 1_000


@pytest.mark.system
@pytest.mark.timeout(300)
def test_traffic_follows_the_price_there_and_back_and_leaves_a_dead_cloud(tmp_path: Path) -> None:
    with told(tmp_path, "price") as (result, base):
        servers = [states(base + 3), states(base + 5)]

    assert_good(result, "price")
    assert servers == [{3: "AVAILABLE"}, {}]
    # Nothing was loaded or unloaded by all this.
    assert result["server_log"] == {name: ["version 3 LOADING", "version 3 AVAILABLE"] for name in ("tfs-a", "tfs-g")}


@pytest.mark.system
@pytest.mark.timeout(300)
def test_winner_is_rolled_back_and_what_lost_serves_again(tmp_path: Path) -> None:
    with told(tmp_path, "rollback") as (result, base):
        server = states(base + 3)

    assert_good(result, "rollback")
    assert server == {1: "AVAILABLE", 2: "END"}
    assert (result["winner"], result["unloaded"]) == ("v1", ["v2"])
    assert result["server_log"]["tfs-a"][-6:] == [
        *("version 1 UNLOADING", "version 1 END", "version 1 LOADING", "version 1 AVAILABLE"),
        *("version 2 UNLOADING", "version 2 END"),
    ]


@pytest.mark.system
@pytest.mark.timeout(300)
def test_sick_arm_and_dead_server_are_left_and_come_back(tmp_path: Path) -> None:
    with told(tmp_path, "sick") as (result, base):
        servers = [states(base + 3), states(base + 5)]

    assert_good(result, "sick")
    assert servers == [{1: "AVAILABLE", 2: "AVAILABLE"}, {3: "AVAILABLE"}]
    # The first server was never told anything; the second was killed, and started anew.
    assert result["server_log"]["tfs-g"] == ["version 3 LOADING", "version 3 AVAILABLE"] * 2


@pytest.mark.system
@pytest.mark.timeout(300)
def test_new_version_is_deployed_beside_the_others_and_earns_its_traffic(tmp_path: Path) -> None:
    with told(tmp_path, "deploy") as (result, base):
        server = states(base + 3)

    assert_good(result, "deploy")
    assert server == {1: "AVAILABLE", 2: "AVAILABLE", 3: "AVAILABLE"}
    assert result["server_log"]["tfs-a"][-2:] == ["version 3 LOADING", "version 3 AVAILABLE"]
    assert result["shares"]["v3"] > 0.1
    assert (tmp_path / "out" / "models" / "digits" / "3" / "turpin-package.yaml").exists()

"""The very files under deploy/ start a gateway and a Redis, and those of the model servers agree with them."""

import re
import signal
from pathlib import Path
from typing import Any, Final

import pytest
from typer.testing import CliRunner

from router.cli import app
from router.config import load_config
from serving import model_config, wire
from serving.local.monitoring import read_path
from tests.deploy.test_compose import ENVIRON, PROMETHEUS
from tests.redis_server import RedisServer
from tests.repo.tree import ROOT
from tests.system.client import Client
from tests.system.gateway import end, launched_from, until
from tests.system.model_server import BYSTANDER, MODEL, DigitsServer

GATEWAY: Final = ROOT / "deploy/gateway/turpin.yaml"
SERVING: Final = ROOT / "deploy/tf-serving"


def test_check_takes_the_gateways_file(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)

    result = CliRunner().invoke(app, ["check", "-c", str(GATEWAY)])

    assert result.exit_code == 0, result.output
    assert load_config(GATEWAY, ENVIRON).unused() == ()
    assert ENVIRON["TURPIN_DECISION_KEY"] not in result.output


def test_model_servers_begin_with_what_the_gateway_wants_of_them() -> None:
    (backend,) = load_config(GATEWAY, ENVIRON).backends.values()
    config = model_config.read_config((SERVING / "models.config").read_text())

    theirs = {
        entry.name: (entry.base_path, tuple(entry.model_version_policy.specific.versions))
        for entry in config.model_config_list.config
    }
    assert theirs == {name: (files.base_path, files.versions) for name, files in backend.models.items()}
    assert backend.publish is not None
    assert all(files.base_path.startswith(f"{backend.publish}/") for files in backend.models.values())


def test_model_servers_take_the_largest_batch_of_the_gateway() -> None:
    text = (SERVING / "batching.config").read_text()
    (most,) = (int(value) for value in re.findall(r"^max_batch_size \{ value: (\d+) \}$", text, re.MULTILINE))
    allowed = [int(value) for value in re.findall(r"^allowed_batch_sizes: (\d+)$", text, re.MULTILINE)]

    assert most >= max(one.batching.max_rows for one in load_config(GATEWAY, ENVIRON).experiments)
    # tensorflow_model_server does not start otherwise.
    assert allowed == sorted(allowed)
    assert allowed[-1] == most


def test_prometheus_asks_model_servers_where_they_answer() -> None:
    (job,) = (job for job in PROMETHEUS["scrape_configs"] if job["job_name"] == "tf-serving")

    assert job["metrics_path"] == read_path(SERVING / "monitoring.config")


@pytest.mark.timeout(90)
async def test_gateway_and_redis_run_from_these_files(tmp_path: Path) -> None:
    redis = RedisServer(
        tmp_path / "redis",
        arguments=("--requirepass", "word"),
        config=ROOT / "deploy/redis/redis.conf",
    )
    redis.start()
    try:
        async with DigitsServer() as first, DigitsServer() as second:
            environ = ENVIRON | {
                "TURPIN_STORE": f"redis://:word@127.0.0.1:{redis.port}/0?timeout_ms=5000",
                "TURPIN_BACKENDS__GPU__TARGET": f"[{first.address}, {second.address}]",
                "TURPIN_BACKENDS__GPU__PUBLISH": str(tmp_path),
                "TURPIN_JOURNAL__FOLDER": str(tmp_path / "journal"),
                **{f"TURPIN_LISTEN__{name}": "127.0.0.1:0" for name in ("GRPC", "HTTP", "ADMIN", "METRICS")},
            }
            gateway = launched_from(GATEWAY, tmp_path / "turpin.log", environ)
            try:
                await gateway.ready()
                await gateway.in_phase("running", patience_s=45.0)
                async with Client.to(gateway) as client:
                    answer = await client.predict()
                    assert await client.reward(answer.decision, 1.0) == 202
                await until("both servers' reload", lambda: _is_told(first) and _is_told(second))
                state = await gateway.state()
                await gateway.stop()
            finally:
                end(gateway)
        durability = gateway.events("durability of the store")
        assert redis.tell("PING").startswith("-NOAUTH")
        redis.signal(signal.SIGTERM)
        assert redis.process is not None
        assert redis.process.wait(20) == 0
    finally:
        redis.end()

    assert answer.version in (1, 2)
    assert [arm["name"] for arm in state["arms"]] == ["v1", "v2"]
    assert [fact["appendonly"] for fact in durability] == ["yes"] * len(durability) != []
    assert list((tmp_path / "redis").rglob("*.aof"))
    assert list((tmp_path / "journal").iterdir())


def _is_told(server: Any) -> bool:
    """Say whether a model server was sent the file's config: the third version and the other model are not in it."""
    return bool(server.state_of(MODEL, 3) == wire.END and server.state_of(BYSTANDER, 7) == wire.END)

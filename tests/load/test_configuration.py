"""The files the demo's services start from: the gateway and the model server accept them as they are."""

import socket
from pathlib import Path

import pytest

from load.demo import configuration
from load.demo.configuration import PortTaken, refuse_taken
from load.demo.plan import ARMS, Folder, Options, Ports
from router.config import load_config
from serving.local.config import read_config, read_config_file


def test_gateway_reads_what_the_demo_writes(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    configuration.write(folder, Ports(9500))

    config = load_config(folder.config, {})

    (experiment,) = config.experiments
    assert (config.listen.grpc, config.listen.http, config.listen.admin) == tuple(
        f"127.0.0.1:{port}" for port in (9500, 9501, 9502)
    )
    assert config.backends["tfs-a"].target == ("127.0.0.1:9503",)
    assert config.backends["tfs-a"].control == "managed"
    assert [arm.name for arm in experiment.arms] == list(ARMS)
    assert (experiment.policy.block, experiment.objective.reward.window, experiment.stop.min_age) == (2.0, 10.0, 10.0)
    assert (experiment.stop.cycle, experiment.on_stop.grace, experiment.on_stop.unload) == (None, 0.0, True)
    assert config.unused() == ()


def test_model_server_reads_what_the_demo_writes(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    configuration.write(folder, Ports(9500))

    text = folder.model_config.read_text(encoding="utf-8")

    assert str(folder.models) in text
    assert list(read_config(read_config_file(folder.model_config))) == ["digits"]


def test_taken_port_is_named_before_anything_is_trained() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(PortTaken, match=f"port {port} is in use"):
            refuse_taken(Ports(min(port, 65531)))


@pytest.mark.parametrize("base", [0, -1, 65532])
def test_ports_outside_the_range_are_refused(base: int) -> None:
    with pytest.raises(ValueError, match=r"--port-base must be in 1\.\.65531"):
        Ports(base)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"rate": -1.0}, "--rate must be"),
        ({"rate": float("nan")}, "--rate must be"),
        ({"max_seconds": 0.0}, "--max-seconds must be"),
        ({"seed": -1}, "--seed must be"),
    ],
)
def test_impossible_options_are_refused(setting: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Options(Ports(9500), Folder(Path("x")), **setting)  # type: ignore[arg-type] # ints and floats by name

"""The command line: what it refuses, that it is cheap to import, and the real process from start to SIGTERM."""

import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import grpc
import pytest
import typer
from typer.testing import CliRunner

from serving import wire
from serving.local import command
from serving.local.options import ServerOptions
from tests.serving.local.saved_models import SavedModels
from tests.serving.local.stand_in import Loader, as_message, put, specific

ROOT = Path(__file__).parents[3]

cli = typer.Typer()
cli.command("model-server")(command.app)


def test_importing_the_command_imports_nothing_heavy() -> None:
    heavy = "tensorflow", "grpc", "numpy", "aiohttp"
    code = f"import sys, serving.local.command; print([name for name in {heavy} if name in sys.modules])"

    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert result.stdout == "[]\n"


def test_flags_are_those_of_tensorflow_model_server() -> None:
    flags = {flag for parameter in typer.main.get_command(cli).params for flag in parameter.opts}

    assert flags >= {
        "--port",
        "--rest_api_port",
        "--model_name",
        "--model_base_path",
        "--model_config_file",
        "--file_system_poll_wait_seconds",
        "--tensorflow_intra_op_parallelism",
        "--tensorflow_inter_op_parallelism",
        "--per_process_gpu_memory_fraction",
        "--enable_serialization_as_tensor_content",
        "--allow_version_labels_for_unavailable_models",
        "--rest_api_enable_cors_support",
        "--monitoring_config_file",
        "--grpc_socket_path",
        "--grpc_channel_arguments",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to serve: give --model_base_path or --model_config_file"),
        (
            ["--model_base_path=models"],
            "Expected model default to have an absolute path or URI; got base_path()=models",
        ),
        (["--model_config_file=/nowhere/x"], "the model config file can't be read: "),
        (["--port=-1", "--model_base_path=/m"], "--port must be in 0..65535, got -1"),
        (
            ["--grpc_channel_arguments=grpc.max_connection_age_ms", "--model_base_path=/m"],
            "--grpc_channel_arguments must be name=value,name=value, got 'grpc.max_connection_age_ms'",
        ),
        (["--monitoring_config_file=/nowhere/x", "--model_base_path=/m"], "/nowhere/x is no MonitoringConfig"),
        (["--rest_api_port=65536", "--model_base_path=/m"], "--rest_api_port must be in -1..65535, got 65536"),
    ],
)
def test_bad_flags_end_with_2_and_say_what_is_wrong(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(cli, arguments)

    assert result.exit_code == 2
    assert message in result.stderr


def test_model_that_does_not_come_up_ends_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (put(tmp_path / "m", 1) / "1" / "broken").write_text("no graph")
    options = ServerOptions(as_message(specific("m", tmp_path / "m", 1)), "127.0.0.1", 0, 0)

    with pytest.raises(typer.Exit) as raised:
        command.run(options, Loader())

    assert raised.value.exit_code == 1
    assert capsys.readouterr().err == (
        "model server: Failed to start server. Error: 1 servable(s) did not become available:"
        " {{name: m version: 1 due to error: no graph}, }\n"
    )


@pytest.mark.parametrize("taken", ["port", "rest_api_port"])
def test_port_that_is_taken_ends_with_1(tmp_path: Path, capfd: pytest.CaptureFixture[str], taken: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        ports = {"port": 0, "rest_api_port": 0} | {taken: other.getsockname()[1]}
        options = ServerOptions(as_message(specific("m", put(tmp_path / "m", 1), 1)), "127.0.0.1", **ports)

        with pytest.raises(typer.Exit) as raised:
            command.run(options, Loader())

    assert raised.value.exit_code == 1
    assert "Failed to start server. Error: " in capfd.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_process_that_loads_tensorflow_ends_at_once(tmp_path: Path, number: signal.Signals) -> None:
    # As TensorFlow's own libraries do: an interrupt amid their import becomes an ImportError.
    stuck = """
import sys, time, typer
class Stuck:
    def find_spec(self, name, path=None, target=None):
        if name == "serving.local.engine":
            print("loads", flush=True)
            try:
                time.sleep(60)
            except KeyboardInterrupt:
                raise ImportError("initialization failed")
sys.meta_path.insert(0, Stuck())
from serving.local.command import app
typer.run(app)
"""
    arguments = [f"--model_base_path={tmp_path}", "--host=127.0.0.1", "--port=0", "--rest_api_port=0"]
    with subprocess.Popen(
        [sys.executable, "-c", stuck, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.send_signal(number)
        _, complaints = process.communicate(timeout=20)

    assert (line, process.returncode, complaints) == ("loads\n", 0, "")


@pytest.mark.timeout(120)
def test_process_serves_until_sigterm_and_is_quiet(saved_models: SavedModels, tmp_path: Path) -> None:
    config = tmp_path / "models.config"
    config.write_text(str(as_message(specific("default", saved_models.half, 123))))
    monitoring, socket_path = tmp_path / "monitoring.config", tmp_path / "grpc.sock"
    monitoring.write_text("prometheus_config { enable: true }")
    arguments = [f"--model_config_file={config}", "--host=127.0.0.1", "--port=0", "--rest_api_port=0"]
    arguments += [f"--monitoring_config_file={monitoring}", f"--grpc_socket_path={socket_path}"]
    arguments += ["--grpc_channel_arguments=grpc.max_connection_age_ms=60000,grpc.http2.max_ping_strikes=0"]
    code = "import typer; from serving.local.command import app; typer.run(app)"
    request = wire.PredictRequest()
    request.model_spec.name = "default"
    request.inputs["x"].dtype = 1
    request.inputs["x"].float_val.append(2.0)

    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.fullmatch(r"model server: gRPC (127\.0\.0\.1:\d+), REST (127\.0\.0\.1:\d+)\n", line)
        assert found, line
        bodies = []
        for address in (found[1], f"unix:{socket_path}"):
            with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
                bodies.append(channel.unary_unary(wire.PREDICT)(request.SerializeToString(), timeout=20))
        with urllib.request.urlopen(f"http://{found[2]}/monitoring/prometheus/metrics", timeout=20) as response:
            page = response.read().decode()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)

    answers = [wire.PredictResponse.FromString(body) for body in bodies]
    assert [list(answer.outputs["y"].float_val) for answer in answers] == [[3.0], [3.0]]
    assert "# TYPE :tensorflow:serving:request_count counter" in page
    assert ':tensorflow:serving:request_count{model_name="default",status="OK"} 2' in page
    assert process.returncode == 0
    assert out == ""
    # Every line is one of ours: no traceback, no greeting of TensorFlow's.
    assert [
        line for line in err.splitlines() if not re.match(r"\d{4}-\d\d-\d\d [\d:,]+ INFO serving\.local\.", line)
    ] == []

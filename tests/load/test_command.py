"""`turpin demo` on the command line: cheap to import, and clear about what it can't do."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from load.demo.command import app


def test_importing_the_command_loads_nothing_heavy() -> None:
    code = "import sys, json; import load.demo.command; print(json.dumps(sorted(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=15)

    loaded = set(json.loads(result.stdout))

    assert not loaded & {"tensorflow", "numpy", "matplotlib", "aiohttp", "grpc", "sklearn"}


def test_other_scenarios_are_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as exit_info:
        app(scenario="breakdown")

    assert exit_info.value.exit_code == 2
    assert "--scenario must be main, deploy or price or rollback or sick, got 'breakdown'" in capsys.readouterr().err


def test_bad_numbers_are_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as exit_info:
        app(rate=-5.0)

    assert exit_info.value.exit_code == 2
    assert "--rate must be 0" in capsys.readouterr().err


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `turpin demo` in a process of its own."""
    code = "import typer; from load.demo.command import app; typer.run(app)"
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=19)


def test_taken_port_ends_the_demo_before_it_begins(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = demo(f"--port-base={taken.getsockname()[1]}", f"--output={tmp_path / 'out'}")

    assert result.returncode == 2
    assert "is in use" in result.stderr
    assert not (tmp_path / "out").exists()


def test_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "dear.txt").write_text("mine")

    result = demo("--port-base=64000", f"--output={tmp_path}")

    assert result.returncode == 2
    assert "holds other files" in result.stderr
    assert (tmp_path / "models" / "dear.txt").read_text() == "mine"


def test_result_that_could_not_be_written_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    result = demo("--port-base=64000", f"--output={tmp_path / 'out'}", f"--json={tmp_path}")

    assert result.returncode == 2
    assert "--json must name a file" in result.stderr
    assert "Traceback" not in result.stderr

"""The command line: what goes where, and how it ends."""

import http.server
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from router import cli, commands, guard
from router.config.document import read_yaml

CONFIG = """\
store: "memory:"
backends:
  tfs: {target: "127.0.0.1:9000", price_usd_per_hour: 0.526}
experiments:
  - {name: digits, model: digits, control: v1, objective: {value_usd: 1e-6}, arms: [
      {name: v1, backend: tfs, version: 1}, {name: v2, backend: tfs, version: 2}]}
"""


def run(*arguments: str, env: Mapping[str, str] | None = None) -> Result:
    return CliRunner().invoke(cli.app, list(arguments), env=env)


def written(folder: Path, text: str = CONFIG) -> str:
    path = folder / "turpin.yaml"
    path.write_text(text)
    return str(path)


# The process itself


def python(*arguments: str) -> "subprocess.CompletedProcess[str]":
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TURPIN_")}
    root = str(Path(cli.__file__).parents[1])
    code = f"import sys; sys.path.insert(0, {root!r}); from router.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments], capture_output=True, text=True, env=environ, timeout=15
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_gateway_that_loads_ends_at_once(tmp_path: Path, number: signal.Signals) -> None:
    # An import, amid which an exception is lost.
    stuck = """
class Stuck:
    def find_spec(self, name, path=None, target=None):
        if name == "router.app":
            print("loads", flush=True)
            try:
                time.sleep(60)
            except KeyboardInterrupt:
                time.sleep(60)
"""
    root = str(Path(cli.__file__).parents[1])
    code = f"import sys, time; sys.path.insert(0, {root!r})\n{stuck}\nsys.meta_path.insert(0, Stuck())\n"
    code += "from router.cli import main; main()"
    command = [sys.executable, "-P", "-c", code, "serve", "-c", written(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "loads\n"
        process.send_signal(number)
        _, complaints = process.communicate(timeout=10)
    finally:
        process.kill()
        process.wait()

    assert (process.returncode, complaints) == (0, "")


def test_the_version_needs_none_of_the_heavy_modules() -> None:
    heavy = ["pydantic", "grpc", "aiohttp", "numpy", "scipy", "structlog", "prometheus_client", "rich", "tensorflow"]
    root = str(Path(cli.__file__).parents[1])
    code = (
        f"import sys; sys.path.insert(0, {root!r}); from router.cli import app; app(['--version'], standalone_mode=False);"
        f" sys.exit(','.join(name for name in {heavy!r} if name in sys.modules) or None)"
    )

    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=15)

    assert done.stdout.startswith("turpin ")
    assert (done.returncode, done.stderr) == (0, "")


def test_bad_input_ends_the_process_with_2_and_no_traceback(tmp_path: Path) -> None:
    done = python("serve", "-c", written(tmp_path, "workers: x"))

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "workers: must be a whole number; got 'x'",
        "backends: is missing: the model servers: name: {target: …, …}",
    ]


# check


def test_check_writes_the_effective_configuration(tmp_path: Path) -> None:
    done = run("check", "-c", written(tmp_path), env={"TURPIN_LISTEN__GRPC": "0.0.0.0:1"})

    assert done.exit_code == 0
    shown = read_yaml(done.stdout)
    assert shown["listen"]["grpc"] == "0.0.0.0:1"
    assert shown["limits"]["queue_rows"] == 4096
    assert shown["experiments"][0]["policy"]["block"] == "15m"
    assert done.stderr == ""


def test_check_hides_secrets_and_warns_of_what_has_no_effect(tmp_path: Path) -> None:
    text = (
        CONFIG.replace("price_usd_per_hour: 0.526}", "price_usd_per_hour: 0.526, location: here}")
        + "decision_keys: ['k1:very-secret-very-secret']\njournal: {sample: 1.0}\n"
    )

    done = run("check", "--json", "-c", written(tmp_path, text))

    assert json.loads(done.stdout)["decision_keys"] == ["********"]
    assert "very-secret" not in done.output
    assert done.stderr.startswith("warning: backends.tfs.location has no effect in this version")


def test_check_lists_every_problem(tmp_path: Path) -> None:
    path = written(tmp_path, CONFIG.replace("backend: tfs,", "backend: tsf,").replace("1e-6", "0"))

    plain, listed = run("check", "-c", path), run("check", "--json", "-c", path)

    assert (plain.exit_code, listed.exit_code) == (2, 2)
    assert plain.stdout == ""
    assert len(plain.stderr.splitlines()) == 3
    assert [problem["place"] for problem in json.loads(listed.stdout)["problems"]] == [
        "experiments[0].objective.value_usd",
        "experiments[0].arms[0].backend",
        "experiments[0].arms[1].backend",
    ]


def test_the_configuration_may_be_named_by_the_environment(tmp_path: Path) -> None:
    assert run("check", env={"TURPIN_CONFIG": written(tmp_path)}).exit_code == 0
    assert run("check").exit_code == 2


# serve


@pytest.mark.parametrize("arguments", [["--workers", "2"], ["--workers", "2", "--single"], ["--workers", "0"]])
def test_serve_refuses_workers_that_can_not_be(tmp_path: Path, arguments: list[str]) -> None:
    done = run("serve", "-c", written(tmp_path), *arguments)

    assert done.exit_code == 2
    assert "workers" in done.stderr


# experiments


class AdminStub(http.server.BaseHTTPRequestHandler):
    """An admin API with one experiment, which wants a token."""

    def do_GET(self) -> None:
        known: dict[str, Any] = {
            "/admin/v1/experiments": {"experiments": [{"name": "digits", "model": "digits", "phase": "running"}]},
            "/admin/v1/experiments/digits/state": {
                "name": "digits",
                "phase": "running",
                "leader": "v2",
                "reason": "[red]\x1b[31m",
                "not_ready": ["5 blocks are needed\x1b[0m"],
                "value_remaining": {"q95": 0.021, "threshold": 0.01, "drained": False},
                "arms": [{"name": "v1", "state": "eligible", "weight": 0.25, "rate": None, "value_usd": 1e-6}],
                "segments": [{"name": "de", "arms": [{"name": "v1", "weight": 0.75, "decisions": 12}]}],
            },
        }
        status, body = 200, known.get(self.path)
        if body is None:
            status, body = 404, {"title": "Not found", "detail": "there is no experiment 'x'"}
        if self.headers["Authorization"] != "Bearer secret-token":
            status, body = 401, {"detail": "send a token"}
        if self.path == "/admin/v1/experiments/elsewhere/state":
            status, body = 302, {"detail": "it has moved"}
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Location", "/admin/v1/experiments/digits/state")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *args: object) -> None:
        """Say nothing: the test's output is the command's."""


@pytest.fixture
def admin() -> Iterator[dict[str, str]]:
    """Serve the stub on a free port; yield the environment that points to it."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), AdminStub) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        yield {"TURPIN_ADMIN": url, "TURPIN_TOKEN": "secret-token", "http_proxy": "http://127.0.0.1:9"}
        server.shutdown()
        thread.join()


def test_experiments_are_listed(admin: dict[str, str]) -> None:
    plain, as_json = run("experiments", "list", env=admin), run("experiments", "list", "--json", env=admin)

    assert (plain.exit_code, as_json.exit_code) == (0, 0)
    assert plain.stdout.split()[:3] == ["name", "model", "phase"]
    assert "running" in plain.stdout
    assert json.loads(as_json.stdout)["experiments"][0]["name"] == "digits"


def test_an_experiment_is_shown_and_controls_nothing_of_the_terminal(admin: dict[str, str]) -> None:
    done = run("experiments", "show", "digits", env=admin)

    assert done.exit_code == 0
    assert "reason: [red]?[31m" in done.stdout
    assert "leader: v2" in done.stdout
    assert "value remaining: 2.10% of the leader's (drained below 1.00%)" in done.stdout
    assert "waits for: 5 blocks are needed?[0m" in done.stdout
    assert "0.25" in done.stdout
    assert [line.split() for line in done.stdout.splitlines()[-2:]] == [
        ["segment", "name", "weight", "decisions"],
        ["de", "v1", "0.75", "12"],
    ]
    assert "\x1b" not in done.stdout


def test_token_is_not_taken_to_where_an_answer_points(admin: dict[str, str]) -> None:
    moved = run("experiments", "show", "elsewhere", env=admin)

    assert (moved.exit_code, moved.stdout) == (1, "")
    assert "answers 302: it has moved" in moved.stderr


def test_what_the_gateway_refuses_is_said(admin: dict[str, str]) -> None:
    unknown = run("experiments", "show", "x/../y", env=admin)
    refused = run("experiments", "list", env=admin | {"TURPIN_TOKEN": "wrong-token"})

    assert (unknown.exit_code, refused.exit_code) == (1, 1)
    assert "answers 404: there is no experiment 'x'" in unknown.stderr
    assert "answers 401: send a token" in refused.stderr
    assert "wrong-token" not in refused.output


def test_a_gateway_that_is_not_there_is_said_in_one_line() -> None:
    done = run("experiments", "list", "--admin", "http://127.0.0.1:9")

    assert done.exit_code == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "Is `turpin serve` running there?" in done.stderr


@pytest.mark.parametrize("url", ["file:///etc/passwd", "localhost:8502", "http://"])
def test_an_admin_address_that_is_none_is_bad_input(url: str) -> None:
    assert run("experiments", "list", "--admin", url).exit_code == 2


# Commands by entry point


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a distribution that brings commands: one works, one lacks a module, one finds that out when it runs."""
    (tmp_path / "brought.py").write_text(
        '"""Commands for a test."""\n\n\ndef well(count: int = 1) -> None:\n    """Say how well.\n\n    More."""\n'
        "    print('well' * count)\n\n\ndef late() -> None:\n    import no_such_module\n"
    )
    (tmp_path / "lacking.py").write_text("import tensorflow_of_mars\n\n\ndef command() -> None: ...\n")
    metadata = tmp_path / "brought-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: brought\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(
        "[turpin.commands]\nwell = brought:well\nlate = brought:late\nlacking = lacking:command\ngone = nowhere:app\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "brought", raising=False)
    importlib.invalidate_caches()


@pytest.mark.usefixtures("plugins")
def test_a_plain_function_becomes_a_command() -> None:
    done = run("well", "--count", "2")

    assert (done.exit_code, done.stdout) == (0, "wellwell\n")
    assert run("well", "--count", "x").exit_code == 2


@pytest.mark.usefixtures("plugins")
def test_help_lists_commands_without_importing_them() -> None:
    done = run("--help")

    assert done.exit_code == 0
    assert "Say how well." in done.stdout
    assert "lacking" in done.stdout
    assert "brought" not in sys.modules


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize(("name", "module"), [("lacking", "tensorflow_of_mars"), ("gone", "nowhere")])
def test_a_command_that_lacks_something_says_how_to_get_it(name: str, module: str) -> None:
    done = run(name)

    assert done.exit_code == 1
    assert done.stderr == f'turpin {name} needs {module}, which is not installed: pip install "turpin[local]"\n'


@pytest.mark.usefixtures("plugins")
def test_what_is_missing_only_at_run_time_is_said_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["turpin", "late"])

    with pytest.raises(SystemExit) as caught:
        cli.main()

    assert caught.value.code == 1
    assert "turpin late needs no_such_module" in capsys.readouterr().err


def test_an_unknown_command_is_bad_input() -> None:
    assert run("nonsense").exit_code == 2
    assert commands.GROUP == "turpin.commands"


# The guard


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a turpin of one file where nothing else of ours is found."""
    (tmp_path / "router").mkdir()
    (tmp_path / "router" / "__init__.py").write_text("")
    metadata = tmp_path / "turpin-9.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: turpin\nVersion: 9\n")
    # The SHA-256 of nothing.
    empty = "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"
    (metadata / "RECORD").write_text(f"router/__init__.py,sha256={empty},0\nturpin-9.dist-info/RECORD,,\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    importlib.invalidate_caches()
    return tmp_path


def foreign(folder: Path) -> None:
    metadata = folder / "other_router-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: other-router\nVersion: 1\n")
    (metadata / "RECORD").write_text("router/__init__.py,,\nother_router-1.dist-info/RECORD,,\n")


def test_packages_as_installed_are_ours(site: Path) -> None:
    foreign(site)

    assert guard.overwritten_by() == {}


def test_a_file_changed_by_hand_is_nobody_s_business(site: Path) -> None:
    (site / "router" / "__init__.py").write_text("changed = True\n")

    assert guard.overwritten_by() == {}


def test_another_distribution_over_ours_is_named(site: Path) -> None:
    foreign(site)
    (site / "router" / "__init__.py").write_text("theirs = True\n")

    assert guard.overwritten_by() == {"router": ["other-router"]}


def test_this_installation_is_not_overwritten() -> None:
    assert guard.overwritten_by() == {}


def test_check_output_is_plain_yaml(tmp_path: Path) -> None:
    assert yaml.safe_load(run("check", "-c", written(tmp_path)).stdout)["store"] == "memory:"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "can't read {}: No such file or directory"),
        (b"\xff", "can't read {}: it is not UTF-8"),
        (b"arms: [", "{}: line 1, column 8: expected the node content, but found '<stream end>'"),
    ],
)
def test_experiment_that_can_not_be_read_is_refused_in_words(
    tmp_path: Path, content: bytes | None, complaint: str
) -> None:
    file = tmp_path / "digits.yaml"
    if content is not None:
        file.write_bytes(content)

    done = run("experiments", "apply", str(file))

    assert (done.exit_code, done.stderr) == (2, f"turpin: {complaint.format(file)}\n")

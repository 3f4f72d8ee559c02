"""The targets, made once: the embedded server, and gateways before it."""

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from router.fronts.envoy.start import missing
from serving import wire
from serving.local.options import EngineOptions
from serving.local.versions import Engine
from tests.conformance.models import VERSION, ModelFolders, make_models, server_config, without_labels
from tests.conformance.stubs import Stubs
from tests.conformance.targets import Target
from tests.serving.local.running_server import Running, running
from tests.system.gateway import Gateway, end, launched

# `experiment`: the gateway draws between two copies of one model, so that every answer is the same whoever gives it.
REAL = "tensorflow_model_server"
TFS_ADDR = os.environ.get("TFS_ADDR") or None
# As the server must see it, too.
TFS_MODELS = Path(os.environ.get("TFS_MODELS") or "/tmp/turpin-conformance")
# `envoy`: gRPC by way of an Envoy, where what that takes is installed.
TARGETS = ("embedded", "gateway", "experiment", "envoy", *([REAL] if TFS_ADDR else []))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say that the C++ server was not asked."""
    if TFS_ADDR is None:
        terminalreporter.write_line(
            "CONFORMANCE: not run against the C++ tensorflow_model_server: TFS_ADDR=host:port is not set"
        )
    if reason := missing():
        terminalreporter.write_line(f"CONFORMANCE: not run over Envoy: {reason}")
    if not os.environ.get("TEST_DOWNLOADS"):
        terminalreporter.write_line(
            "CONFORMANCE: ovmsclient and grpc-js not run: they are downloaded with TEST_DOWNLOADS=1"
        )


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> ModelFolders:
    pytest.importorskip("tensorflow")
    from serving.local import engine  # it imports TensorFlow

    engine.prepare_tensorflow()
    return make_models(tmp_path_factory.mktemp("conformance"))


@pytest.fixture(scope="session")
def load(folders: ModelFolders) -> Callable[[str], Engine]:
    from serving.local import engine

    options = EngineOptions(intra_op_threads=1, inter_op_threads=-1)
    return lambda path: engine.SavedModelEngine(path, options)


@pytest.fixture(scope="session")
def model_server(folders: ModelFolders, load: Callable[[str], Engine]) -> Iterator[Running]:
    config = server_config(folders)
    with running(load, without_labels(config)) as server, behind(server.grpc) as reload_to:
        reload_to(config)
        yield server


@pytest.fixture(scope="session", params=TARGETS)
def target(
    request: pytest.FixtureRequest, folders: ModelFolders, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Target]:
    if request.param == REAL:
        assert TFS_ADDR is not None
        model_folders = make_models(TFS_MODELS)
        backend = TFS_ADDR
    else:
        server: Running = request.getfixturevalue("model_server")
        model_folders, backend = folders, server.grpc
        if request.param == "embedded":
            with behind(backend) as reload_to:
                yield Target("embedded", server.grpc, server.rest, folders, True, reload_to)
            return
    if request.param == "envoy" and (reason := missing()):
        pytest.skip(reason)
    with behind(backend) as reload_to:
        reload_to(server_config(model_folders))
        document = gateway_document(backend, has_experiment=request.param == "experiment")
        folder = tmp_path_factory.mktemp("gateway")
        if request.param == "envoy":
            document |= {"front": "envoy", "store": f"sqlite:///{folder}/turpin.db"}
        with gateway(folder, document) as running_gateway:
            grpc, http = f"127.0.0.1:{running_gateway.grpc}", f"http://127.0.0.1:{running_gateway.http}"
            yield Target(request.param, grpc, http, model_folders, False, reload_to)


@pytest.fixture(scope="session")
def stubs(target: Target) -> Iterator[Stubs]:
    stubs = Stubs(target.grpc)
    yield stubs
    stubs.channel.close()


def gateway_document(backend: str, *, has_experiment: bool) -> dict[str, Any]:
    """Return a `turpin.yaml` for a backend that is only observed, as an operator would write it who has no experiment."""
    document: dict[str, Any] = {
        "store": "memory:",
        "listen": {"grpc": "127.0.0.1:0", "http": "127.0.0.1:0", "admin": "127.0.0.1:0"},
        "backends": {"tfs": {"target": backend, "price_usd_per_hour": 0.5}},
        "rewards": {"auth": "none"},
        "experiments": [],
    }
    names = ("default", "half_plus_three", "two_signatures", "lines")
    document["backends"]["tfs"]["models"] = {name: {"base_path": "/unused", "versions": [1]} for name in names}
    # A label of the gateway's own, for a version that the suite's model server has not loaded.
    document["backends"]["tfs"]["models"]["lines"] |= {"versions": [1, 2, 3], "labels": {"next": 3}}
    if has_experiment:
        document["experiments"] = [
            {
                "name": "conformance",
                "model": "default",
                "control": "v1",
                "arms": [
                    {"name": "v1", "backend": "tfs", "version": VERSION},
                    {"name": "v2", "backend": "tfs", "model": "default_copy", "version": VERSION},
                ],
                "objective": {"value_usd": 1e-6},
                "stop": {"min_per_arm": 10**9},
            }
        ]
    return document


@contextmanager
def gateway(folder: Path, document: Mapping[str, Any]) -> Iterator[Gateway]:
    """Run `turpin serve` as a process of its own."""
    launched_gateway = launched(folder, document)
    try:
        asyncio.run(launched_gateway.ready())
        yield launched_gateway
    finally:
        end(launched_gateway)


@contextmanager
def behind(address: str) -> Iterator[Callable[[wire.Message], None]]:
    """Lend what changes the configuration of the model server at an address."""
    stubs = Stubs(address)
    try:
        yield lambda config: reload(stubs, config)
    finally:
        stubs.channel.close()


def reload(stubs: Stubs, config: wire.Message) -> None:
    """Have a model server serve what the config says and nothing else, labels last; return when it does."""
    stubs.reload(without_labels(config))
    wanted = {
        model.name: set(model.model_version_policy.specific.versions) for model in config.model_config_list.config
    }

    def is_so() -> bool:
        return all(
            {version for version, state in stubs.states(name).items() if state != "END"} == versions
            and all(state in ("END", "AVAILABLE") for state in stubs.states(name).values())
            for name, versions in wanted.items()
        )

    stubs.until(is_so)
    stubs.reload(config)

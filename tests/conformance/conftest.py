"""The targets, made once: the embedded server, and gateways before it."""

from collections.abc import Callable, Iterator

import pytest

from serving import wire
from serving.local.options import EngineOptions
from serving.local.versions import Engine
from tests.conformance.models import ModelFolders, make_models, server_config, without_labels
from tests.conformance.stubs import Stubs
from tests.conformance.targets import Target
from tests.serving.local.running_server import Running, running

TARGETS = ("embedded",)


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
    with running(load, without_labels(config)) as server:
        stubs = Stubs(server.grpc)
        reload(stubs, config)
        stubs.channel.close()
        yield server


@pytest.fixture(scope="session", params=TARGETS)
def target(request: pytest.FixtureRequest, folders: ModelFolders) -> Iterator[Target]:
    model_server: Running = request.getfixturevalue("model_server")
    stubs = Stubs(model_server.grpc)
    yield Target("embedded", model_server.grpc, model_server.rest, folders, True, lambda config: reload(stubs, config))
    stubs.channel.close()


@pytest.fixture(scope="session")
def stubs(target: Target) -> Iterator[Stubs]:
    stubs = Stubs(target.grpc)
    yield stubs
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

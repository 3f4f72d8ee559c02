"""HandleReloadConfigRequest: whole where the server owns its models, refused where the gateway does."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving import wire
from tests.conformance.models import model_config, server_config
from tests.conformance.stubs import Stubs, rest
from tests.conformance.targets import Target

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def loaded(target: Target) -> Iterator[Target]:
    """Lend the target, and put its models back as they were."""
    yield target
    target.reload(server_config(target.folders))


@pytest.fixture
def reloadable(loaded: Target) -> Target:
    if not loaded.takes_reloads:
        pytest.skip("the gateway refuses reloads, see test_reload_is_refused_by_the_gateway")
    return loaded


def test_reload_is_refused_by_the_gateway(target: Target, stubs: Stubs) -> None:
    if target.takes_reloads:
        pytest.skip("this is a model server: it reloads")

    code, details = stubs.refused("HandleReloadConfigRequest", stubs.reload_request(server_config(target.folders)))

    assert code == "PERMISSION_DENIED"
    assert "Turpin owns the model configuration behind this address" in details


def test_swap_of_a_base_path_serves_the_new_and_drops_the_old(loaded: Target, stubs: Stubs) -> None:
    folders = loaded.folders
    swapped = model_config("half_plus_three", folders.lines, 3)
    loaded.reload(server_config(folders, half_plus_three=swapped))

    assert list(stubs.predict(2.0, name="half_plus_three").outputs["y"].float_val) == [6.0]
    assert stubs.refused("Predict", stubs.predict_request(name="half_plus_three", version={"value": 123})) == (
        "NOT_FOUND",
        "Servable not found for request: Specific(half_plus_three, 123)",
    )
    assert stubs.states("half_plus_three")[123] == "END"


def test_version_and_label_move_in_two_steps(reloadable: Target, stubs: Stubs) -> None:
    folders = reloadable.folders
    labelled = model_config("lines", folders.lines, 2, 3, labels={"old": 3})

    assert stubs.refused("HandleReloadConfigRequest", stubs.reload_request(server_config(folders, lines=labelled))) == (
        "FAILED_PRECONDITION",
        "Request to assign label to version 3 of model lines, which is not currently available for inference",
    )
    reloadable.reload(server_config(folders, lines=model_config("lines", folders.lines, 2, 3)))
    reloadable.reload(server_config(folders, lines=labelled))

    assert stubs.predict(2.0, name="lines", version_label="old").model_spec.version.value == 3
    assert stubs.states("lines") == {3: "AVAILABLE", 2: "AVAILABLE", 1: "END"}


def test_bad_configs_are_refused_and_the_old_one_serves_on(reloadable: Target, stubs: Stubs) -> None:
    def refusal(*models: wire.Message) -> tuple[str, str]:
        config = wire.ModelServerConfig()
        config.model_config_list.config.extend(models)
        return stubs.refused("HandleReloadConfigRequest", stubs.reload_request(config))

    good = model_config("default", reloadable.folders.half_plus_two, 123)
    no_platform = model_config("default", reloadable.folders.half_plus_two, 123)
    no_platform.model_platform = ""
    other_platform = model_config("default", reloadable.folders.half_plus_two, 123)
    other_platform.model_platform = "other"

    assert stubs.refused("HandleReloadConfigRequest", stubs.reload_request(wire.ModelServerConfig())) == (
        "INVALID_ARGUMENT",
        "ServerModelConfig type not supported by HandleReloadConfigRequest."
        " Only ModelConfigList is currently supported",
    )
    assert refusal(good, good)[0] == refusal(no_platform)[0] == refusal(other_platform)[0] == "INVALID_ARGUMENT"
    assert refusal(good, good)[1] == "Illegal to list model default multiple times in config list"
    assert "Illegal setting neither ModelServerConfig::model_type" in refusal(no_platform)[1]
    assert "Illegal to change a model's platform. For model default" in refusal(other_platform)[1]
    assert refusal(model_config("default", Path("relative"), 123)) == (
        "INVALID_ARGUMENT",
        "Expected model default to have an absolute path or URI; got base_path()=relative",
    )
    assert list(stubs.predict(2.0).outputs["y"].float_val) == [3.0]


def test_model_left_out_is_unloaded_at_once(loaded: Target, stubs: Stubs) -> None:
    config = server_config(loaded.folders)
    (place,) = [index for index, model in enumerate(config.model_config_list.config) if model.name == "two_signatures"]
    del config.model_config_list.config[place]
    loaded.reload(config)

    assert stubs.refused("Predict", stubs.predict_request(name="two_signatures")) == (
        "NOT_FOUND",
        "Servable not found for request: Latest(two_signatures)",
    )
    stubs.until(lambda: stubs.states("two_signatures") == {1: "END"})


def test_path_that_is_not_there_leaves_the_old_serving(loaded: Target, stubs: Stubs) -> None:
    folders = loaded.folders
    nowhere = model_config("default", folders.lines.parent / "nowhere", 123, labels={"stable": 123})
    # Another model's new version is there once the server has looked at the disk again.
    loaded.reload(server_config(folders, default=nowhere, lines=model_config("lines", folders.lines, 2, 3)))

    assert list(stubs.predict(2.0).outputs["y"].float_val) == [3.0]
    assert stubs.states("default") == {123: "AVAILABLE"}


def test_label_of_the_gateway_is_never_refused_while_its_version_loads(loaded: Target, stubs: Stubs) -> None:
    if loaded.takes_reloads:
        pytest.skip("a model server refuses such a label, see test_version_and_label_move_in_two_steps")

    def answered() -> tuple[int, int, Any]:
        predicted = stubs.predict(2.0, name="lines", version_label="next").model_spec.version.value
        metadata = stubs.call("GetModelMetadata", stubs.metadata_request(name="lines", version_label="next"))
        body = rest(loaded.rest, "/v1/models/lines/labels/next:predict", {"instances": [[1.0]]})
        return predicted, metadata.model_spec.version.value, body[1]

    before = answered()
    folders = loaded.folders
    loaded.reload(server_config(folders, lines=model_config("lines", folders.lines, 1, 2, 3, labels={"old": 1})))

    assert before == (2, 2, {"predictions": [[2.0]]})
    assert answered() == (3, 3, {"predictions": [[3.0]]})

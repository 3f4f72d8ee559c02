"""Whole configs of a model server: what is read, what is sent, and what is refused before it is sent."""

import pytest

from serving import fleet, wire
from serving.errors import InvalidArgument
from serving.fleet import ModelFiles
from tests.serving.fake_tfs import MODELS_CONFIG


def entry(config: wire.Message, name: str) -> wire.Message:
    return next(entry for entry in config.model_config_list.config if entry.name == name)


def versions(config: wire.Message, name: str) -> list[int]:
    return list(entry(config, name).model_version_policy.specific.versions)


def test_the_models_config_is_read_with_all_it_says() -> None:
    config = fleet.read_config(MODELS_CONFIG)

    assert fleet.model_files(config) == {"digits": ModelFiles("/models/digits", (1, 2, 3), {"stable": 1, "canary": 3})}
    assert entry(config, "bystander").logging_config.sampling_config.sampling_rate == 0.1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model_config_list { config { nme: 'x' } }", "1:30"),
        ("model_config_list {", "can't be read"),
        ("", "must be a model_config_list"),
    ],
)
def test_a_models_config_that_can_not_be_used_is_refused_with_its_place(text: str, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        fleet.read_config(text)


def test_an_import_alone_is_sent_back_as_it_was() -> None:
    imported = fleet.read_config(MODELS_CONFIG)

    assert fleet.desired_config({}, [], imported=imported) == imported


def test_a_bystander_is_kept_to_the_last_field() -> None:
    imported = fleet.read_config(MODELS_CONFIG)

    config = fleet.desired_config({"digits": ModelFiles("/elsewhere", (4, 5), {})}, [("digits", 5)], imported=imported)

    assert entry(config, "bystander") == entry(imported, "bystander")
    assert versions(config, "digits") == [4]
    assert entry(config, "digits").base_path == "/elsewhere"


def test_without_an_import_the_models_make_the_config() -> None:
    config = fleet.desired_config({"digits": ModelFiles("gs://bucket/digits", (1, 2), {"stable": 2})}, [])

    assert versions(config, "digits") == [1, 2]
    assert entry(config, "digits").model_platform == "tensorflow"
    assert dict(entry(config, "digits").version_labels) == {"stable": 2}


def test_a_label_never_points_to_a_retired_version() -> None:
    files = ModelFiles("/m", (1, 2, 3), {"stable": 1, "canary": 3, "stray": 9})

    config = fleet.desired_config({"digits": files}, [("digits", 3)])

    assert dict(entry(config, "digits").version_labels) == {"stable": 1}


def test_labels_of_bystanders_wait_for_their_versions_too() -> None:
    imported = fleet.read_config(MODELS_CONFIG)
    entry(imported, "bystander").version_labels["old"] = 7

    config = fleet.desired_config({}, [], imported=imported, ready={"digits": {1}, "bystander": {8}})

    assert dict(entry(config, "digits").version_labels) == {"stable": 1}
    assert dict(entry(config, "bystander").version_labels) == {}


def test_the_last_version_of_a_model_is_never_taken_out() -> None:
    with pytest.raises(ValueError, match="digits must keep a version"):
        fleet.desired_config({"digits": ModelFiles("/m", (1, 2), {})}, [("digits", 1), ("digits", 2)])


def test_a_version_behind_a_policy_can_not_be_retired_in_silence() -> None:
    with pytest.raises(ValueError, match="version 7 of model bystander"):
        fleet.desired_config({}, [("bystander", 7)], imported=fleet.read_config(MODELS_CONFIG))


def test_retired_versions_of_models_no_longer_served_are_no_trouble() -> None:
    config = fleet.desired_config({"digits": ModelFiles("/m", (1,), {})}, [("long-gone", 1), ("digits", 5)])

    assert versions(config, "digits") == [1]


@pytest.mark.parametrize(("path", "numbers"), [("models/digits", (1,)), ("/m", ()), ("/m", (1, 1)), ("/m", (-1,))])
def test_files_that_no_server_would_take_are_refused(path: str, numbers: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must be"):
        ModelFiles(path, numbers, {})

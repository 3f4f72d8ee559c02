"""Whole configs of a model server: what is read, what changes, and that a bystander is kept to the last byte."""

import pytest

from serving import model_config, wire
from serving.errors import FailedPrecondition, InvalidArgument
from serving.model_config import Desired, ModelFiles
from tests.serving.fake_tfs import MODELS_CONFIG

# A field that no ModelConfig of today has: number 999, a string.
UNKNOWN = b"\xba\x3e\x06future"


def desired(text: str = MODELS_CONFIG, **models: ModelFiles) -> Desired:
    return model_config.seed(models, model_config.read_config(text))


def entry(config: wire.Message, name: str) -> wire.Message:
    return next(entry for entry in config.model_config_list.config if entry.name == name)


def versions(config: wire.Message, name: str) -> list[int]:
    return list(entry(config, name).model_version_policy.specific.versions)


def encoded(config: wire.Message, name: str) -> bytes:
    return bytes(entry(config, name).SerializeToString(deterministic=True))


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
        model_config.read_config(text)


def test_an_import_alone_is_sent_back_as_it_was() -> None:
    imported = model_config.read_config(MODELS_CONFIG)

    assert desired().config() == imported
    assert entry(desired().config(), "bystander").logging_config.sampling_config.sampling_rate == 0.1


def test_models_of_the_configuration_replace_paths_versions_and_labels() -> None:
    config = desired(digits=ModelFiles("/elsewhere", (4, 5), {"stable": 5})).config()

    assert entry(config, "bystander") == entry(model_config.read_config(MODELS_CONFIG), "bystander")
    assert (versions(config, "digits"), entry(config, "digits").base_path) == ([4, 5], "/elsewhere")
    assert dict(entry(config, "digits").version_labels) == {"stable": 5}


def test_without_an_import_the_models_make_the_config() -> None:
    config = model_config.seed({"digits": ModelFiles("gs://bucket/digits", (1, 2), {"stable": 2})}).config()

    assert (versions(config, "digits"), entry(config, "digits").model_platform) == ([1, 2], "tensorflow")


def test_what_later_versions_of_tf_serving_wrote_survives_every_change_byte_for_byte() -> None:
    imported = model_config.read_config(MODELS_CONFIG)
    config = wire.ModelServerConfig()
    for one in imported.model_config_list.config:
        raw = one.SerializeToString(deterministic=True) + UNKNOWN
        config.model_config_list.config.append(wire.ModelConfig.FromString(raw))
    before = Desired(config.SerializeToString())

    after = before.retiring("digits", 3, available=(), label_to=1).loading("digits", 9, available=())

    assert encoded(after.config(), "bystander") == encoded(before.config(), "bystander")
    assert UNKNOWN in encoded(after.config(), "bystander")
    assert UNKNOWN in encoded(after.config(), "digits")
    assert versions(after.config(), "digits") == [1, 2, 9]


def test_labels_of_a_retired_version_move_to_the_one_that_serves() -> None:
    config = desired().retiring("digits", 3, available=(), label_to=2).config()

    assert versions(config, "digits") == [1, 2]
    assert dict(entry(config, "digits").version_labels) == {"stable": 1, "canary": 2}


def test_label_without_a_place_to_go_is_left_out_and_comes_back_with_its_version() -> None:
    retired = desired().retiring("digits", 3, available=(), label_to=None)
    assert dict(entry(retired.config(), "digits").version_labels) == {"stable": 1}

    restored = retired.loading("digits", 3, available=())

    assert restored.config() == desired().config()


def test_labels_that_are_known_are_named_even_when_nobody_bears_them() -> None:
    retired = desired().retiring("digits", 3, available=(), label_to=None)

    assert retired.labels() == {"digits": ("canary", "stable")}


def test_the_last_version_of_a_model_is_never_taken_out() -> None:
    one_left = desired().retiring("digits", 1, available=(), label_to=2).retiring("digits", 3, available=(), label_to=2)

    with pytest.raises(FailedPrecondition, match="digits must keep a version, 2 is its last"):
        one_left.retiring("digits", 2, available=(), label_to=None)


def test_retiring_behind_a_policy_lists_what_is_loaded_and_keeps_the_rest() -> None:
    config = desired().retiring("bystander", 7, available={7, 8, 9}, label_to=None).config()

    assert versions(config, "bystander") == [8, 9]


def test_version_that_all_serves_by_itself_changes_nothing() -> None:
    assert desired().loading("bystander", 8, available={7, 8}) == desired()


def test_new_version_beside_the_latest_pushes_no_old_one_out() -> None:
    latest = 'model_config_list { config { name: "m" base_path: "/m" model_platform: "tensorflow" } }'

    config = desired(latest).loading("m", 5, available={4}).config()

    assert versions(config, "m") == [4, 5]


def test_model_that_nobody_wrote_down_can_not_be_loaded_without_its_path() -> None:
    with pytest.raises(FailedPrecondition, match="model new is not in the config of this backend"):
        desired().loading("new", 1, available=())

    config = desired().loading("new", 1, available=(), base_path="/models/new").config()

    assert (versions(config, "new"), entry(config, "new").base_path) == ([1], "/models/new")


def test_asking_twice_changes_nothing_more() -> None:
    once = desired().retiring("digits", 3, available=(), label_to=1).loading("digits", 9, available=())

    assert once.retiring("digits", 3, available=(), label_to=2).loading("digits", 9, available=()) == once


@pytest.mark.parametrize(("path", "numbers"), [("models/digits", (1,)), ("/m", ()), ("/m", (1, 1)), ("/m", (-1,))])
def test_files_that_no_server_would_take_are_refused(path: str, numbers: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must be"):
        ModelFiles(path, numbers, {})

import re
from pathlib import Path

import pytest

from serving import wire
from serving.errors import InvalidArgument
from serving.local.config import (
    ModelSource,
    VersionPolicy,
    check_platforms,
    check_runnable,
    find_versions,
    one_model,
    read_config,
    read_config_file,
)

TEXT = """
model_config_list {
  config {
    name: "digits" base_path: "/models/digits" model_platform: "tensorflow"
    model_version_policy { specific { versions: 1 versions: 3 } }
    version_labels { key: "stable" value: 1 }
  }
  config { name: "old" base_path: "gs://bucket/old" model_type: TENSORFLOW model_version_policy { all {} } }
  config { name: "plain" base_path: "/models/plain" model_platform: "tensorflow" }
  config { name: "two" base_path: "/models/two" model_platform: "tensorflow" model_version_policy { latest { num_versions: 2 } } }
}
"""


def one(**fields: str) -> wire.Message:
    config = wire.ModelServerConfig()
    config.model_config_list.config.add(**{"name": "m", "base_path": "/m", "model_platform": "tensorflow"} | fields)
    return config


def test_config_file_gives_every_models_source(tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    file.write_text(TEXT)

    sources = read_config(read_config_file(file))

    assert sources == {
        "digits": ModelSource(
            "digits", "/models/digits", VersionPolicy("specific", specific=frozenset({1, 3})), {"stable": 1}
        ),
        "old": ModelSource("old", "gs://bucket/old", VersionPolicy("all")),
        "plain": ModelSource("plain", "/models/plain", VersionPolicy("latest", latest=1)),
        "two": ModelSource("two", "/models/two", VersionPolicy("latest", latest=2)),
    }


@pytest.mark.parametrize(
    ("policy", "chosen"),
    [
        (VersionPolicy(), {7}),
        (VersionPolicy("latest", latest=2), {7, 3}),
        (VersionPolicy("latest", latest=9), {1, 3, 7}),
        (VersionPolicy("all"), {1, 3, 7}),
        (VersionPolicy("specific", specific=frozenset({1, 2})), {1}),
        (VersionPolicy("specific"), set()),
    ],
)
def test_policy_chooses_among_what_is_on_disk(policy: VersionPolicy, chosen: set[int]) -> None:
    assert policy.choose({7, 1, 3}) == chosen


def test_no_version_on_disk_means_none_is_wanted() -> None:
    assert VersionPolicy().choose([]) == frozenset()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (wire.ModelServerConfig(), "ServerModelConfig type not supported by HandleReloadConfigRequest."),
        (one(base_path="models/m"), "Expected model m to have an absolute path or URI; got base_path()=models/m"),
        (one(base_path=""), "Expected model m to have an absolute path or URI; got base_path()="),
        (one(model_platform=""), "Illegal setting neither ModelServerConfig::model_type"),
        (one(model_type="TENSORFLOW"), "Illegal setting both ModelServerConfig::model_type"),
    ],
)
def test_wrong_config_is_refused_with_tf_servings_words(config: wire.Message, message: str) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(message)):
        read_config(config)


def test_model_listed_twice_is_refused() -> None:
    config = one()
    config.model_config_list.config.add(name="m", base_path="/other", model_platform="tensorflow")

    with pytest.raises(InvalidArgument, match="Illegal to list model m multiple times in config list"):
        read_config(config)


def test_empty_list_is_a_config_of_no_models() -> None:
    config = wire.ModelServerConfig()
    config.model_config_list.SetInParent()

    assert read_config(config) == {}


def test_platform_may_not_change_and_must_be_tensorflow() -> None:
    before = {"m": ModelSource("m", "/m")}
    after = {"m": ModelSource("m", "/m", platform="other")}

    with pytest.raises(
        InvalidArgument, match=r"Illegal to change a model's platform\. For model m platform was tensor"
    ):
        check_platforms(before, after)
    with pytest.raises(InvalidArgument, match=r"no entry for platform other .*runs tensorflow only"):
        check_runnable(after)
    check_platforms({}, after)
    check_runnable(before)


@pytest.mark.parametrize("text", ["model_config_list { config { nme: 'x' } }", "{", "\x00"])
def test_config_file_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "models.config"
    file.write_text(text)

    with pytest.raises(ValueError, match=r"models\.config is no ModelServerConfig"):
        read_config_file(file)


def test_missing_config_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"can't be read: .*nowhere"):
        read_config_file(tmp_path / "nowhere")


def test_one_model_is_the_latest_version_of_its_path() -> None:
    assert read_config(one_model("m", "/m")) == {"m": ModelSource("m", "/m")}


def test_only_whole_numbers_are_versions(tmp_path: Path) -> None:
    for name in ("1", "00002", "3.tmp", "v4", "-5", "٦", "9" * 19, "9" * 20, ".7"):
        (tmp_path / name).mkdir()

    assert find_versions(ModelSource("m", f"file://{tmp_path}")) == {
        1: str(tmp_path / "1"),
        2: str(tmp_path / "00002"),
    }

"""What a model server is asked to serve: its configuration, checked as tensorflow_model_server checks it.

Source of the rules and texts: tensorflow_serving/model_servers/server_core.cc and
sources/storage_path/file_system_storage_path_source.cc (commit 9d981c5c).
"""

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from google.protobuf import text_format

from serving import wire
from serving.errors import InvalidArgument

# `ModelConfig.model_type` before there was `model_platform`; 1 is ModelType.TENSORFLOW.
_OLD_MODEL_TYPES: Final = {0: "", 1: "tensorflow"}
PLATFORM: Final = "tensorflow"

_URI: Final = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_INT64_MAX: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class VersionPolicy:
    """Which of the versions on disk are wanted: the `latest` so many, `all`, or the `specific` ones."""

    kind: str = "latest"
    latest: int = 1
    specific: frozenset[int] = frozenset()

    def choose(self, found: Collection[int]) -> frozenset[int]:
        """Return the versions wanted out of those found on disk."""
        if self.kind == "all":
            return frozenset(found)
        if self.kind == "specific":
            return self.specific & frozenset(found)
        return frozenset(sorted(found)[-self.latest :])


@dataclass(frozen=True, slots=True)
class ModelSource:
    """One model of the configuration: where its versions lie, which are wanted, and their labels."""

    name: str
    base_path: str
    policy: VersionPolicy = VersionPolicy()
    labels: Mapping[str, int] = field(default_factory=dict)
    platform: str = PLATFORM


def read_config(config: wire.Message) -> dict[str, ModelSource]:
    """Return the models of a ModelServerConfig by name; InvalidArgument with TF Serving's text when it is wrong."""
    if config.WhichOneof("config") != "model_config_list":
        raise InvalidArgument(
            "ServerModelConfig type not supported by HandleReloadConfigRequest."
            " Only ModelConfigList is currently supported"
        )
    sources: dict[str, ModelSource] = {}
    for model in config.model_config_list.config:
        source = _read_model(model)
        if source.name in sources:
            raise InvalidArgument(f"Illegal to list model {source.name} multiple times in config list")
        sources[source.name] = source
    return sources


def check_platforms(old: Mapping[str, ModelSource], new: Mapping[str, ModelSource]) -> None:
    """Raise InvalidArgument when a model served already would change its platform."""
    for name in old.keys() & new.keys():
        before, after = old[name].platform, new[name].platform
        if before != after:
            raise InvalidArgument(
                f"Illegal to change a model's platform. For model {name} platform was {before}"
                f" and new platform requested is {after}"
            )


def check_runnable(sources: Mapping[str, ModelSource]) -> None:
    """Raise InvalidArgument when a model names a platform that this server has no engine for."""
    for source in sources.values():
        if source.platform != PLATFORM:
            raise InvalidArgument(
                f"PlatformConfigMap has no entry for platform {source.platform} (model {source.name});"
                f" this server runs {PLATFORM} only"
            )


def read_config_file(path: Path) -> wire.Message:
    """Read a ModelServerConfig in text format; ValueError says which file, line and field are wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"the model config file can't be read: {error}") from error
    try:
        return text_format.Parse(text, wire.ModelServerConfig())
    except text_format.ParseError as error:
        raise ValueError(f"{path} is no ModelServerConfig in protobuf's text format: {error}") from error


def one_model(name: str, base_path: str) -> wire.Message:
    """Return the configuration that --model_name and --model_base_path stand for."""
    config = wire.ModelServerConfig()
    config.model_config_list.config.add(name=name, base_path=base_path, model_platform=PLATFORM)
    return config


def find_versions(source: ModelSource) -> dict[int, str]:
    """Return the path of each version below the model's base path; OSError when that can't be listed.

    A version is a child whose whole name is a number, as in TF Serving; anything else is passed over, so that a
    version still being copied can wait under another name.
    """
    versions: dict[int, str] = {}
    with os.scandir(source.base_path.removeprefix("file://")) as children:
        for child in sorted(children, key=lambda entry: entry.name):
            if child.name.isascii() and child.name.isdigit() and int(child.name) <= _INT64_MAX:
                versions.setdefault(int(child.name), child.path)
    return versions


def _read_model(model: wire.Message) -> ModelSource:
    if not (model.base_path.startswith("/") or _URI.match(model.base_path)):
        raise InvalidArgument(
            f"Expected model {model.name} to have an absolute path or URI; got base_path()={model.base_path}"
        )
    return ModelSource(
        name=model.name,
        base_path=model.base_path,
        policy=_read_policy(model),
        labels=dict(model.version_labels),
        platform=_read_platform(model),
    )


def _read_platform(model: wire.Message) -> str:
    old = _OLD_MODEL_TYPES.get(model.model_type, "other")
    if old and model.model_platform:
        raise InvalidArgument(
            "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform."
        )
    if not old and not model.model_platform:
        raise InvalidArgument(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform."
        )
    return str(model.model_platform or old)


def _read_policy(model: wire.Message) -> VersionPolicy:
    policy = model.model_version_policy
    kind = policy.WhichOneof("policy_choice")
    if kind == "specific":
        return VersionPolicy(kind="specific", specific=frozenset(policy.specific.versions))
    if kind == "all":
        return VersionPolicy(kind="all")
    # num_versions 0 is the field left out, and means 1.
    return VersionPolicy(kind="latest", latest=max(1, policy.latest.num_versions))

"""A stand-in for TensorFlow's engine, and configurations in few words, for tests of what is around the engine."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from serving import wire
from serving.errors import BackendError, Code
from serving.local.config import ModelSource, VersionPolicy


class StandInEngine:
    """Answers with an empty response, once `gate` is open; remembers that it was entered, and closed."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.signatures: Mapping[str, Any] = {}
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.is_closed = False

    def predict(self, request: wire.Message) -> wire.Message:
        assert not self.is_closed
        self.entered.set()
        assert self.gate.wait(10)
        return wire.PredictResponse()

    def run(self, feeds: tuple[str, ...], fetches: tuple[str, ...], inputs: Sequence[Any]) -> Sequence[Any]:
        raise NotImplementedError

    def close(self) -> None:
        assert not self.is_closed
        self.is_closed = True


class Loader:
    """Makes stand-ins; fails for a version whose folder holds a file `broken`, whose text is the message."""

    def __init__(self) -> None:
        self.loaded: list[StandInEngine] = []

    def __call__(self, path: str) -> StandInEngine:
        broken = Path(path, "broken")
        if broken.exists():
            raise BackendError(Code.NOT_FOUND, broken.read_text())
        if Path(path, "bug").exists():
            raise ZeroDivisionError("a bug")
        self.loaded.append(StandInEngine(path))
        return self.loaded[-1]

    def closed(self) -> list[str]:
        """Name those unloaded, as model/version, in the order they were loaded."""
        return ["/".join(Path(engine.path).parts[-2:]) for engine in self.loaded if engine.is_closed]


def put(base: Path, *versions: int) -> Path:
    """Make folders of versions below `base`, and return it."""
    for version in versions:
        (base / str(version)).mkdir(parents=True, exist_ok=True)
    return base


def specific(name: str, base: Path, *versions: int, labels: Mapping[str, int] | None = None) -> ModelSource:
    return ModelSource(name, str(base), VersionPolicy("specific", specific=frozenset(versions)), labels=labels or {})


def configured(*sources: ModelSource) -> dict[str, ModelSource]:
    return {source.name: source for source in sources}


def as_message(*sources: ModelSource) -> wire.Message:
    """Write sources with specific versions as a ModelServerConfig."""
    config = wire.ModelServerConfig()
    models = config.model_config_list
    models.SetInParent()
    for source in sources:
        model = models.config.add(name=source.name, base_path=source.base_path, model_platform=source.platform)
        model.model_version_policy.specific.versions.extend(sorted(source.policy.specific))
        for label, version in source.labels.items():
            model.version_labels[label] = version
    return config


def spec(name: str, version: int | None = None, label: str | None = None) -> wire.Message:
    result = wire.ModelSpec(name=name)
    if version is not None:
        result.version.value = version
    if label is not None:
        result.version_label = label
    return result

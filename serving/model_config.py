"""The config of a whole model server: imported once, then changed one version at a time, always told whole.

TF Serving has no call to read its config and none to change one model: a reload replaces everything, and what it leaves
out is unloaded. So the wanted config is kept here; models that nobody changed stay in it byte for byte, unknown fields
included.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from google.protobuf import text_format

from serving import wire
from serving.errors import FailedPrecondition, InvalidArgument

_PLATFORM = "tensorflow"


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Where a model lies, which of its versions are to be served, and which labels they bear."""

    base_path: str
    versions: tuple[int, ...]
    labels: Mapping[str, int]

    def __post_init__(self) -> None:
        # The server's own rule; it refuses the whole config otherwise.
        if not (self.base_path.startswith("/") or "://" in self.base_path):
            raise ValueError(f"base_path must be an absolute path or a URI, got {self.base_path!r}")
        if not self.versions or min(self.versions) < 0 or len(set(self.versions)) < len(self.versions):
            raise ValueError(f"versions must be a non-empty list of different numbers >= 0, got {self.versions}")


@dataclass(frozen=True, slots=True)
class Changes:
    """What was changed of one model since the import.

    `loaded` are versions added; for a model whose versions the server chose (`latest`, `all`) all that it is to have.
    `retired` are taken out, whatever the import says. `labels` were moved. `base_path` is set for a model that the
    import does not know.
    """

    loaded: tuple[int, ...] = ()
    retired: tuple[int, ...] = ()
    labels: Mapping[str, int] = field(default_factory=dict)
    base_path: str = ""


@dataclass(frozen=True, slots=True)
class Desired:
    """What one managed backend is to serve: the imported ModelServerConfig, serialised, and what was changed since."""

    imported: bytes
    changes: Mapping[str, Changes] = field(default_factory=dict)

    def config(self) -> wire.Message:
        """Return the whole ModelServerConfig. Models without changes are in it byte for byte."""
        config = wire.ModelServerConfig.FromString(self.imported)
        known = {entry.name: entry for entry in config.model_config_list.config}
        for name, changes in self.changes.items():
            entry = known.get(name)
            if entry is None:
                entry = config.model_config_list.config.add(
                    name=name, base_path=changes.base_path, model_platform=_PLATFORM
                )
            _apply(entry, changes)
        return config

    def versions(self, model: str) -> tuple[int, ...] | None:
        """Return the versions of a model that are wanted by number; None where the server chooses among its files."""
        for entry in self.config().model_config_list.config:
            if entry.name == model:
                listed = tuple(entry.model_version_policy.specific.versions)
                return listed if self._policy(model) == "specific" else None
        return ()

    def loading(self, model: str, version: int, *, available: Collection[int], base_path: str = "") -> "Desired":
        """Return it with a version wanted; `available` are those of the model that are loaded now.

        A model whose versions the server chose gets them listed, so that the new one can't push an old one out. One
        that the import does not know needs its `base_path`. FailedPrecondition when that is missing.
        """
        listed = self.versions(model)
        if version in (listed or ()) or (self._policy(model) == "all" and version in available):
            return self
        changes = self.changes.get(model, Changes())
        if listed == () and not base_path:
            raise FailedPrecondition(f"model {model} is not in the config of this backend: it must be written there")
        loaded = {*changes.loaded, version} if listed is not None else {*available, version}
        return self._changed(
            model,
            replace(
                changes,
                loaded=tuple(sorted(loaded)),
                retired=tuple(one for one in changes.retired if one != version),
                base_path=changes.base_path or base_path,
            ),
        )

    def retiring(self, model: str, version: int, *, available: Collection[int], label_to: int | None) -> "Desired":
        """Return it without a version, its labels moved to the version `label_to`, if that is served here.

        FailedPrecondition when nothing of the model would be left: requests by name would fail.
        """
        listed = self.versions(model)
        if listed is not None and version not in listed:
            return self
        changes = self.changes.get(model, Changes())
        kept = set(available if listed is None else listed) - {version}
        if not kept:
            raise FailedPrecondition(f"model {model} must keep a version, {version} is its last")
        labels = dict(changes.labels)
        if label_to in kept:
            now = self._labels(model)
            labels |= {label: label_to for label, to in now.items() if to == version and label_to is not None}
        loaded = kept if listed is None else set(changes.loaded) - {version}
        retired = tuple(sorted({*changes.retired, version}))
        return self._changed(model, replace(changes, loaded=tuple(sorted(loaded)), retired=retired, labels=labels))

    def labels(self) -> dict[str, tuple[str, ...]]:
        """Return the labels that each model has, or had at the import."""
        config = wire.ModelServerConfig.FromString(self.imported)
        names = {entry.name: set(entry.version_labels) for entry in config.model_config_list.config}
        for model, changes in self.changes.items():
            names.setdefault(model, set()).update(changes.labels)
        return {model: tuple(sorted(labels)) for model, labels in names.items() if labels}

    def models(self) -> tuple[str, ...]:
        """Return the names of all models."""
        return tuple(entry.name for entry in self.config().model_config_list.config)

    def _policy(self, model: str) -> str:
        """Return which versions of its files a model serves; no policy at all is TF Serving's `latest`."""
        for entry in self.config().model_config_list.config:
            if entry.name == model:
                return str(entry.model_version_policy.WhichOneof("policy_choice") or "latest")
        return ""

    def _labels(self, model: str) -> dict[str, int]:
        for entry in self.config().model_config_list.config:
            if entry.name == model:
                return dict(entry.version_labels)
        return {}

    def _changed(self, model: str, changes: Changes) -> "Desired":
        return replace(self, changes={**self.changes, model: changes})


def _apply(entry: wire.Message, changes: Changes) -> None:
    """Put one model's changes into its ModelConfig."""
    policy = entry.model_version_policy
    if policy.WhichOneof("policy_choice") == "specific" or changes.loaded:
        listed = dict.fromkeys((*policy.specific.versions, *changes.loaded))
        policy.specific.versions[:] = [version for version in listed if version not in changes.retired]
        if not policy.specific.versions:
            raise FailedPrecondition(f"model {entry.name} must keep a version, all of {list(listed)} are retired")
    for label, version in changes.labels.items():
        entry.version_labels[label] = version
    if policy.WhichOneof("policy_choice") == "specific":
        for label in [one for one, to in entry.version_labels.items() if to not in policy.specific.versions]:
            del entry.version_labels[label]


def read_config(text: str) -> wire.Message:
    """Read a server's models.config (protobuf text) as a ModelServerConfig; InvalidArgument says line and column."""
    config = wire.ModelServerConfig()
    try:
        # The pool is named so that Any values inside (custom loggers) are looked up among TF Serving's messages.
        text_format.Parse(text, config, descriptor_pool=config.DESCRIPTOR.file.pool)
    except text_format.ParseError as error:
        raise InvalidArgument(f"the models.config can't be read as a ModelServerConfig: {error}") from error
    if config.WhichOneof("config") != "model_config_list":
        raise InvalidArgument("the models.config must be a model_config_list; a reload takes nothing else")
    return config


def seed(models: Mapping[str, ModelFiles], imported: wire.Message | None = None) -> Desired:
    """Begin with a server's own config, if there is one, and the models written for it in the configuration.

    Of a model that is in both, path, versions and labels are those of the configuration.
    """
    config = wire.ModelServerConfig()
    if imported is not None:
        config.CopyFrom(imported)
    entries = {entry.name: entry for entry in config.model_config_list.config}
    for name, files in models.items():
        entry = entries.get(name)
        if entry is None:
            entry = config.model_config_list.config.add(name=name, model_platform=_PLATFORM)
        entry.base_path = files.base_path
        entry.model_version_policy.specific.versions[:] = files.versions
        entry.version_labels.clear()
        entry.version_labels.update(files.labels)
    return Desired(config.SerializeToString(deterministic=True))

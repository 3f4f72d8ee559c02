"""A backend's model servers: what each has loaded, and the whole config that makes them load what we want.

TF Serving has no call to read its config and none to change one model: a reload replaces everything, answers before the
versions have changed, and is forgotten when the server restarts. So the wanted config is built here, whole, from what
is wanted and what a replica has ready; callers look at the status of every replica and send again what is not yet so.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf import text_format

from serving import wire
from serving.errors import BackendError, Code, InternalError, InvalidArgument, ServingError
from serving.upstream import Upstream

_PLATFORM = "tensorflow"


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """What a model server says of one version: its state (`wire.AVAILABLE` …) and its error, empty when there is none."""

    version: int
    state: int
    error: str

    @property
    def has_failed(self) -> bool:
        """Loading was given up: the state is END, with an error."""
        return self.state == wire.END and bool(self.error)


# All versions of one model that a server has ever seen, those at END included; empty when it does not know the model.
Statuses = Mapping[int, VersionStatus]


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


def is_available(statuses: Statuses, version: int) -> bool:
    """Whether the server answers predictions of this version now."""
    return version in statuses and statuses[version].state == wire.AVAILABLE


def is_gone(statuses: Statuses, version: int) -> bool:
    """Whether the server is proved to have unloaded this version, or never to have loaded it.

    Proof is END. A server that was restarted without the version does not list it: that counts only when another
    version of the model is AVAILABLE there, since a server that is still starting lists nothing at all.
    """
    if version in statuses:
        return statuses[version].state == wire.END
    return bool(available(statuses))


def available(statuses: Statuses) -> frozenset[int]:
    """Return the versions that the server answers predictions of now."""
    return frozenset(version for version, status in statuses.items() if status.state == wire.AVAILABLE)


def everywhere(replicas: Sequence[Statuses | None], holds: Callable[[Statuses, int], bool], version: int) -> bool:
    """Whether `is_gone` or `is_available` holds on every replica of a `survey`; without an answer it does not."""
    # No replica at all proves nothing, hence not all(()).
    return bool(replicas) and all(statuses is not None and holds(statuses, version) for statuses in replicas)


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


def model_files(config: wire.Message) -> dict[str, ModelFiles]:
    """Return the models of a config whose versions are listed (policy `specific`).

    What `latest` and `all` serve is decided by the files on the server, so these models are left out.
    """
    return {
        entry.name: ModelFiles(
            entry.base_path, tuple(entry.model_version_policy.specific.versions), dict(entry.version_labels)
        )
        for entry in config.model_config_list.config
        if entry.model_version_policy.specific.versions
    }


def desired_config(
    models: Mapping[str, ModelFiles],
    retired: Collection[tuple[str, int]],
    *,
    imported: wire.Message | None = None,
    ready: Mapping[str, Collection[int]] | None = None,
) -> wire.Message:
    """Build the ModelServerConfig of the whole server: all models, without the retired (model, version) pairs.

    `imported` is the server's own config: its models stay as they are, bystanders byte for byte; of one that is also in
    `models` the versions and labels are replaced. A label whose version is retired is left out, never moved.
    `ready` are the versions AVAILABLE on the replica this is for: the server refuses a whole config in which a label
    points to another, so such a label waits for the next config. None: all labels are sent.
    ValueError, before anything is sent, when nothing of a model would be left (an empty list would make the server
    unload it, and requests would fail), or when a retired version hides behind a `latest` or `all` policy.
    """
    config = wire.ModelServerConfig()
    if imported is not None:
        config.CopyFrom(imported)
    entries = {entry.name: entry for entry in config.model_config_list.config}
    wanted = model_files(config) | dict(models)
    for name, files in wanted.items():
        kept = [version for version in files.versions if (name, version) not in retired]
        if not kept:
            raise ValueError(f"model {name} must keep a version, all of {files.versions} are retired")
        entry = entries.get(name)
        if entry is None:
            entry = config.model_config_list.config.add(name=name, model_platform=_PLATFORM)
        entry.base_path = files.base_path
        entry.model_version_policy.specific.versions[:] = kept
        entry.version_labels.clear()
        entry.version_labels.update({label: to for label, to in files.labels.items() if to in kept})
    if ready is not None:
        for entry in config.model_config_list.config:
            serving = ready.get(entry.name, ())
            for label in [label for label, version in entry.version_labels.items() if version not in serving]:
                del entry.version_labels[label]
    for name, version in retired:
        if name in entries and name not in wanted:
            raise ValueError(f"version {version} of model {name} can't be retired: its versions must be listed first")
    return config


async def status(upstream: Upstream, model: str, timeout_s: float) -> dict[int, VersionStatus]:
    """Ask one replica for the states of all versions of a model; empty when the server does not know the model."""
    request = wire.GetModelStatusRequest(model_spec={"name": model})
    try:
        answer = await _call(upstream, wire.GET_MODEL_STATUS, request, wire.GetModelStatusResponse, timeout_s)
    except BackendError as error:
        if error.code is Code.NOT_FOUND:
            return {}
        raise
    return {
        entry.version: VersionStatus(entry.version, entry.state, _status_text(entry.status))
        for entry in answer.model_version_status
    }


async def survey(upstreams: Sequence[Upstream], model: str, timeout_s: float) -> list[dict[int, VersionStatus] | None]:
    """Ask all replicas at once, in their order; None for one that gave no answer."""

    async def ask(upstream: Upstream) -> dict[int, VersionStatus] | None:
        try:
            return await status(upstream, model, timeout_s)
        except ServingError:
            return None

    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(ask(upstream), name=f"status {upstream.address}") for upstream in upstreams]
    return [task.result() for task in asked]


async def metadata(upstream: Upstream, model: str, version: int | None, timeout_s: float) -> dict[str, wire.Message]:
    """Ask one replica for the SignatureDefs of a version (None: its latest), by signature name."""
    request = wire.GetModelMetadataRequest(model_spec={"name": model}, metadata_field=["signature_def"])
    if version is not None:
        request.model_spec.version.value = version
    answer = await _call(upstream, wire.GET_MODEL_METADATA, request, wire.GetModelMetadataResponse, timeout_s)
    if "signature_def" not in answer.metadata:
        raise InternalError(f"{upstream.address} answered no signature_def for {model}, but {sorted(answer.metadata)}")
    packed = answer.metadata["signature_def"].value
    return dict(_read(wire.SignatureDefMap, packed, upstream.address).signature_def)


async def reload(upstream: Upstream, config: wire.Message, timeout_s: float) -> None:
    """Replace the config of one replica; what it says afterwards in `status` is the proof, not this answer.

    BackendError when the server refuses it; part of it may then be stored all the same: send the whole again.
    DeadlineExceeded means unknown: the server waits without limit for a model that is new to it, so 30-60 s are apt,
    and polling goes on. ValueError when the config would unload all versions of a model, or everything.
    """
    entries = config.model_config_list.config
    if not entries:
        raise ValueError("a config without models would unload everything: it must list every model of the server")
    for entry in entries:
        policy = entry.model_version_policy
        if policy.WhichOneof("policy_choice") == "specific" and not policy.specific.versions:
            raise ValueError(f"model {entry.name} must list a version: an empty list would unload all of it")
    request = wire.ReloadConfigRequest(config=config)
    answer = await _call(upstream, wire.RELOAD_CONFIG, request, wire.ReloadConfigResponse, timeout_s)
    if answer.status.error_code:
        raise BackendError(Code.from_number(answer.status.error_code), answer.status.error_message)


async def _call(
    upstream: Upstream, method: str, request: wire.Message, answer_class: Any, timeout_s: float
) -> wire.Message:
    return _read(answer_class, await upstream.call(method, request.SerializeToString(), timeout_s), upstream.address)


def _read(message_class: Any, body: bytes, address: str) -> wire.Message:
    """Parse what a backend sent; a fault there is no fault of a client's, as `wire.parse` would have it."""
    try:
        return wire.parse(message_class, body)
    except InvalidArgument as error:
        raise InternalError(f"{address} sent an answer that can't be read: {error}") from error


def _status_text(status_proto: wire.Message) -> str:
    """Return the error of a StatusProto in words, empty when its code is OK."""
    if not status_proto.error_code:
        return ""
    return f"{Code.from_number(status_proto.error_code).name}: {status_proto.error_message}"

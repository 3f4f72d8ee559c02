"""A backend's model servers: what each has loaded, and how it is told what to load.

A reload replaces the whole config of a server, answers before the versions have changed, and is forgotten when the server
restarts: callers look at every replica again and again, and send anew what is not yet so (`serving.reconcile`).
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from serving import wire
from serving.errors import BackendError, Code, InternalError, InvalidArgument, ServingError
from serving.upstream import Upstream


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
class Sight:
    """What one replica says: the versions of each model with their states, where its labels lead, and the signatures of
    (model, version), serialised."""

    statuses: Mapping[str, Statuses]
    labels: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    signatures: Mapping[tuple[str, int], bytes] = field(default_factory=dict)

    def of(self, model: str) -> Statuses:
        """Return a model's versions, empty when the server does not know it."""
        return self.statuses.get(model, {})


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


async def look(
    upstream: Upstream,
    models: Collection[str],
    timeout_s: float,
    *,
    labels: Mapping[str, Collection[str]] = {},
    versions: Collection[tuple[str, int]] = (),
) -> Sight | ServingError:
    """Ask one replica about all of these models at once, about their `labels`, and for the signatures of `versions` that
    are loaded; return the error when any answer is missing, since half a sight proves nothing."""
    try:
        return await _look(upstream, models, timeout_s, labels, versions)
    except* ServingError as group:
        error = _first(group)
    return error


def _first(group: BaseExceptionGroup[ServingError]) -> ServingError:
    error = group.exceptions[0]
    return error if isinstance(error, ServingError) else _first(error)


async def _look(
    upstream: Upstream,
    models: Collection[str],
    timeout_s: float,
    labels: Mapping[str, Collection[str]],
    versions: Collection[tuple[str, int]],
) -> Sight:
    async with asyncio.TaskGroup() as tasks:
        asked = {
            model: tasks.create_task(status(upstream, model, timeout_s), name=f"status {upstream.address}")
            for model in models
        }
        led = {
            (model, label): tasks.create_task(leads_to(upstream, model, label, timeout_s), name=f"label {label}")
            for model, some in labels.items()
            for label in some
        }
    statuses = {model: task.result() for model, task in asked.items()}
    found: dict[str, dict[str, int]] = {}
    for (model, label), led_to in led.items():
        if (version := led_to.result()) is not None:
            found.setdefault(model, {})[label] = version
    loaded = [(model, one) for model, one in versions if is_available(statuses.get(model, {}), one)]
    async with asyncio.TaskGroup() as tasks:
        signed = {
            place: tasks.create_task(metadata(upstream, *place, timeout_s), name=f"metadata {upstream.address}")
            for place in loaded
        }
    return Sight(statuses, found, {place: _flat(task.result()) for place, task in signed.items()})


async def leads_to(upstream: Upstream, model: str, label: str, timeout_s: float) -> int | None:
    """Ask one replica for the version that a label leads to; None when it has no such label, or none that serves."""
    request = wire.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name, request.model_spec.version_label = model, label
    try:
        answer = await _call(upstream, wire.GET_MODEL_METADATA, request, wire.GetModelMetadataResponse, timeout_s)
    except BackendError as error:
        if error.code in (Code.NOT_FOUND, Code.INVALID_ARGUMENT):
            return None
        raise
    return int(answer.model_spec.version.value)


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


def difference(signatures: bytes, wanted: bytes, name: str) -> str:
    """Say how the serialised signatures of `name` differ from those of control, empty when they do not."""
    if signatures == wanted:
        return ""
    ours, control = (dict(wire.SignatureDefMap.FromString(one).signature_def) for one in (signatures, wanted))
    if ours.keys() != control.keys():
        return f"{name} has other signatures than control: {sorted(ours)} against {sorted(control)}"
    for key, signature in ours.items():
        for side in ("inputs", "outputs"):
            found, asked = (_tensors(getattr(one, side)) for one in (signature, control[key]))
            if found != asked:
                return f"{name} has other signatures than control: {side} of {key} are {found} against {asked}"
    return f"{name} has other signatures than control: other methods, defaults or encodings"


def _tensors(tensors: Mapping[str, wire.Message]) -> str:
    """Show inputs or outputs by name, type and shape."""
    return ", ".join(
        f"{key}: dtype {info.dtype} [{', '.join(str(dim.size) for dim in info.tensor_shape.dim)}]"
        for key, info in sorted(tensors.items())
    )


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


def _flat(signatures: Mapping[str, wire.Message]) -> bytes:
    """Serialise signatures, equal ones to equal bytes; without the names of tensors inside the graph, which every
    training gives anew and no client sees."""
    flat = wire.SignatureDefMap(signature_def=signatures)
    for signature in flat.signature_def.values():
        for info in (*signature.inputs.values(), *signature.outputs.values()):
            if info.WhichOneof("encoding") == "name":
                info.name = ""
    return bytes(flat.SerializeToString(deterministic=True))


def _status_text(status_proto: wire.Message) -> str:
    """Return the error of a StatusProto in words, empty when its code is OK."""
    if not status_proto.error_code:
        return ""
    return f"{Code.from_number(status_proto.error_code).name}: {status_proto.error_message}"

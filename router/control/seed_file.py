"""The files that something was seeded from: afterwards the store is the truth, and a changed file is warned about."""

from typing import Any

import msgspec
import structlog
from google.protobuf import json_format

from router.config.differences import differences
from router.config.experiment import Experiment
from router.store import Record
from serving import wire

log = structlog.get_logger(__name__)


class _Specified(msgspec.Struct):
    """As much of a stored experiment as is compared with its file."""

    spec: dict[str, Any]


def warn_of_changes(spec: Experiment, record: Record) -> None:
    """Warn of an experiment's file that says something else than the store, which holds."""
    stored = msgspec.json.decode(record.document, type=_Specified).spec
    changes = differences(stored, spec.model_dump(mode="json"))
    if changes:
        log.warning(
            "experiment file ignored: the store holds another version of it",
            experiment=spec.name,
            differences=[str(change) for change in changes],
        )


def warn_of_changed_models(backend: str, imported: bytes, file: bytes) -> None:
    """Warn of a models.config that says something else than when it was imported; both are serialised."""
    changes = differences(_as_json(imported), _as_json(file))
    if changes:
        log.warning(
            "models.config ignored: it was imported before, and the store holds what the backend is to serve",
            backend=backend,
            differences=[str(change) for change in changes],
        )


def _as_json(config: bytes) -> dict[str, Any]:
    """Return a ModelServerConfig with its models by name, in which Any values are looked up among TF Serving's messages."""
    message = wire.ModelServerConfig.FromString(config)
    found: dict[str, Any] = json_format.MessageToDict(
        message, preserving_proto_field_name=True, descriptor_pool=message.DESCRIPTOR.file.pool
    )
    return {"models": found.get("model_config_list", {}).get("config", [])}

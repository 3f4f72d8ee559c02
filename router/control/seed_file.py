"""The file an experiment was seeded from: afterwards the store is the truth, and a file that was changed is warned about."""

from typing import Any

import msgspec
import structlog

from router.config.differences import differences
from router.config.experiment import Experiment
from router.store import Record

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

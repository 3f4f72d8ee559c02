"""What version labels stand for: as the configuration says, and once a backend is managed, as the store has it."""

from collections.abc import Iterable, Mapping

import msgspec
import structlog

from router.control import desired
from router.store import Record

log = structlog.get_logger(__name__)


class Labels:
    """Versions by label, for each (backend, model). Mutable: the versions, and the revisions they were read from."""

    def __init__(self, configured: Mapping[tuple[str, str], Mapping[str, int]]) -> None:
        self._versions = dict(configured)
        self._revisions: dict[str, int] = {}

    def version(self, backend: str, model: str, label: str) -> int | None:
        """Return what a label stands for, None for one that is not ours: the model server may know it."""
        return self._versions.get((backend, model), {}).get(label)

    def update(self, records: Iterable[Record]) -> None:
        """Take over what the store says of managed backends, whose labels move when versions retire."""
        for record in records:
            if self._revisions.get(record.name) == record.revision:
                continue
            self._revisions[record.name] = record.revision
            try:
                config = desired.decode(record.document).config()
            except msgspec.MsgspecError as error:
                log.error("stored backend can't be read", backend=record.name, reason=str(error))
                continue
            for entry in config.model_config_list.config:
                self._versions[record.name, entry.name] = dict(entry.version_labels)

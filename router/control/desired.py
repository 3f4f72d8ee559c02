"""What managed backends are to serve, as the store keeps it: imported once, then changed by what experiments ask for.

Only the leader writes it, with its fence and by compare-and-set; the model servers are told afterwards.
"""

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec
import structlog

from router.config.settings import Backend
from router.control.seed_file import warn_of_changed_models
from router.store import Fenced, Store
from serving import model_config
from serving.errors import FailedPrecondition, InvalidArgument, ServingError
from serving.model_config import Desired
from serving.upstream import Servable

log = structlog.get_logger(__name__)


class Document(msgspec.Struct, frozen=True):
    """One backend's document in the store. `source` is the SHA-256 of what the configuration said when it was read."""

    source: str
    desired: Desired


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(Document)


class DesiredConfigs:
    """The documents of all managed backends. Mutable: the documents and their revisions, as last read or written."""

    def __init__(self, backends: Mapping[str, Backend], store: Store) -> None:
        self._backends = {name: one for name, one in backends.items() if one.control == "managed"}
        self._store = store
        self._documents: dict[str, Document] = {}
        self._revisions: dict[str, int] = {}
        self._changing = {name: asyncio.Lock() for name in self._backends}

    def of(self, backend: str) -> Desired | None:
        """Return what a backend is to serve; None for one that is observed, or whose config could not be imported."""
        document = self._documents.get(backend)
        return None if document is None else document.desired

    def revision(self, backend: str) -> int:
        """Return how often the backend's document was written, 0 before the first time."""
        return self._revisions.get(backend, 0)

    async def read(self) -> None:
        """Read what the store holds; one that can't be read is left as it is, and said."""
        for record in await self._store.backends():
            if record.name in self._backends:
                try:
                    self._documents[record.name] = _DECODER.decode(record.document)
                    self._revisions[record.name] = record.revision
                except msgspec.MsgspecError as error:
                    log.error("stored backend can't be read", backend=record.name, reason=str(error))

    async def take_over(self, fence: int, needed: Iterable[Servable], retired: Iterable[Servable]) -> None:
        """Read the store, import what it does not know yet, and follow models that were changed in the configuration.

        `needed` are arms that are to be loaded, whatever the configuration says; `retired` those that are not.
        """
        needed, retired = list(needed), list(retired)
        await self.read()
        for name, settings in self._backends.items():
            try:
                document = self._followed(name, settings, retired)
            except ServingError as error:
                log.error("backend can't be managed", backend=name, reason=error.message)
                continue
            desired = document.desired
            for one in needed:
                if one.backend == name and one.version is not None and desired.versions(one.model) is not None:
                    desired = desired.loading(
                        one.model, one.version, available=(), base_path=base_path(settings, one.model)
                    )
            document = msgspec.structs.replace(document, desired=desired)
            if document != self._documents.get(name):
                await self._save(name, document, fence)

    async def change(self, backend: str, fence: int | None, how: Callable[[Desired], Desired]) -> bool:
        """Change what a backend is to serve; say whether that changed anything. FailedPrecondition when it can't be."""
        if fence is None:
            raise Fenced("this gateway does not lead any more")
        async with self._changing[backend]:
            document = self._documents.get(backend)
            if document is None:
                raise FailedPrecondition(f"backend {backend} can't be managed: its config was not imported")
            desired = how(document.desired)
            if desired == document.desired:
                return False
            await self._save(backend, msgspec.structs.replace(document, desired=desired), fence)
            return True

    def _followed(self, name: str, settings: Backend, retired: list[Servable]) -> Document:
        """Return the document as the configuration would have it now."""
        known = self._documents.get(name)
        if known is not None and settings.model_config_file is not None:
            # Imported once: afterwards the file of one server must not undo what was decided for all.
            _warn_of_changes(name, settings, known)
            return known
        fresh = seeded(settings)
        source = hashlib.sha256(fresh.imported).hexdigest()
        if known is None:
            for one in retired:
                if one.backend == name and one.version in (fresh.versions(one.model) or ()):
                    fresh = fresh.retiring(one.model, one.version or 0, available=(), label_to=None)
            return Document(source, fresh)
        if known.source == source:
            return known
        log.info("models of a managed backend changed in the configuration", backend=name)
        return Document(source, Desired(fresh.imported, known.desired.changes))

    async def _save(self, name: str, document: Document, fence: int) -> None:
        revision = await self._store.save_backend(name, _ENCODER.encode(document), self.revision(name), fence)
        self._documents[name], self._revisions[name] = document, revision
        log.info("what a backend is to serve changed", backend=name, revision=revision)


def _warn_of_changes(name: str, settings: Backend, known: Document) -> None:
    """Say what a models.config that is not read any more says otherwise; one that is gone, or broken, is said too."""
    try:
        warn_of_changed_models(name, known.desired.imported, seeded(settings).imported)
    except InvalidArgument as error:
        log.warning("models.config ignored: it was imported before", backend=name, reason=error.message)


def decode(document: bytes) -> Desired:
    """Read a backend's document as the store keeps it; msgspec.MsgspecError when it is none."""
    return _DECODER.decode(document).desired


def seeded(settings: Backend) -> Desired:
    """Return what a backend's section says it is to serve; InvalidArgument for a models.config that can't be used."""
    imported = None
    if settings.model_config_file is not None:
        path = Path(settings.model_config_file)
        try:
            imported = model_config.read_config(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise InvalidArgument(f"can't read {path}: {reason}") from error
    models = {
        name: model_config.ModelFiles(files.base_path, tuple(files.versions), dict(files.labels))
        for name, files in settings.models.items()
    }
    return model_config.seed(models, imported)


def base_path(settings: Backend, model: str) -> str:
    """Return where a model of the configuration lies, empty for one that it does not name."""
    return settings.models[model].base_path if model in settings.models else ""

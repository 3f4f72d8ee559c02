"""What a client may ask of a model besides predictions: its metadata and the states of its versions.

The metadata of a public name is control's; its status is the union of its arms' versions.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from router.routes import Live, Routes
from serving import rest, wire
from serving.errors import (
    BackendError,
    Code,
    DeadlineExceeded,
    InternalError,
    InvalidArgument,
    ModelNotFound,
    ServingError,
    Unavailable,
)
from serving.upstream import Servable, Upstream

# A version's signatures never change; "the latest" may become another version at any time.
_CACHE_S: Final = 60.0
_CACHE_LATEST_S: Final = 1.0
# Names come from clients: the cache of signatures stays small whatever they ask for.
_CACHED_MAX: Final = 1_000
# As long may one that has others behind it take, and one that is only asked whether what is known still holds. A healthy
# model server answers in milliseconds; one that hangs is ejected within 1.1 s.
_FIRST_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class _Cached:
    signatures: Mapping[str, Mapping[str, int]]
    until: float


class Models:
    """Answers metadata and status, and keeps signatures for the REST front. Mutable: the cache of signatures."""

    def __init__(self, *, routes: Routes, upstreams: Mapping[str, tuple[Upstream, ...]]) -> None:
        self._routes = routes
        self._upstreams = upstreams
        self._cache: dict[Servable, _Cached] = {}

    async def signatures(
        self, model: str, version: int | None, label: str, timeout_s: float
    ) -> Mapping[str, Mapping[str, int]]:
        """Return the input types by which a REST body for this model is read: those of the version it will go to."""
        places = self._places(model, version, label)
        now = asyncio.get_running_loop().time()
        cached = self._cache.get(places[0])
        if cached is not None and now < cached.until:
            return cached.signatures
        request = wire.GetModelMetadataRequest(metadata_field=["signature_def"])
        try:
            wait_s = timeout_s if cached is None else min(timeout_s, _FIRST_S)
            servable, answer = await self._first_loaded(places, request, model, wait_s)
        except (Unavailable, DeadlineExceeded):
            if cached is None:
                raise
            # Other backends may answer the request: what it was goes on to hold, and is asked again in a while.
            self._cache[places[0]] = _Cached(cached.signatures, asyncio.get_running_loop().time() + _CACHE_LATEST_S)
            return cached.signatures
        packed = answer.metadata["signature_def"].value
        signatures = rest.input_types(_read(wire.SignatureDefMap, packed, servable.backend).signature_def)
        if len(self._cache) >= _CACHED_MAX:
            self._cache.clear()
        # What stands in for a version that loads is right for as long as "the latest" is.
        is_lasting = servable.version is not None and servable == places[0]
        self._cache[places[0]] = _Cached(signatures, now + (_CACHE_S if is_lasting else _CACHE_LATEST_S))
        return signatures

    async def metadata(self, body: bytes, timeout_s: float) -> bytes:
        """Answer GetModelMetadata with the public name put back."""
        request = wire.parse(wire.GetModelMetadataRequest, body)
        if not request.HasField("model_spec"):
            raise InvalidArgument("Missing ModelSpec")
        spec = request.model_spec
        public = spec.name
        if not public:
            raise InvalidArgument("ModelSpec has no name specified.")
        version = spec.version.value if spec.HasField("version") else None
        places = self._places(public, version, spec.version_label)
        _, response = await self._first_loaded(places, request, public, timeout_s)
        response.model_spec.name = public
        return bytes(response.SerializeToString())

    async def _first_loaded(
        self, places: Sequence[Servable], request: wire.Message, public: str, timeout_s: float
    ) -> tuple[Servable, wire.Message]:
        """Ask the places in turn for metadata until one has the version loaded."""
        missing: BackendError | None = None
        for place in places:
            place.write_to(request.model_spec)
            try:
                return place, await self._metadata(place.backend, request, timeout_s)
            except BackendError as error:
                if error.code is not Code.NOT_FOUND:
                    raise
                missing = missing or BackendError(error.code, place.public_words(error.message, public))
        raise missing or AssertionError("a request has at least one place to go")

    async def _metadata(self, backend: str, request: wire.Message, timeout_s: float) -> wire.Message:
        raw = await self._call(backend, wire.GET_MODEL_METADATA, request.SerializeToString(), timeout_s)
        return _read(wire.GetModelMetadataResponse, raw, backend)

    async def status(self, body: bytes, timeout_s: float) -> bytes:
        """Answer GetModelStatus: of an experiment the versions of all its arms, newest first."""
        request = wire.parse(wire.GetModelStatusRequest, body)
        if not request.HasField("model_spec"):
            raise InvalidArgument("Missing ModelSpec")
        spec = request.model_spec
        live = self._routes.by_model.get(spec.name)
        wanted = spec.version.value if spec.HasField("version") else None
        if live is None:
            return await self._backend_status(self._routes.backend_of(spec.name), spec, timeout_s)
        found = await self._arm_statuses(live, timeout_s)
        if wanted is not None and not (wanted == 0 and live.is_entry(0, "")):
            found = {version: status for version, status in found.items() if version == wanted}
            if not found:
                raise ModelNotFound(f"Could not find version {wanted} of model {spec.name}")
        response = wire.GetModelStatusResponse()
        response.model_version_status.extend(found[version] for version in sorted(found, reverse=True))
        return bytes(response.SerializeToString())

    async def listed(self, timeout_s: float) -> dict[str, wire.Message]:
        """Return every model that is known here and its GetModelStatusResponse; those nobody serves are left out."""

        async def ask(name: str) -> wire.Message | None:
            body = wire.GetModelStatusRequest(model_spec={"name": name}).SerializeToString()
            try:
                return wire.parse(wire.GetModelStatusResponse, await self.status(body, timeout_s))
            except ServingError as error:
                # A backend that is away hides the states of its models, not their names.
                return None if error.code is Code.NOT_FOUND else wire.GetModelStatusResponse()

        async with asyncio.TaskGroup() as tasks:
            asked = {name: tasks.create_task(ask(name), name=f"list {name}") for name in self._routes.models()}
        answers = {name: task.result() for name, task in asked.items()}
        return {name: answer for name, answer in answers.items() if answer is not None}

    async def _backend_status(self, backend: str, spec: wire.Message, timeout_s: float) -> bytes:
        """Ask a backend; version 0, which some clients write for none, means all versions when there is no such one."""
        request = wire.GetModelStatusRequest(model_spec=spec)
        try:
            return await self._call(backend, wire.GET_MODEL_STATUS, request.SerializeToString(), timeout_s)
        except BackendError as error:
            if error.code is not Code.NOT_FOUND or not spec.HasField("version") or spec.version.value != 0:
                raise
        request.model_spec.ClearField("version_choice")
        return await self._call(backend, wire.GET_MODEL_STATUS, request.SerializeToString(), timeout_s)

    async def _arm_statuses(self, live: Live, timeout_s: float) -> dict[int, wire.Message]:
        """Ask all backends at once; one that is away, or knows the model no more, hides its own arms only."""
        places = list(dict.fromkeys((target.backend, target.model) for target in live.targets))
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(self._try_status(*place, timeout_s), name=f"status {place}") for place in places]
        answers = [task.result() for task in asked]
        found: dict[int, wire.Message] = {}
        for (backend, model), answer in zip(places, answers, strict=True):
            if isinstance(answer, ServingError):
                continue
            mine = {target.version for target in live.targets if (target.backend, target.model) == (backend, model)}
            for status in answer.model_version_status:
                known = found.get(status.version)
                if status.version in mine and (known is None or known.state != wire.AVAILABLE):
                    found[status.version] = status
        if not found and isinstance(answers[0], ServingError):
            raise answers[0]
        return found

    async def _try_status(self, backend: str, model: str, timeout_s: float) -> wire.Message:
        """Return the status of a model, or the ServingError that came in its place."""
        request = wire.GetModelStatusRequest(model_spec={"name": model})
        try:
            raw = await self._call(backend, wire.GET_MODEL_STATUS, request.SerializeToString(), timeout_s)
            return _read(wire.GetModelStatusResponse, raw, backend)
        except ServingError as error:
            return error

    def _places(self, model: str, version: int | None, label: str) -> tuple[Servable, ...]:
        live = self._routes.by_model.get(model)
        if live is not None and live.is_entry(version, label):
            return (live.targets[live.snapshot.serving],)
        return self._routes.places(model, version, label)

    async def _call(self, backend: str, method: str, body: bytes, timeout_s: float) -> bytes:
        """Ask the backend's replicas in turn: the first that can be reached answers for all."""
        clock = asyncio.get_running_loop().time
        give_up_at = clock() + timeout_s
        *first, last = self._upstreams[backend]
        for upstream in first:
            with contextlib.suppress(Unavailable, DeadlineExceeded):
                return await upstream.call(method, body, min(timeout_s, _FIRST_S))
        return await last.call(method, body, give_up_at - clock())


def _read(message_class: Any, body: bytes, backend: str) -> wire.Message:
    """Parse what a backend sent; what can't be read is its fault, not the client's."""
    try:
        return wire.parse(message_class, body)
    except InvalidArgument as error:
        raise InternalError(f"{backend} sent an answer that can't be read: {error}") from error

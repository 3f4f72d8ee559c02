"""Which versions of which models are loaded: their states, the changes still to make, and who is using them.

Everything here is called from several threads (prediction threads and the one loader) under one short lock; loading
and closing an engine happen outside it. There is no thread, timer or loop in this module: `poll` makes the changes,
and whoever owns the clock calls it.
"""

import logging
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from serving import wire
from serving.errors import (
    BackendError,
    Code,
    FailedPrecondition,
    InternalError,
    InvalidArgument,
    ModelNotFound,
    ServingError,
)
from serving.local import config as configs
from serving.local.config import ModelSource
from serving.local.versions import Engine, Version, next_step

log: Final = logging.getLogger(__name__)


class Models:
    """All models of one server; `load` makes an engine of a version's path and raises ServingError when it can't."""

    def __init__(self, load: Callable[[str], Engine], *, allow_labels_for_unavailable: bool = False) -> None:
        self._load = load
        self._allow_labels_for_unavailable = allow_labels_for_unavailable
        self._lock = threading.Lock()
        # Mutable, under the lock. Versions are remembered for ever once seen, as TF Serving's status shows them.
        self._sources: dict[str, ModelSource] = {}
        self._versions: dict[str, dict[int, Version]] = {}
        self._complaints: dict[str, str] = {}  # the last warning per model, so that each is logged once

    @contextmanager
    def use(self, spec: wire.Message) -> Iterator[tuple[int, Engine]]:
        """Hold the version that a ModelSpec names, (version, engine), so that it isn't closed while in use."""
        with self._lock:
            held = self._find(spec)
            held.users += 1
            engine = held.engine
        if engine is None:
            raise AssertionError(f"version {held.version} is AVAILABLE without an engine")
        try:
            yield held.version, engine
        finally:
            self._let_go(held, spec.name)

    def status(self, name: str, version: int | None) -> list[tuple[int, int, ServingError | None]]:
        """Return (version, state, why it failed) of one or all versions ever seen, the highest number first."""
        with self._lock:
            versions = self._versions.get(name, {})
            if version == 0 and versions and 0 not in versions:
                version = None  # as in `_find`
            if version is not None and version not in versions:
                raise ModelNotFound(f"Could not find version {version} of model {name}")
            if not versions:
                raise ModelNotFound(f"Could not find any versions of model {name}")
            chosen = sorted(versions, reverse=True) if version is None else [version]
            return [(number, versions[number].state, versions[number].error) for number in chosen]

    def knows(self, name: str) -> bool:
        """Whether a version of the model was ever seen."""
        return name in self._versions

    def names(self) -> list[str]:
        """Return the models that the configuration names and a version of was ever seen, sorted."""
        with self._lock:
            return sorted(name for name in self._sources if self._versions.get(name))

    def replace_config(self, sources: Mapping[str, ModelSource]) -> set[str]:
        """Take over a whole configuration and return the names of the models new in it; on an error nothing changes.

        Nothing is loaded or unloaded here: that is `unload_left_out`, due at once, and `poll`.
        """
        with self._lock:
            configs.check_platforms(self._sources, sources)
            configs.check_runnable(sources)
            for source in sources.values():
                self._check_labels(source)
            new = set(sources.keys() - self._sources.keys())
            self._sources = dict(sources)
        return new

    def unload_left_out(self) -> None:
        """Unload every model that the configuration does not name."""
        with self._lock:
            left_out = self._versions.keys() - self._sources.keys()
        for name in left_out:
            self._settle(name, {})

    def poll(self) -> None:
        """Look at the disk and make every change that is due; blocks while models load. Call it from one thread only."""
        with self._lock:
            sources = list(self._sources.values())
        self.unload_left_out()
        for source in sources:
            try:
                found = configs.find_versions(source)
            except OSError as error:
                # What is loaded goes on serving: a mount that is away for a moment must not unload a model.
                self._complain(source.name, f"base path {source.base_path} can't be listed: {error.strerror}")
                continue
            wanted = source.policy.choose(found)
            self._complain(source.name, _missing(source, found))
            self._settle(source.name, {number: found[number] for number in wanted})

    def unready(self, names: Collection[str]) -> dict[str, str]:
        """Return those of the models that no version serves, each with the reason; "" while it may still come."""
        with self._lock:
            return {
                name: _why_unready(name, self._versions.get(name, {}))
                for name in sorted(names)
                if not any(version.state == wire.AVAILABLE for version in self._versions.get(name, {}).values())
            }

    def complaint(self, name: str) -> str:
        """Return what is wrong with a model's files, "" when nothing is."""
        return self._complaints.get(name, "")

    def close(self) -> None:
        """Unload everything; calls under way finish first."""
        with self._lock:
            self._sources = {}
        self.unload_left_out()

    def _find(self, spec: wire.Message) -> Version:
        """Resolve a ModelSpec to an AVAILABLE version, with TF Serving's errors. Under the lock."""
        if not spec.name:
            raise InvalidArgument("ModelSpec has no name specified.")
        choice = spec.WhichOneof("version_choice")
        versions = self._versions.get(spec.name, {})
        serving = [version for version in versions.values() if version.state == wire.AVAILABLE]
        # Some clients (ovmsclient) write 0 for no version at all; it is one only where there is such a version.
        if choice is None or (choice == "version" and serving and spec.version.value == 0 and 0 not in versions):
            if not serving:
                raise ModelNotFound(f"Servable not found for request: Latest({spec.name})")
            return max(serving, key=lambda version: version.version)
        if choice == "version_label":
            source = self._sources.get(spec.name)
            if source is None or spec.version_label not in source.labels:
                raise InvalidArgument(f"Unrecognized servable version label: {spec.version_label}")
            number = source.labels[spec.version_label]
        else:
            number = spec.version.value
        found = versions.get(number)
        if found is None or found.state != wire.AVAILABLE:
            raise ModelNotFound(f"Servable not found for request: Specific({spec.name}, {number})")
        return found

    def _check_labels(self, source: ModelSource) -> None:
        """Refuse a label for a version that does not serve. Under the lock."""
        versions = self._versions.get(source.name, {})
        before = self._sources[source.name].labels if source.name in self._sources else {}
        for label, number in source.labels.items():
            is_available = number in versions and versions[number].state == wire.AVAILABLE
            # As in TF Serving the flag covers labels not in use yet; moving one could take a model away from clients.
            is_allowed = self._allow_labels_for_unavailable and before.get(label, number) == number
            if not is_available and not is_allowed:
                raise FailedPrecondition(
                    f"Request to assign label to version {number} of model {source.name},"
                    " which is not currently available for inference"
                )

    def _settle(self, name: str, wanted: Mapping[int, str]) -> None:
        """Load and unload until the model has the versions wanted, given with their paths."""
        with self._lock:
            versions = self._versions.setdefault(name, {}) if wanted else self._versions.get(name, {})
            for number, version in versions.items():
                if number not in wanted:
                    version.has_failed = False
        while True:
            with self._lock:
                step = next_step(wanted, versions)
                if step is None:
                    return
                version = versions.setdefault(step.version, Version(step.version))
                if step.is_load:
                    version.state, version.error = wire.LOADING, None
                else:
                    version.state = wire.UNLOADING
            log.info("model %s version %d: %s", name, step.version, wire.STATE_NAMES[version.state])
            if step.is_load:
                self._load_version(name, version, wanted[step.version])
            else:
                self._close_if_unused(name, version)

    def _load_version(self, name: str, version: Version, path: str) -> None:
        try:
            engine = self._load(path)
        except ServingError as error:
            with self._lock:
                version.state, version.error, version.has_failed = wire.END, error, True
            log.error("model %s version %d: load failed: %s", name, version.version, error)
            return
        except Exception as error:  # Bulkhead: a model that breaks the loader must not end the server.
            log.exception("model %s version %d: load failed", name, version.version)
            with self._lock:
                version.state, version.has_failed = wire.END, True
                version.error = InternalError(f"loading failed: {type(error).__name__}: {error}")
            return
        with self._lock:
            version.engine, version.state = engine, wire.AVAILABLE
        log.info("model %s version %d: AVAILABLE", name, version.version)

    def _let_go(self, version: Version, name: str) -> None:
        with self._lock:
            version.users -= 1
            is_last = version.users == 0 and version.state == wire.UNLOADING
        if is_last:
            self._close_if_unused(name, version)

    def _close_if_unused(self, name: str, version: Version) -> None:
        """End a version that is UNLOADING, unless a call is in it still: then the last call does it."""
        with self._lock:
            if version.users or version.engine is None:
                return
            engine, version.engine = version.engine, None
        engine.close()
        with self._lock:
            version.state = wire.END
        log.info("model %s version %d: END", name, version.version)

    def _complain(self, name: str, complaint: str) -> None:
        if complaint and complaint != self._complaints.get(name):
            log.warning("model %s: %s", name, complaint)
        self._complaints[name] = complaint


def not_available(reasons: Mapping[str, str]) -> BackendError:
    """Return TF Serving's error for new models that don't come up, from the reasons of `Models.unready`."""
    listed = "".join(f"{{{reason}}}, " for reason in reasons.values())
    return BackendError(Code.UNKNOWN, f"{len(reasons)} servable(s) did not become available: {{{listed}}}")


def _missing(source: ModelSource, found: Collection[int]) -> str:
    if not found:
        return (
            f"No versions of servable {source.name} found under base path {source.base_path}."
            " Did you forget to name your leaf directory as a number (eg. '/1/')?"
        )
    missing = sorted(source.policy.specific.difference(found))
    return f"versions {missing} are wanted but not under base path {source.base_path}" if missing else ""


def _why_unready(name: str, versions: Mapping[int, Version]) -> str:
    failed = [version for version in versions.values() if version.has_failed]
    if not failed or any(version.state in (wire.START, wire.LOADING) for version in versions.values()):
        return ""
    last = max(failed, key=lambda version: version.version)
    return f"name: {name} version: {last.version} due to error: {last.error}"

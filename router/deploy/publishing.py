"""Where versions are published: the backends that have a `publish` folder, and which of them a model goes to."""

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from router.config.settings import Backend
from router.deploy.place import Place, Staging
from router.deploy.refusals import NoPlace
from turpin.tar import Limits


@dataclass(frozen=True, slots=True)
class Spot:
    """Where the versions of one model on one backend lie. All of its methods block."""

    backend: str
    model: str
    place: Place
    folder: str

    def begin(self, limits: Limits) -> Staging:
        """Make room for an upload."""
        return self.place.begin(limits)

    def digest(self, version: int) -> str | None:
        """Return the digest of a version that is there; "" when it has no package, None when there is none."""
        return self.place.sealed(self.folder, version)

    def publish(self, staging: Staging, version: int) -> None:
        """Let an upload appear as this version; VersionTaken when it is there."""
        self.place.publish(staging, self.folder, version)

    def withdraw(self, version: int, digest: str) -> None:
        """Remove the version with this digest."""
        self.place.withdraw(self.folder, version, digest)

    def read(self, version: int, path: str) -> bytes | None:
        """Return a file of a version; None when it has no such file."""
        try:
            return (self.place.root / self.folder / str(version) / path).read_bytes()
        except FileNotFoundError:
            return None


class Publishing:
    """The spots of all backends, as the configuration gives them."""

    def __init__(self, backends: Mapping[str, Backend], base_paths: Mapping[str, Mapping[str, str]]) -> None:
        """`base_paths` are the folders of the models, per backend, as their servers see them.

        A model lies in `publish` under the last part of its base path: the same folder, as we see it.
        """
        self._spots = {
            (name, model): Spot(name, model, Place(Path(settings.publish)), posixpath.basename(path.rstrip("/")))
            for name, settings in backends.items()
            if settings.publish is not None and settings.control == "managed"
            for model, path in base_paths.get(name, {}).items()
        }

    @property
    def places(self) -> dict[str, Place]:
        """All folders that are published into."""
        return {str(spot.place.root): spot.place for spot in self._spots.values()}

    def find(self, model: str, backend: str | None) -> Spot:
        """Return the spot of a model; NoPlace when there is none, or several and no backend was named."""
        found = [spot for spot in self._spots.values() if spot.model == model and backend in (None, spot.backend)]
        if len(found) == 1:
            return found[0]
        where = f"backend '{backend}'" if backend else "any backend"
        if not found:
            wanted = "it must be managed, know the model, and have `publish`"
            raise NoPlace(f"versions of '{model}' can't be published on {where}: {wanted}")
        raise NoPlace(f"'{model}' is published on {', '.join(spot.backend for spot in found)}: say which, backend=…")

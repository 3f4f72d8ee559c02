"""One version of a model: what runs it, where it stands, and which change to a model's versions comes next."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from serving import wire
from serving.errors import ServingError


class Engine(Protocol):
    """One loaded version of a model."""

    signatures: Mapping[str, Any]  # name -> wire.SignatureDef

    def predict(self, request: wire.Message) -> wire.Message:
        """Answer a PredictRequest with a PredictResponse whose model_spec is still empty; ServingError when it can't."""
        ...

    def run(self, feeds: tuple[str, ...], fetches: tuple[str, ...], inputs: Sequence[Any]) -> Sequence[Any]:
        """Put arrays into the tensors `feeds` and return the arrays of `fetches`; ServingError when the graph fails."""
        ...

    def close(self) -> None:
        """Free what the version holds; it is used no more."""
        ...


@dataclass(slots=True)
class Version:
    """One version and where it stands. Mutable: all but `version`, and only under the lock of `Models`."""

    version: int
    state: int = wire.START
    error: ServingError | None = None  # why the load failed; kept with END for GetModelStatus
    engine: Engine | None = None
    users: int = 0  # calls under way in `engine`
    has_failed: bool = False  # not tried again until it is no longer wanted once


@dataclass(frozen=True, slots=True)
class Step:
    """The next change to one model: load a version or unload it."""

    is_load: bool
    version: int


def next_step(wanted: Collection[int], versions: Mapping[int, Version]) -> Step | None:
    """Decide the next change to one model: TF Serving's AvailabilityPreservingPolicy.

    While a wanted version serves (or none is wanted), what is unwanted goes first, which frees memory; else a wanted
    one is loaded, the highest number first, before the last old one goes.
    """
    serving = {number for number, version in versions.items() if version.state == wire.AVAILABLE}
    unwanted = serving.difference(wanted)
    if unwanted and (not wanted or serving.intersection(wanted)):
        return Step(is_load=False, version=min(unwanted))
    loadable = {
        number
        for number in wanted
        if number not in versions or (versions[number].state == wire.END and not versions[number].has_failed)
    }
    return Step(is_load=True, version=max(loadable)) if loadable else None

"""Where a model name leads: to an experiment, to a pinned version of it, or straight through to a backend."""

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import structlog

from router.decisions import Mode
from router.labels import Labels
from router.link import Override
from router.snapshot import PARTS, Snapshot
from serving.errors import ModelNotFound
from serving.upstream import Servable

log = structlog.get_logger(__name__)


class Split(NamedTuple):
    """Weights made ready for drawing: the arms' parts, and their running sums."""

    parts: tuple[int, ...]
    cumulative: tuple[int, ...]

    @classmethod
    def of(cls, parts: tuple[int, ...]) -> "Split":
        """Prepare the parts of all arms."""
        return cls(parts, tuple(itertools.accumulate(parts)))


@dataclass(frozen=True, slots=True)
class Live:
    """A snapshot made ready for choosing: its mode, the weights of each segment, and a target per arm.

    `segment_of` gives the place of a segment in `splits` by what requests carry; all others belong to the first.
    """

    snapshot: Snapshot
    mode: Mode
    splits: tuple[Split, ...]
    segment_of: Mapping[bytes, int]
    targets: tuple[Servable, ...]

    @classmethod
    def of(cls, snapshot: Snapshot) -> "Live":
        """Prepare a snapshot."""
        return cls(
            snapshot,
            Mode(snapshot.mode),
            tuple(Split.of(one.parts) for one in snapshot.segments)
            or (Split.of(tuple(arm.parts for arm in snapshot.arms)),),
            {one.name.encode(): place for place, one in enumerate(snapshot.segments) if place},
            tuple(Servable(arm.backend, arm.model, arm.version) for arm in snapshot.arms),
        )

    def is_entry(self, version: int | None, label: str) -> bool:
        """Whether a request that names this version or label takes part; all others insist on what they name.

        Some clients (ovmsclient) write 0 for no version at all.
        """
        if version is not None:
            return version == 0 and all(target.version != 0 for target in self.targets)
        return not label or label in self.snapshot.entry_labels


def bypassed(snapshot: Snapshot) -> Snapshot:
    """Return the snapshot with all traffic on the arm that serves, unlearned, and nothing copied."""
    arms = tuple(
        msgspec.structs.replace(arm, parts=PARTS if number == snapshot.serving else 0)
        for number, arm in enumerate(snapshot.arms)
    )
    return msgspec.structs.replace(snapshot, mode=int(Mode.BYPASS), arms=arms, segments=(), shadows=())


class Routes:
    """The routing table of one worker. Mutable: the newest snapshot per experiment, overrides, and what was left out."""

    def __init__(
        self,
        backend_models: Mapping[str, Iterable[str]],
        labels: Labels | None = None,
    ) -> None:
        """Take the model names each backend is configured with; a lone backend also gets every other name.

        `labels` that are the gateway's own; all others are the backends'.
        """
        self._labels = labels or Labels({})
        self._owner = {model: backend for backend, models in backend_models.items() for model in models}
        self._only = next(iter(backend_models)) if len(backend_models) == 1 else None
        self._backends = frozenset(backend_models)
        self._left_out: set[int] = set()
        # As they came, by epoch: an override may end.
        self._published: dict[int, Snapshot] = {}
        self._overrides: dict[str, Override] = {}
        self.by_model: dict[str, Live] = {}
        self.by_epoch: dict[int, Live] = {}
        # Which arms of which experiments a call was made for; None until it is asked for again.
        self._arms_by_target: dict[Servable, list[tuple[Live, int]]] | None = None

    def update(self, snapshot: Snapshot) -> bool:
        """Take over a snapshot unless it is no newer than ours of the same epoch; say whether it was.

        One that needs a backend which is not configured here is left out: its model passes through.
        """
        unknown = {arm.backend for arm in snapshot.arms} - self._backends
        if unknown:
            if snapshot.epoch not in self._left_out:
                self._left_out.add(snapshot.epoch)
                log.error(
                    "experiment left out: its backends are missing", experiment=snapshot.name, backends=sorted(unknown)
                )
            return False
        current = self.by_model.get(snapshot.model)
        if snapshot.is_archived and current is not None and current.snapshot.epoch != snapshot.epoch:
            # Another experiment answers for the model; rewards of this one's decisions may still come.
            self.by_epoch[snapshot.epoch] = Live.of(snapshot)
            return False
        if (
            current is not None
            and current.snapshot.epoch == snapshot.epoch
            and current.snapshot.version >= snapshot.version
        ):
            return False
        self._install(snapshot)
        return True

    def _install(self, snapshot: Snapshot) -> None:
        override = self._overrides.get(snapshot.name)
        if override is not None and override.revision is not None and snapshot.revision >= override.revision:
            del self._overrides[snapshot.name]
            override = None
        live = Live.of(snapshot if override is None else bypassed(snapshot))
        self._arms_by_target = None
        self._published[snapshot.epoch] = snapshot
        self.by_model[snapshot.model] = live
        known = {snapshot.epoch, *snapshot.former}
        over = [one for one, other in self.by_epoch.items() if one != other.snapshot.epoch and one not in known]
        for epoch in [one for one in over if self.by_epoch[one].snapshot.name == snapshot.name]:
            del self.by_epoch[epoch]
        for epoch in snapshot.former:
            self._published.pop(epoch, None)
        self.by_epoch |= dict.fromkeys(known, live)

    def override(self, order: Override) -> None:
        """Send all traffic of an experiment to one arm, or let its snapshots hold again."""
        if order.is_on:
            self._overrides[order.name] = order
        else:
            self._overrides.pop(order.name, None)
        for live in list(self.by_model.values()):
            if live.snapshot.name == order.name:
                self._install(self._published[live.snapshot.epoch])

    def keep(self, names: Collection[str]) -> None:
        """Forget the experiments that are not among these: they were deleted, and their models pass through."""
        gone = [live for live in self.by_epoch.values() if live.snapshot.name not in names]
        for live in gone:
            self._arms_by_target = None
            del self.by_epoch[live.snapshot.epoch]
            self._published.pop(live.snapshot.epoch, None)
            if self.by_model.get(live.snapshot.model) is live:
                del self.by_model[live.snapshot.model]

    def arms_of(self, target: Servable) -> Sequence[tuple[Live, int]]:
        """Return the experiments that have it as an arm, and which."""
        if self._arms_by_target is None:
            self._arms_by_target = {}
            for live in self.by_model.values():
                for arm, other in enumerate(live.targets):
                    self._arms_by_target.setdefault(other, []).append((live, arm))
        return self._arms_by_target.get(target, ())

    def apart(self) -> dict[str, list[Servable]]:
        """Return the arms whose requests must not ride together, by backend."""
        found: dict[str, list[Servable]] = {}
        for live in self.by_model.values():
            for arm, target in zip(live.snapshot.arms, live.targets, strict=True):
                if not arm.is_merged:
                    found.setdefault(arm.backend, []).append(target)
        return found

    def models(self) -> list[str]:
        """Return the names that clients can ask for, as far as they are known here, sorted."""
        return sorted(self._owner.keys() | self.by_model.keys())

    def places(self, model: str, version: int | None, label: str) -> tuple[Servable, ...]:
        """Return where a request goes that is not drawn: the first, and the next while that has not loaded the version.

        Labels that are ours are resolved here. While the version of one loads, the request goes where it would without
        it: to control, or to the latest. ModelNotFound when no backend has the model.
        """
        live = self.by_model.get(model)
        home = live.targets[live.snapshot.serving] if live else Servable(self.backend_of(model), model, None)
        if version is not None:
            arms = live.targets if live else ()
            exact = Servable(home.backend, home.model, version)
            exact = next((arm for arm in arms if arm.version == version), exact)
            return (exact, home) if version == 0 else (exact,)
        if not label or (live and live.is_entry(None, label)):
            return (home,)
        for place in (home, *(live.targets if live else ())):
            known = self._labels.version(place.backend, place.model, label)
            if known is not None:
                return Servable(place.backend, place.model, known), home
        return (Servable(home.backend, home.model, None, label),)

    def backend_of(self, model: str) -> str:
        """Return the backend of a model without an experiment; ModelNotFound in TF Serving's words."""
        backend = self._owner.get(model, self._only)
        if backend is None:
            raise ModelNotFound(f"Servable not found for request: Latest({model})")
        return backend

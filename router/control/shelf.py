"""The experiments a leader keeps in mind: read from the store, seeded from the configuration, followed as people change
them."""

import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import msgspec
import structlog

from bandits.arrivals import LawCache
from bandits.evidence import GridCache
from bandits.health import HealthCache
from bandits.life import ArmLife, Note, Start, from_json
from bandits.segmented import SegmentMemory
from router import events
from router.config import Config
from router.config.document import BadInput
from router.config.experiment import Experiment
from router.control.amend import end_rules, found, obeyed
from router.control.dossier import Dossier, dossier_of, encode
from router.control.seed_file import warn_of_changes
from router.control.tally import Tally
from router.store import Entry, Record, Store
from serving.upstream import Servable

log = structlog.get_logger(__name__)


class Caches(NamedTuple):
    """What `learner.refresh` keeps of an experiment's epoch between two refreshes, by the names of its parameters."""

    cache: GridCache
    health: HealthCache
    laws: LawCache
    memory: SegmentMemory
    tally: Tally


class Shelf:
    """Mutable: the dossiers, the last version of each snapshot, and caches of the arithmetic."""

    def __init__(self, config: Config, store: Store) -> None:
        self._config = config
        self._store = store
        self.dossiers: dict[str, Dossier] = {}
        self.versions: dict[str, int] = {}
        # Revisions that can't be read here.
        self._unread: dict[str, int] = {}
        # By epoch; as many as there are experiments.
        self._caches: dict[int, Caches] = {}

    def caches(self, epoch: int) -> Caches:
        """Return the caches of an experiment's epoch; they only save time."""
        return self._caches.setdefault(epoch, Caches(GridCache(), HealthCache(), LawCache(), SegmentMemory(), Tally()))

    def forget(self, epoch: int) -> None:
        """Drop the caches of an epoch that is over."""
        self._caches.pop(epoch, None)

    async def fill(self, fence: int, now: float) -> None:
        """Begin anew: read what the store knows, and seed the experiments it has never known."""
        records = {record.name: record for record in await self._store.experiments()}
        self.dossiers, self._unread = {}, {}
        # The store may hold less than it did: see redis_lineage.py.
        self._caches.clear()
        self.versions = {name: version for name, (version, _) in (await self._store.snapshots()).items()}
        for spec in self._config.experiments:
            record = records.get(spec.name)
            if record is not None:
                warn_of_changes(spec, record)
            elif await self._store.history(spec.name, 1):
                log.warning("experiment file ignored: the experiment was deleted", experiment=spec.name)
            else:
                await self._seed(spec, fence, now)
        await self.take_up()

    async def take_up(self) -> None:
        """Read again what people changed since the last turn, through any gateway."""
        records = {record.name: record for record in await self._store.experiments()}
        for name in self.dossiers.keys() - records.keys():
            self._caches.pop(self.dossiers.pop(name).document.epoch, None)
            self.versions.pop(name, None)
        for name, record in records.items():
            known = self.dossiers.get(name)
            # What can't be read is said once, not every second.
            if record.revision in (known and known.revision, self._unread.get(name)):
                continue
            read = self._read(record)
            if known is not None and (read is None or len(read.life.arms) != len(known.life.arms)):
                self._caches.pop(known.document.epoch, None)
            if read is None:
                self._unread[name] = record.revision
                self.dossiers.pop(name, None)
            else:
                self.dossiers[name] = read

    async def _seed(self, spec: Experiment, fence: int, now: float) -> None:
        """Store an experiment from the configuration, and start it."""
        draft = found(spec, end_rules(spec, self._config.backends), secrets.randbits(64))
        order = Start(now, who="the configuration")
        document, notes = obeyed(Dossier(spec.name, 0, draft, spec, from_json(draft.life)), order)
        await self._store.save_experiment(spec.name, encode(document), 0, fence, told(spec.name, notes))

    def _read(self, record: Record) -> Dossier | None:
        """Read a stored experiment; None, and a line in the log, for one that this gateway can't lead."""
        try:
            dossier = dossier_of(record.name, record.revision, record.document)
        except (msgspec.MsgspecError, BadInput, TypeError, ValueError) as error:
            log.error("stored experiment can't be read", experiment=record.name, reason=str(error))
            return None
        unknown = {arm.backend for arm in dossier.spec.arms} - self._config.backends.keys()
        if unknown:
            log.error("experiment left out: its backends are missing", experiment=record.name, backends=sorted(unknown))
            return None
        # Which backends are managed is the configuration's to say, now and not when it was stored.
        observed = end_rules(dossier.spec, self._config.backends).observed
        return dossier.with_life(replace(dossier.life, rules=replace(dossier.life.rules, observed=observed)))

    def arms(self, which: Callable[[ArmLife], bool]) -> list[Servable]:
        """Return the arms of experiments that are not put away and whose life is of this kind."""
        return [
            Servable(arm.backend, arm.model, arm.version)
            for dossier in self.dossiers.values()
            if dossier.life.phase != "archived"
            for arm, life in zip(dossier.spec.arms, dossier.life.arms, strict=True)
            if which(life)
        ]

    def users(self, experiment: str, target: Servable) -> list[str]:
        """Return the other experiments that need this servable."""
        return [name for name in self.uses().get(target, ()) if name != experiment]

    def uses(self) -> dict[Servable, list[str]]:
        """Return which experiments need each servable; of all at once, for asking one by one takes the square of it."""
        found: dict[Servable, list[str]] = {}
        for name, dossier in self.dossiers.items():
            if dossier.life.phase == "archived":
                continue
            for arm, life in zip(dossier.spec.arms, dossier.life.arms, strict=True):
                if not (life.state == "retired" or life.is_unloading):
                    found.setdefault(Servable(arm.backend, arm.model, arm.version), []).append(name)
        return found


def told(name: str, notes: tuple[Note, ...]) -> tuple[Entry, ...]:
    """Return the notes as lines of the experiment's history, and log them."""
    for note in notes:
        log.info("experiment changed", experiment=name, what=note.what, before=note.before, after=note.after)
    return events.told(name, notes)

"""Reads a folder of the journal back: the decisions of one experiment as columns, joined to their rewards.

A journal may miss lines and end in the middle of one; both are counted, never guessed at. Reading takes about 5 µs and
100 bytes of memory a line.
"""

import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from router.journal import lines
from router.journal.files import journal_files

Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]
# What is learned from; in `observe` all of it is control's.
_MODES: Final = ("experiment", "observe")
_SHARES: Final = msgspec.json.Decoder(dict[str, lines.Share])


class NoRecords(Exception):
    """The journal can't be read, or has nothing of what was asked for; says what it has."""


@dataclass(frozen=True, slots=True, eq=False)
class Records:
    """The decisions of an experiment that were its own (no warm-up, no fallback), in columns (n,); each once.

    `weights` is the row of `propensities` (rows, arms) by which a decision was drawn. `reward` is the mean over its
    events, NaN when none is known. `units` tells which were drawn together, None when each was drawn for itself.
    `decisions` is how many there were, those outside the sample too; `set_aside` counts those that were not drawn.
    """

    experiment: str
    arms: tuple[str, ...]
    propensities: Floats
    time: Floats
    arm: Int64s
    propensity: Floats
    weights: Int64s
    segments: Int64s
    units: Int64s | None
    cost_usd: Floats
    reward: Floats
    sample: float
    decisions: float
    set_aside: int
    unreadable: int
    value_usd: float | None


@dataclass(slots=True)
class _Columns:
    """What was read of one experiment. Mutable: it grows line by line."""

    arms: dict[str, int] = field(default_factory=dict)
    weights: dict[bytes, int] = field(default_factory=dict)
    shares: list[dict[str, float]] = field(default_factory=list)
    keys: "array[int]" = field(default_factory=lambda: array("Q"))
    units: "array[int]" = field(default_factory=lambda: array("Q"))
    time: "array[float]" = field(default_factory=lambda: array("d"))
    arm: "array[int]" = field(default_factory=lambda: array("q"))
    row: "array[int]" = field(default_factory=lambda: array("q"))
    segment: "array[int]" = field(default_factory=lambda: array("q"))
    propensity: "array[float]" = field(default_factory=lambda: array("d"))
    cost_usd: "array[float]" = field(default_factory=lambda: array("d"))
    reward_keys: "array[int]" = field(default_factory=lambda: array("Q"))
    rewards: "array[float]" = field(default_factory=lambda: array("d"))
    head: lines.ExperimentLine | None = None
    has_units: bool = False
    sample: float = 1.0
    set_aside: int = 0
    latest: float = -math.inf

    def decide(self, line: lines.DecisionLine) -> None:
        raw = bytes(line.propensities)
        row = self.weights.get(raw)
        if row is None:
            self.shares.append(_SHARES.decode(raw))
            row = self.weights[raw] = len(self.shares) - 1
            for name in self.shares[row]:
                self.arms.setdefault(name, len(self.arms))
        if self.shares[row].get(line.arm) != line.propensity:
            raise msgspec.ValidationError("the propensity is not that of the weights beside it")
        key = int(line.nonce_hash, 16)
        self.keys.append(key)
        self.units.append(int(line.unit_hash, 16) if line.unit_hash else key)
        self.has_units |= bool(line.unit_hash)
        self.time.append(line.time)
        self.arm.append(self.arms[line.arm])
        self.row.append(row)
        self.segment.append(line.segment)
        self.propensity.append(line.propensity)
        self.cost_usd.append(line.cost_usd)

    def reward(self, line: lines.RewardLine) -> None:
        self.reward_keys.append(int(line.nonce_hash, 16))
        self.rewards.append(line.reward)


def read_journal(
    folder: Path, *, experiment: str | None = None, since: float = 0.0, until: float = math.inf
) -> Records:
    """Read the decisions made in [since, until) unix s, and all rewards of theirs.

    NoRecords when the folder has no journal, or when `experiment` is not in it or must be named.
    """
    found: dict[str, _Columns] = {}
    unreadable = 0
    for line in _lines(folder):
        if line is None:
            unreadable += 1
        elif experiment is None or line.experiment == experiment:
            try:
                _note(found.setdefault(line.experiment, _Columns()), line, since, until)
            except msgspec.MsgspecError:
                unreadable += 1
    if not found:
        raise NoRecords(
            f"{folder} has nothing of " + (f"experiment '{experiment}'" if experiment else "any experiment")
        )
    if len(found) > 1:
        raise NoRecords(f"{folder} has several experiments; name one of {', '.join(sorted(found))}")
    ((name, columns),) = found.items()
    return _records(name, columns, unreadable)


def _lines(folder: Path) -> Iterator[lines.Line | None]:
    """Yield every line, None for one that can't be read; files may go while we read, as the gateway makes room."""
    try:
        paths = journal_files(folder)
    except OSError as error:
        raise NoRecords(f"can't read '{folder}': {error.strerror}") from error
    for path in paths:
        try:
            with path.open("rb") as file:
                for text in file:
                    try:
                        yield lines.decode(text)
                    except (msgspec.MsgspecError, UnicodeDecodeError):
                        yield None
        except FileNotFoundError:
            continue
        except OSError as error:
            raise NoRecords(f"can't read '{path}': {error.strerror}") from error


def _note(columns: _Columns, line: lines.Line, since: float, until: float) -> None:
    if isinstance(line, lines.ExperimentLine):
        columns.head = line
        return
    columns.latest = max(columns.latest, line.time)
    columns.sample = min(columns.sample, line.sample)
    if isinstance(line, lines.RewardLine):
        if line.is_learned:
            columns.reward(line)
    elif since <= line.time < until:
        if line.mode in _MODES:
            columns.decide(line)
        else:
            columns.set_aside += 1


def _records(name: str, columns: _Columns, unreadable: int) -> Records:
    keys = np.array(columns.keys, np.uint64)
    # A request that was sent again got the same decision: it was drawn once. And what was sampled more thinly for a
    # while is sampled as thinly throughout, so that no decision stands there without a reward that was left out.
    _, kept = np.unique(keys, return_index=True)
    kept = np.sort(kept[keys[kept] < columns.sample * lines.HASH_RANGE])
    time = np.array(columns.time)[kept]
    reward = _joined(keys[kept], columns)
    if columns.head is not None and columns.head.feedback == "conversions":
        # Silence means 0, but only when the window has passed; before, those that have answered are the good ones.
        is_ripe = time <= columns.latest - columns.head.window_s
        reward = np.where(is_ripe, np.nan_to_num(reward), np.nan)
    propensities = np.zeros((len(columns.shares), len(columns.arms)))
    for row, shares in enumerate(columns.shares):
        for arm, share in shares.items():
            propensities[row, columns.arms[arm]] = share
    units = np.array(columns.units, np.uint64)[kept].view(np.int64) if columns.has_units else None
    return Records(
        experiment=name,
        arms=tuple(columns.arms),
        propensities=propensities,
        time=time,
        arm=np.array(columns.arm, np.int64)[kept],
        propensity=np.array(columns.propensity)[kept],
        weights=np.array(columns.row, np.int64)[kept],
        segments=np.array(columns.segment, np.int64)[kept],
        units=units,
        cost_usd=np.array(columns.cost_usd)[kept],
        reward=reward,
        sample=columns.sample,
        decisions=kept.size / columns.sample if columns.sample else 0.0,
        set_aside=columns.set_aside,
        unreadable=unreadable,
        value_usd=columns.head.value_usd if columns.head else None,
    )


def _joined(keys: NDArray[np.uint64], columns: _Columns) -> Floats:
    """Return the mean reward of each decision over its events; NaN for those without."""
    result = np.full(keys.size, np.nan)
    rewarded, place = np.unique(np.array(columns.reward_keys, np.uint64), return_inverse=True)
    if not rewarded.size or not keys.size:
        return result
    means = np.bincount(place, np.array(columns.rewards)) / np.bincount(place)
    at = np.minimum(np.searchsorted(rewarded, keys), rewarded.size - 1)
    is_known = rewarded[at] == keys
    result[is_known] = means[at[is_known]]
    return result

"""The snapshot of an experiment: versioned weights and routes that the leader publishes and every worker reads.

It holds all a worker needs, so that no worker reads specifications or statistics; and the numbers behind the decision
(`view`), which workers never decode, so that any gateway can show them.
"""

from typing import Any, Final

import msgspec

# Weights are whole parts of this, so that a propensity is exact and all gateways choose alike. See bandits/weights.py.
PARTS: Final = 2**31
# Longest name of an event: it is part of the key by which rewards are counted once, which is stored.
EVENT_CHARS_MAX: Final = 64


class ArmRoute(msgspec.Struct, frozen=True):
    """Where an arm's requests go, and how many of `PARTS` it gets."""

    name: str
    backend: str
    model: str
    version: int
    parts: int
    price_usd_per_hour: float = 0.0  # what its backend costs now, for the bill; 0 while that is not known
    rps_max: float | None = None  # how many requests a second each worker may send to its backend; None: any
    is_merged: bool = True  # its rows do not depend on one another, as far as is known


class SegmentRoute(msgspec.Struct, frozen=True):
    """The parts of `PARTS` that each arm gets of a segment's requests; `name` is what they carry in `turpin-segment`."""

    name: str
    parts: tuple[int, ...]


class ShadowRoute(msgspec.Struct, frozen=True):
    """Where copies of requests go that other arms have answered, and how many of `PARTS`.

    `against` are the numbers of the arms whose answers count, none: of all. `run` tells comparisons apart that are to
    count anew.
    """

    name: str
    backend: str
    model: str
    version: int
    parts: int
    against: tuple[int, ...]
    max_in_flight: int
    timeout_s: float
    tolerance: float
    price_usd_per_hour: float = 0.0
    run: str = ""

    @property
    def key(self) -> str:
        """What its sums are kept under: they are of one servable, one way to compare, and one run."""
        against = ",".join(map(str, self.against))
        return f"{self.name} {self.backend}/{self.model}/{self.version} {self.tolerance:g} {against} {self.run}"


class Snapshot(msgspec.Struct, frozen=True):
    """What workers know of one experiment. Mutable state of the leader, frozen at `version`."""

    name: str
    model: str
    epoch: int
    version: int
    block: int
    published_at: float  # unix s
    mode: int  # a decisions.Mode: why arms are chosen now
    entry_labels: tuple[str, ...]
    control: int  # position of the control arm
    serving: int  # the arm that answers what the experiment itself does not: control, after the end the winner
    arms: tuple[ArmRoute, ...]
    is_sticky: bool
    reward_low: float
    reward_high: float
    window_s: float
    reference_rows: int
    # For the journal: what a reward of 1 is worth, and whether every outcome is reported or only conversions.
    value_usd: float | None = None
    feedback: str = "explicit"
    reward_event: str = "default"  # rewards of this event are learned, those of others kept apart
    call_max_s: float | None = None  # a call upstream that takes longer is counted as slow
    # Sticky: a unit counts once within this time; in an experiment without an end it may count again afterwards.
    unit_memory_s: float = 14 * 86400.0
    units_return: bool = False
    # The first takes every request of no other; none: all requests are drawn by the arms' own parts, those of all traffic.
    segments: tuple[SegmentRoute, ...] = ()
    revision: int = 0  # of what people ordered, which this snapshot follows
    is_archived: bool = False
    # Epochs that are over: rewards of their decisions are accepted, and not learned.
    former: tuple[int, ...] = ()
    shadows: tuple[ShadowRoute, ...] = ()
    workers: int = 1  # how many send, over all gateways: what a replica bears is divided among them
    view: msgspec.Raw = msgspec.Raw(b"null")


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(Snapshot)


def encode(snapshot: Snapshot) -> bytes:
    """Serialise for the store."""
    return _ENCODER.encode(snapshot)


def decode(raw: bytes) -> Snapshot:
    """Read a published snapshot; msgspec.ValidationError if a newer leader wrote what this version can't read."""
    return _DECODER.decode(raw)


def view_of(value: Any) -> msgspec.Raw:
    """Wrap the numbers behind a decision (JSON-able) so that workers carry them undecoded."""
    return msgspec.Raw(_ENCODER.encode(value))

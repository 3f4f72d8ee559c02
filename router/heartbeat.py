"""What a worker tells the leader with every flush: what it has in flight, and what it measured.

Soft state: it is replaced, never added, and a worker that is gone takes it along.
"""

from typing import Final

import msgspec

from router.egress import Sent
from router.shadow.sums import ShadowSums


class ArmBeat(msgspec.Struct, frozen=True):
    """One arm on one worker: requests in flight, probes as (rows, seconds), how many batches had how many rows, and how
    many of the last calls had no answer at all."""

    in_flight: int
    probes: tuple[tuple[int, float], ...] = ()
    batch_rows: dict[int, int] = {}
    # What became of reward calls for this arm's decisions since the worker's start, by the metrics' labels.
    reward_calls: dict[str, int] = {}
    unreached_in_a_row: int = 0


class ExperimentBeat(msgspec.Struct, frozen=True):
    """One experiment on one worker: the snapshot version it acts by, and its arms in order."""

    version: int
    arms: tuple[ArmBeat, ...]
    reward_call_at: float | None = None  # unix s of the last one


class ReplicaBeat(msgspec.Struct, frozen=True):
    """One replica's busy time on one worker since that began, in ns, calls under way included; and what of it was charged
    to which model and version ("": left to the server) when their calls ended."""

    busy_ns: int
    charged_ns: tuple[tuple[str, str, int], ...] = ()


class Heartbeat(msgspec.Struct, frozen=True):
    """All experiments of one worker, by epoch, and all replicas it calls, by backend and address; `away` are backends of
    which it has no replica that takes calls; `is_spooling` while rewards wait in its spool; `shadows` are its sums of copies since its start, by epoch and key; `egress` what sending answers has cost since then."""

    experiments: dict[int, ExperimentBeat]
    replicas: dict[str, dict[str, ReplicaBeat]] = {}
    away: tuple[str, ...] = ()
    is_spooling: bool = False
    number: int = 0  # grows with each; 0: a version that does not count them
    shadows: dict[int, dict[str, ShadowSums]] = {}
    egress: tuple[Sent, ...] = ()
    exchange_s: float = 0.0  # how long the last exchange with the store took that came to its end


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(Heartbeat)


def encode(heartbeat: Heartbeat) -> bytes:
    """Serialise for the store."""
    return _ENCODER.encode(heartbeat)


def decode(raw: bytes) -> Heartbeat:
    """Read a worker's heartbeat."""
    return _DECODER.decode(raw)

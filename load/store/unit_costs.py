"""What one reward, one worker, one leader, one cell and one prediction cost: values only."""

from typing import Any

import msgspec


class Load(msgspec.Struct, frozen=True):
    """What a Redis did in a second: microseconds of its processor, bytes in and out, commands."""

    cpu_us: float
    in_bytes: float
    out_bytes: float
    commands: float

    def less(self, other: "Load", parts: float) -> "Load":
        """Return what this is more than another, by parts."""
        mine, theirs = msgspec.structs.astuple(self), msgspec.structs.astuple(other)
        return Load(*((one - two) / parts for one, two in zip(mine, theirs, strict=True)))


class Pushed(msgspec.Struct, frozen=True):
    """What a reward cost Redis, in calls of so many by so many callers."""

    batch: int
    callers: int
    cpu_us: float
    in_bytes: float


class Units(msgspec.Struct, frozen=True):
    """What is written. `worker`: each one more; `leader`: what the first gateway costs beside its worker."""

    machine: dict[str, Any]
    worker: Load
    leader: Load
    snapshot_bytes: int
    rewards: list[Pushed]
    cell_bytes: float
    reward_bytes: float  # while it is remembered
    prediction_cpu_us: float  # of a gateway's process

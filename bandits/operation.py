"""What people order of an experiment as a whole; orders to its arms are in `bandits.life`.

`who` may carry the reason: "ops: the disk is full". When each order is refused, and what it changes, is in
`bandits.operate`.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Start:
    """An operator, or the seed file, starts the experiment."""

    now: float
    who: str = ""


@dataclass(frozen=True, slots=True)
class Pause:
    """An operator wants no learning and no retiring for now: control serves."""

    now: float
    who: str = ""


@dataclass(frozen=True, slots=True)
class Resume:
    """An operator lets a paused experiment go on where it was."""

    now: float
    who: str = ""


@dataclass(frozen=True, slots=True)
class Archive:
    """An operator puts a concluded experiment away."""

    now: float
    who: str = ""


@dataclass(frozen=True, slots=True)
class Bypass:
    """All traffic to control, after the end to the winner, until it is resumed."""

    now: float
    who: str = ""


@dataclass(frozen=True, slots=True)
class Stop:
    """End it undecided: the weights freeze, nothing is unloaded. `weights` are those that hold now, if they are known."""

    now: float
    who: str = ""
    weights: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Rollback:
    """Control serves, now or as soon as it is loaded and warm; what it replaces goes as a loser does.

    With `arm`, after the end, the arm of that number: the one that served under an earlier revision.
    """

    now: float
    who: str = ""
    arm: int | None = None


@dataclass(frozen=True, slots=True)
class AddArms:
    """Arms join: new ones are numbered after those there are, those that were dropped come back."""

    now: float
    names: tuple[str, ...]
    who: str = ""


@dataclass(frozen=True, slots=True)
class DropArm:
    """The arm is no longer part of the specification: it goes as a loser does, and its number stays taken."""

    now: float
    arm: int
    who: str = ""


Operation = Start | Pause | Resume | Archive | Bypass | Stop | Rollback | AddArms | DropArm

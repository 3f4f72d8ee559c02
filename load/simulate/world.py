"""A simulated world as people write it: what the arms really do, and what the learner is told (design §13).

Times are counted in requests; what is left out is as in an experiment's file.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, Strict, model_validator

from bandits.sums import SEGMENTS_MAX
from router.config.document import BadInput, Document, Problem, read_yaml, refuse, shown, validate
from router.config.experiment import ARMS_MAX, FLOOR_SUM_MAX
from router.config.fields import AutoFloat

# The reference's world: a look every 1,000 requests, and what 15 minutes are to it (bandit-science.md, Part II §2.3).
REFRESH = 1000
BLOCK = 5000
# Three years at 1,000 requests a second; longer worlds are mistakes of a unit.
REQUESTS_MAX = 100_000_000_000
# What one look tells is summed in steps of 2^-16, squared, in 64 bits.
LOOK_MAX = 1_000_000_000
# A run is one process's work: so many looks take a day.
LOOKS_MAX = 100_000_000
# Shares are written with a few digits; a third is .333333.
SHARES_TOLERANCE = 1e-5
# So many times the length of the world is never.
BEYOND = 4.0


def _whole(value: object) -> object:
    """Read 3e5 as the whole number it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Requests = Annotated[int, BeforeValidator(_whole), Field(ge=1, le=REQUESTS_MAX)]
Look = Annotated[int, BeforeValidator(_whole), Field(ge=1, le=LOOK_MAX)]
Moment = Annotated[int, BeforeValidator(_whole), Field(ge=0, le=REQUESTS_MAX)]
Rate = Annotated[float, Field(ge=0, le=1)]
Cost = Annotated[float, Field(ge=0)]
Span = Annotated[float, Field(gt=0)]
Delay = Annotated[float, Field(ge=0)]


class _Part(Document):
    """A mapping in which null means left out."""

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        return {key: value for key, value in given.items() if value is not None or key not in cls.model_fields}


class Slow(_Part):
    """A part of an arm's rewards that takes another time than the rest."""

    share: float = Field(gt=0, lt=1)
    delay_mean: Delay


class Arm(_Part):
    """What an arm really does: its mean reward, what a prediction costs, and how long a reward takes on average.

    Delays are exponential; with `slow` a mixture of two.
    """

    rate: float
    cost_usd: Cost = 0.0
    delay_mean: Delay = 0.0
    slow: Slow | None = None


class Cycle(_Part):
    """The hidden rhythm of all rates: rate · (1 + amplitude · sin(2π (t / period + phase))); logit: of the odds."""

    period: Span
    amplitude: float = Field(ge=-1, le=1)
    phase: float = 0.0
    shape: Literal["product", "logit"] = "product"


class Change(_Part):
    """Something of an arm is another from request `at` on."""

    at: Moment
    arm: int = Field(ge=0)
    rate: float | None = None
    cost_usd: Cost | None = None
    delay_mean: Delay | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.rate is None and self.cost_usd is None and self.delay_mean is None:
            refuse([Problem((), "must change one of rate, cost_usd, delay_mean")])
        return self


class Prior(_Part):
    """The belief before the first reward, as successes `a` and failures `b`."""

    a: Span = 1.0
    b: Span = 19.0


class Reward(_Part):
    """The law of a reward whose mean is the arm's rate.

    `spread` is the standard deviation of gaussian, sigma of lognormal, a + b of beta, the share of requests with any
    reward of sparse (the others' are lognormal with sigma 1). Values outside `range` are cut off at its ends.
    """

    law: Literal["binary", "gaussian", "lognormal", "beta", "sparse"] = "binary"
    spread: Span = 1.0
    range: Annotated[tuple[float, float], Strict(False)] = (0.0, 1.0)


class Stop(_Part):
    """When the learner may end the experiment. `cycle` is what it is told; left out: nothing."""

    delta: float | None = None
    margin: AutoFloat | None = None
    alpha: float | None = None
    min_per_arm: int | None = None
    cycle: Span | None = None
    min_cycles: int | None = None
    min_age: Delay | None = None


class Segment(_Part):
    """A part of the traffic in which arms have other mean rewards; left out: those of the arms."""

    share: float = Field(gt=0, le=1)
    rates: Annotated[tuple[float, ...], Strict(False)] | None = None


class World(_Part):
    """A whole world. `window` left out: no reward comes too late.

    Requests of the first of `segments` name none that is declared. With `segments_told: false` the learner hears of no
    segments at all: what one bandit for all traffic would do.
    """

    requests: Requests
    refresh: Look = REFRESH
    block: Look = BLOCK
    arms: Annotated[tuple[Arm, ...], Strict(False)] = Field(min_length=2, max_length=ARMS_MAX)
    # Regret is counted in rewards of this value: with no costs it does not matter.
    value_usd: Span = 1.0
    reward: Reward = Reward()
    feedback: Literal["explicit", "conversions"] = "explicit"
    window: Span | None = None
    mode: Literal["experiment", "always_on", "observe"] = "experiment"
    memory: Span | None = None
    policy: Literal["thompson", "ids", "epsilon_greedy", "ucb1", "exp3", "uniform", "pooled"] = "thompson"
    floor: float = Field(default=0.01, ge=0, lt=1)
    prior: Prior = Prior()
    cycle: Cycle | None = None
    changes: Annotated[tuple[Change, ...], Strict(False)] = ()
    segments: Annotated[tuple[Segment, ...], Strict(False)] = Field(default=(), max_length=SEGMENTS_MAX)
    segments_told: bool = True
    stop: Stop | None = None

    @property
    def window_told(self) -> float:
        """The window the learner is told: with none, one that nothing in this world outlives."""
        return self.window if self.window is not None else BEYOND * self.requests

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = []
        if self.requests > LOOKS_MAX * self.refresh:
            message = f"must be at least {-(-self.requests // LOOKS_MAX)} with {self.requests} requests"
            problems.append(Problem(("refresh",), f"{message}; got {self.refresh}"))
        if self.floor * len(self.arms) > FLOOR_SUM_MAX:
            most = f"must be at most {FLOOR_SUM_MAX / len(self.arms):g} with {len(self.arms)} arms"
            problems.append(Problem(("floor",), f"{most}; got {self.floor:g}"))
        low, high = self.reward.range
        if not low < high:
            problems.append(Problem(("reward", "range"), f"must be [low, high] with low < high; got {[low, high]}"))
        elif self.reward.law == "binary" and (low, high) != (0.0, 1.0):
            problems.append(Problem(("reward", "range"), f"must be [0, 1] of a binary reward; got {[low, high]}"))
        swing = 1.0 + abs(self.cycle.amplitude) if self.cycle and self.cycle.shape == "product" else 1.0
        for number, arm in enumerate(self.arms):
            problems += self._rate_problems(("arms", number, "rate"), arm.rate, swing)
        for number, change in enumerate(self.changes):
            if change.arm >= len(self.arms):
                message = f"must be an arm, 0..{len(self.arms) - 1}; got {change.arm}"
                problems.append(Problem(("changes", number, "arm"), message))
            if change.rate is not None:
                problems += self._rate_problems(("changes", number, "rate"), change.rate, swing)
        problems += self._segment_problems(swing)
        refuse(problems)
        return self

    def _segment_problems(self, swing: float) -> list[Problem]:
        problems: list[Problem] = []
        if not self.segments:
            return problems
        total = sum(segment.share for segment in self.segments)
        if abs(total - 1.0) > SHARES_TOLERANCE:
            problems.append(Problem(("segments",), f"the shares must add up to 1; they add up to {total:g}"))
        if any(change.rate is not None for change in self.changes):
            problems.append(Problem(("changes",), "must change no rate where segments have rates of their own"))
        for number, segment in enumerate(self.segments):
            place = ("segments", number, "rates")
            if segment.rates is not None and len(segment.rates) != len(self.arms):
                problems.append(
                    Problem(place, f"must be one for each of {len(self.arms)} arms; got {len(segment.rates)}")
                )
            for arm, rate in enumerate(segment.rates or ()):
                problems += self._rate_problems((*place, arm), rate, swing)
        return problems

    def _rate_problems(self, place: tuple[str | int, ...], rate: float, swing: float) -> list[Problem]:
        low, high = self.reward.range
        if not low <= rate <= high:
            return [Problem(place, f"must be in {low:g}..{high:g}; got {rate:g}")]
        if rate * swing > high:
            return [Problem(place, f"must stay within {high:g} over the cycle; {rate:g} reaches {rate * swing:g}")]
        return []


def read_world(text: str) -> World:
    """Read YAML, or the JSON that it includes; BadInput with every problem."""
    given = read_yaml(text)
    if not isinstance(given, Mapping):
        raise BadInput([Problem((), f"must be a mapping (requests: …, arms: …); got {shown(given)}")])
    return validate(World, given)


def load_world(path: str | Path) -> World:
    """Read a file; BadInput when it can't be read, too."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput([Problem((), f"can't read '{path}': {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise BadInput([Problem((), f"'{path}' is not text: {error.reason}")]) from error
    return read_world(text)

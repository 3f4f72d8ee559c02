"""What `turpin load` is to send: phases, from the command line or from a file of YAML."""

from dataclasses import dataclass
from typing import Any, Final

_KEYS: Final = ("name", "rate", "in_flight", "seconds", "warm_up")


class BadScenario(ValueError):
    """A file of phases that can't be used; the message says what would be right."""


@dataclass(frozen=True, slots=True)
class Phase:
    """Requests at `rate` a second, or `in_flight` of them at all times; of `seconds`, after `warm_up` that do not count."""

    name: str
    seconds: float
    rate: float = 0.0
    in_flight: int = 0
    warm_up: float = 0.0

    def __post_init__(self) -> None:
        if (self.rate > 0) == (self.in_flight > 0):
            seen = f"rate={self.rate:g} and in_flight={self.in_flight}"
            raise BadScenario(f"{self.name}: one of rate and in_flight must be positive, got {seen}")
        if self.seconds <= 0 or self.warm_up < 0:
            seen = f"seconds={self.seconds:g} and warm_up={self.warm_up:g}"
            raise BadScenario(f"{self.name}: seconds must be positive and warm_up not negative, got {seen}")

    @property
    def asked(self) -> dict[str, Any]:
        """Say it for a report."""
        return {"in_flight": self.in_flight} if self.in_flight else {"rate": self.rate}


def parse(text: str) -> tuple[Phase, ...]:
    """Read `phases: [{rate: 100, seconds: 10}, {in_flight: 64, seconds: 5}]`; BadScenario when it is something else."""
    import yaml

    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BadScenario(f"no YAML: {error}") from error
    phases = found.get("phases") if isinstance(found, dict) else None
    if not isinstance(phases, list) or not phases:
        raise BadScenario("it must have a list `phases`, as in `phases: [{rate: 100, seconds: 10}]`")
    return tuple(_phase(number, one) for number, one in enumerate(phases, 1))


def _phase(number: int, given: Any) -> Phase:
    name = f"phase {number}"
    if not isinstance(given, dict) or not set(given) <= set(_KEYS) or "seconds" not in given:
        raise BadScenario(f"{name}: it must have seconds, and may have {', '.join(_KEYS)}; got {given}")
    try:
        return Phase(
            name=str(given.get("name", name)),
            seconds=float(given["seconds"]),
            rate=float(given.get("rate", 0.0)),
            in_flight=int(given.get("in_flight", 0)),
            warm_up=float(given.get("warm_up", 0.0)),
        )
    except BadScenario:
        raise
    except (TypeError, ValueError) as error:
        raise BadScenario(f"{name}: {error}") from None

"""What a story needs, as plain values: its models, its model servers, its arms, and what it promises to show."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from load.demo.plan import EXPERIMENT, FORM_DIGITS, MODEL, VALUE_USD, ModelPlan
from load.scenarios.stage import Stage


@dataclass(frozen=True, slots=True)
class Cloud:
    """A model server that stands for a cloud: the backend's name, where it is, its price, what it loads first.

    A price in a feed is read from `prices.json` under the backend's name. A managed server's models are Turpin's;
    new versions are published where they lie if `is_publishing`.
    """

    backend: str
    location: str
    price_usd_per_hour: float
    versions: tuple[int, ...]
    is_in_feed: bool = False
    is_managed: bool = True
    is_publishing: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ArmPlan:
    """An arm: a version on a cloud."""

    name: str
    backend: str
    version: int
    reward_group: str | None = None

    def document(self) -> dict[str, Any]:
        """Return the arm as an experiment names it."""
        found: dict[str, Any] = {
            "name": self.name,
            "backend": self.backend,
            "model": MODEL,
            "version": self.version,
        }
        return found if self.reward_group is None else found | {"reward_group": self.reward_group}


@dataclass(frozen=True, slots=True)
class Story:
    """One story. The first arm is control; `later` are arms that join while it is told; `sections` are laid over the
    experiment's; all `checks` must hold in the end; `moody` is a version that takes the time a file tells it to.
    """

    title: str
    models: tuple[ModelPlan, ...]
    clouds: tuple[Cloud, ...]
    arms: tuple[ArmPlan, ...]
    checks: tuple[str, ...]
    play: Callable[[Stage], Awaitable[None]]
    later: tuple[ArmPlan, ...] = ()
    sections: Mapping[str, Mapping[str, Any] | list[Any]] = field(default_factory=dict)
    moody: int | None = None

    @property
    def all_arms(self) -> tuple[ArmPlan, ...]:
        """Return the arms it begins with, and those that join."""
        return self.arms + self.later

    def experiment(self) -> dict[str, Any]:
        """Return the experiment: rewards come at once and traffic is steady, so that seconds stand for days."""
        document: dict[str, Any] = {
            "name": EXPERIMENT,
            "model": MODEL,
            "control": self.arms[0].name,
            "arms": [arm.document() for arm in self.arms],
            "objective": {"kind": "net", "value_usd": VALUE_USD, "reward": {"type": "binary", "window": "10s"}},
            "policy": {"block": "2s", "refresh": "1s"},
            "stop": {"cycle": None, "min_age": "1h"},
            "on_stop": {"action": "retire", "grace": "0s", "unload": True},
            # A story is no test of latency: on a machine that plays all parts, nothing is to be shed.
            "batching": {"latency_ms": 5000, "max_rows": FORM_DIGITS},
        }
        for section, values in self.sections.items():
            document[section] = values if isinstance(values, list) else document.get(section, {}) | values
        return document

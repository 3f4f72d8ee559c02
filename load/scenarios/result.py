"""A story as one JSON object: the keys of the main demo, then `scenario` and `checks`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from load.demo import money
from load.demo.books import Books
from load.demo.money import ArmMoney
from load.demo.plan import EXPERIMENT, VALUE_USD
from load.demo.result import END
from load.demo.state import State
from load.demo.training import Trained
from load.scenarios.story import Story


@dataclass(slots=True)
class Telling:
    """All that is said of one telling. Mutable: filled in as it goes."""

    name: str
    story: Story
    seed: int
    books: Books
    checks: dict[str, bool]
    told: Sequence[str]
    state: State | None = None
    trained: Sequence[Trained] = ()
    rewards_sent: int = 0
    rewards_refused: Mapping[str, int] = field(default_factory=dict)
    duration_s: float = 0.0
    pids: dict[str, int] = field(default_factory=dict)
    # By backend: each version's state in the server's own words, and its comings and goings by the server's own log.
    servers: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    logged: Mapping[str, Sequence[str]] = field(default_factory=dict)
    stuck: str = ""

    @property
    def winner(self) -> str | None:
        """The arm that serves once the experiment is concluded."""
        return self.state.winner if self.state is not None and self.state.phase == "concluded" else None

    @property
    def unloaded(self) -> list[str]:
        """The arms whose version the model server itself reports as ended."""
        return [arm.name for arm in self.story.all_arms if self.servers.get(arm.backend, {}).get(arm.version) == END]

    @property
    def is_good(self) -> bool:
        """Whether it came to its end and everything holds."""
        return not self.stuck and all(self.checks.values())

    def arms(self) -> list[ArmMoney]:
        """Return the client's counts with the gateway's cost per prediction, of the arms that are known."""
        return [self._arm(name) for name in self.books.arms]

    def _arm(self, name: str) -> ArmMoney:
        count, state = self.books.arms[name], self.state.arm(name) if self.state is not None else None
        cost_usd = (state.prediction_cost_usd or 0.0) if state is not None else 0.0
        believed = state.rate if state is not None and state.rate is not None else 0.0
        return ArmMoney(name, count.requests, count.right, cost_usd, believed)


def document(telling: Telling) -> dict[str, Any]:
    """Return the JSON object."""
    arms, state, books = telling.arms(), telling.state, telling.books
    return {
        "requests": books.requests,
        "failed": books.failed_total,
        "experiment": EXPERIMENT,
        "phase": state.phase if state is not None else None,
        "winner": telling.winner,
        "retired": state.retired if state is not None else [],
        "unloaded": telling.unloaded,
        "shares": {arm: round(share, 6) for arm, share in books.shares().items()},
        "value_usd": money.earned_usd(arms, VALUE_USD),
        "uniform_value_usd": money.equal_split_usd(arms, VALUE_USD),
        "billed_usd": sum(arm.cost_usd for arm in state.arms) if state is not None else 0.0,
        "rewards_sent": telling.rewards_sent,
        "rewards_counted": state.rewards if state is not None else 0,
        "duration_s": round(telling.duration_s, 2),
        "scenario": telling.name,
        "checks": telling.checks,
        "seed": telling.seed,
        "pids": telling.pids,
        "servers": {
            name: {str(version): state for version, state in one.items()} for name, one in telling.servers.items()
        },
        "server_log": {name: list(lines) for name, lines in telling.logged.items()},
        "failures": dict(books.failures),
        "rewards_refused": dict(telling.rewards_refused),
        "stuck": telling.stuck,
        "story": list(telling.told),
    }

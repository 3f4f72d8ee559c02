"""What the client's calls return: values with the fields one asks for first, the whole document beside, and a picture."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from turpin.picture import state_html, table_html


@dataclass(frozen=True, slots=True)
class State:
    """The numbers behind an experiment's decisions; `document` is the whole answer (`/state` of the admin API)."""

    document: Mapping[str, Any]

    def __getitem__(self, key: str) -> Any:
        return self.document[key]

    def __repr__(self) -> str:
        shares = ", ".join(f"{name} {share:.1%}" for name, share in self.shares.items())
        text = f"<State of {self.name}: {self.phase}; {shares}>"
        # Shown on terminals, which would obey what can't be printed.
        return "".join(char if char.isprintable() else "?" for char in text)

    @property
    def name(self) -> str:
        """The experiment."""
        return str(self.document.get("name", ""))

    @property
    def phase(self) -> str:
        """Where it stands: warmup, running, confirming, draining, concluded …"""
        return str(self.document.get("phase", ""))

    @property
    def leader(self) -> str | None:
        """The arm that earns most, as far as is known."""
        found = self.document.get("leader")
        return None if found is None else str(found)

    @property
    def arms(self) -> dict[str, Mapping[str, Any]]:
        """Each arm's numbers, by its name."""
        listed = self.document.get("arms")
        return {str(arm.get("name")): arm for arm in listed or () if isinstance(arm, dict)}

    @property
    def shares(self) -> dict[str, float]:
        """Each arm's share of the requests that come now."""
        return {name: float(arm.get("weight") or 0.0) for name, arm in self.arms.items()}

    def _repr_html_(self) -> str:
        return state_html(self.document)


@dataclass(frozen=True, slots=True)
class Experiments:
    """All experiments of a gateway, in brief."""

    documents: tuple[Mapping[str, Any], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """What they are called."""
        return tuple(str(one.get("name", "")) for one in self.documents)

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        for one in self.documents:
            if one.get("name") == name:
                return one
        raise KeyError(name)

    def __len__(self) -> int:
        return len(self.documents)

    def _repr_html_(self) -> str:
        return table_html(("name", "model", "phase", "control", "leader", "winner"), self.documents)


@dataclass(frozen=True, slots=True)
class Decision:
    """An arm chosen without a prediction; `token` is what a reward brings back."""

    token: str
    arm: str
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a reward: whether it was there before, whether it is learned from, and how durable it is."""

    is_duplicate: bool
    is_learned: bool
    durability: str

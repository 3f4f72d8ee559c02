"""Seldon's router: the hop that says which of two models is to answer. It passes nothing on; Seldon's executor does."""

from collections.abc import Iterable
from typing import Any

from load.bench.peers.servers.work import Bandit, Model


class Router:
    """Draws an arm for each request, as Seldon's own examples of bandits do."""

    def __init__(self) -> None:
        self._bandit, self._models = Bandit(), [Model(0), Model(1)]

    def route(self, features: Any, feature_names: Iterable[str]) -> int:
        """Return an arm."""
        arm = self._bandit.draw()
        self._models[arm].count(len(features))
        return arm

"""Which experiments are refreshed in a turn of the leader: those that live always, quiet ones as far as the time goes.

A refresh takes 2 to 3 ms where nothing has happened, and a hundred experiments without traffic took a third of a core
(`make bench-growth`). So quiet ones share a quarter of each turn, whoever has waited longest first, and with few
experiments all are refreshed every time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

# Of a turn's period; the workers of a gateway with one process share a core with it.
_QUIET_SHARE: Final = 0.25
# Nobody waits for longer: weights older than 30 s raise an alert.
QUIET_MAX_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class _Last:
    """The last refresh of an experiment: the revision it left, when (loop time), whether nothing had happened."""

    revision: int
    at: float
    is_quiet: bool


class Rota:
    """Mutable: when each experiment was refreshed last."""

    def __init__(self, period_s: float) -> None:
        self.period_s = period_s
        self._last: dict[str, _Last] = {}

    def order(self, revisions: Mapping[str, int]) -> list[str]:
        """Return the experiments, those that live before the quiet ones; `revisions` are those that they have now."""
        # Another revision than the refresh left: a person has changed it. Experiments that are gone are forgotten.
        known = ((name, self._last.get(name)) for name in revisions)
        self._last = {name: last for name, last in known if last is not None and last.revision == revisions[name]}
        return sorted(revisions, key=self._waited)

    def _waited(self, name: str) -> tuple[bool, float]:
        last = self._last.get(name)
        return (False, 0.0) if last is None or not last.is_quiet else (True, last.at)

    def may_wait(self, name: str, began: float, now: float) -> bool:
        """Whether a quiet experiment is left for a later turn, in one that began at `began` (loop time)."""
        last = self._last.get(name)
        if last is None or not last.is_quiet or now >= last.at + QUIET_MAX_S:
            return False
        return now - began > _QUIET_SHARE * self.period_s

    def refreshed(self, name: str, revision: int, now: float, *, is_quiet: bool) -> None:
        """Note a refresh; `is_quiet`: nothing was counted, nothing happened, nothing is to be done."""
        self._last[name] = _Last(revision, now, is_quiet)

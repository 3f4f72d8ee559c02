"""What it costs to send answers out of a backend's network: by the bytes of each, at the backend's price."""

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

from serving.cost import egress_pico_usd

# (backend, model, version, pico-dollars), as a heartbeat tells it.
Sent = tuple[str, str, str, int]


class Egress:
    """The egress of one worker. Mutable: pico-dollars since its start by backend, model and version."""

    def __init__(self, usd_per_gib: Mapping[str, float] = MappingProxyType({})) -> None:
        self._usd_per_gib = usd_per_gib
        self._pico_usd: Counter[tuple[str, str, str]] = Counter()

    def charge(self, backend: str, model: str, version: int, size_bytes: int) -> int:
        """Count an answer, and return what it cost in pico-dollars. Only versions that an experiment names are counted."""
        price = self._usd_per_gib.get(backend, 0.0)
        pico_usd = egress_pico_usd(size_bytes, price) if price else 0
        if pico_usd:
            self._pico_usd[backend, model, str(version)] += pico_usd
        return pico_usd

    def sent(self) -> tuple[Sent, ...]:
        """Return all of it since the worker's start."""
        return tuple((*key, pico_usd) for key, pico_usd in self._pico_usd.items())

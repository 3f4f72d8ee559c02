"""What gateways say in their heartbeats, and which of them are heard. Pure.

Heartbeats are numbered. A number that stays for a second is a gateway that is paused, cut off, or dead; what it has
acknowledged since nobody knows. Where the store is far away or slow, heartbeats come as far apart as their exchanges take:
each says how long the last one took, and is given that much more time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from router import heartbeat
from router.heartbeat import ExperimentBeat, Heartbeat
from router.sync import SYNC_S

# Four heartbeats that did not come. A leader looks once a second.
UNHEARD_S: Final = 0.9
# Longer than this nobody is believed: two exchanges of a call each that nearly ran out of time are no working store.
UNHEARD_MAX_S: Final = 6.0


def patience_s(beat: Heartbeat) -> float:
    """Return how long a heartbeat may be the last one before its gateway counts as unheard."""
    # 0.9 s for exchanges that take no time.
    return min(UNHEARD_MAX_S, UNHEARD_S * (1.0 + beat.exchange_s / SYNC_S))


@dataclass(slots=True)
class Hearing:
    """Mutable: the last number of each gateway and since when it stands; minus infinity for one that was just met."""

    _numbers: dict[str, tuple[int, float]] = field(default_factory=dict)

    def unheard(self, beats: Mapping[str, Heartbeat], now: float) -> list[str]:
        """Take note of all heartbeats; return whose number stands still, or was never seen to move. `now`: loop time.

        Heartbeats without numbers are of an older version: those gateways count as heard.
        """
        before, self._numbers = self._numbers, {}
        found = []
        for name, beat in beats.items():
            number, since = before.get(name, (beat.number, float("-inf")))
            if beat.number != number:
                number, since = beat.number, now
            self._numbers[name] = (number, since)
            if beat.number and now - since >= patience_s(beat):
                found.append(name)
        return found


def decoded(raw: Mapping[str, bytes]) -> dict[str, Heartbeat]:
    """Read heartbeats as the store has them; a gateway that ended left an empty one."""
    return {gateway: heartbeat.decode(one) for gateway, one in raw.items() if one}


def beats_of(beats: Sequence[Heartbeat], epoch: int, arms: int) -> list[ExperimentBeat]:
    """Return what gateways say of one experiment; one that speaks of other arms acts by another revision."""
    found = (beat.experiments.get(epoch) for beat in beats)
    return [one for one in found if one is not None and len(one.arms) == arms]

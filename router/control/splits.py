"""From the weights of an assessment to whole parts: of all traffic, and of each segment's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from bandits.experiment import mode, receives
from bandits.life import Life
from bandits.weights import PARTS, to_parts
from router.control.capacity import within
from router.control.dossier import Dossier


@dataclass(frozen=True, slots=True)
class Splits:
    """Each arm's share of `PARTS`: of all traffic, and segment by segment where there are any."""

    parts: tuple[int, ...]
    segments: tuple[tuple[int, ...], ...] = ()

    @property
    def drawn(self) -> tuple[int, ...]:
        """All the parts that requests are drawn by, one after another."""
        return tuple(part for parts in self.segments for part in parts) or self.parts

    def is_silent(self, arm: int) -> bool:
        """Whether no request goes to the arm."""
        return not any(parts[arm] for parts in self.segments or (self.parts,))


def splits_of(dossier: Dossier, life: Life, rooms_of: Mapping[str, float] = MappingProxyType({})) -> Splits:
    """Return what is drawn by now: the assessed weights where they hold, else all to one arm. `rooms_of` are the shares
    that backends can bear (`router.control.capacity`)."""
    count = len(dossier.spec.segment_names())
    if not count:
        return Splits(_parts(dossier, life, life.weights, rooms_of))
    segments = tuple(_of_segment(dossier, life, segment, rooms_of) for segment in range(count))
    numbers = dossier.document.numbers
    known = [one.traffic for one in numbers.segments] if numbers else []
    traffic = known if len(known) == count and sum(known) > 0 else [1.0] * count
    return Splits(to_parts([_dot(traffic, column) for column in zip(*segments, strict=True)]), segments)


def _of_segment(dossier: Dossier, life: Life, segment: int, rooms_of: Mapping[str, float]) -> tuple[int, ...]:
    if mode(life) == "settled" and life.winner is not None:
        # An arm that the segment kept may have been taken out since.
        kept = life.serves[segment] if segment < len(life.serves) else life.winner
        arm = kept if receives(life)[kept] else life.winner
        return tuple(PARTS if place == arm else 0 for place in range(len(life.arms)))
    weights = life.segment_weights[segment] if segment < len(life.segment_weights) else None
    return _parts(dossier, life, weights, rooms_of)


def _parts(
    dossier: Dossier, life: Life, weights: Sequence[float] | None, rooms_of: Mapping[str, float]
) -> tuple[int, ...]:
    may = receives(life)
    if mode(life) in ("experiment", "frozen") and weights is not None:
        allowed = [weight if may[place] else 0.0 for place, weight in enumerate(weights)]
        if (total := sum(allowed)) > 0.0:
            shares = [weight / total for weight in allowed]
            return to_parts(within(shares, [arm.backend for arm in dossier.spec.arms], rooms_of, life.control))
    if dossier.spec.mode == "observe":
        may = tuple(place == life.control for place in range(len(may)))
    # No weights yet, or none of them holds any more: an equal split among those that may receive.
    return to_parts([float(one) for one in may])


def _dot(weights: Sequence[float], parts: Sequence[int]) -> float:
    return sum(weight * part for weight, part in zip(weights, parts, strict=True))

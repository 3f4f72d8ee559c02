"""The numbers behind each segment's weights, as the state shows them beside those of all traffic."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from bandits.sums import STEPS
from router.control.dossier import ArmNumbers, Dossier
from router.control.seen import Seen, deciding_cost_usd
from router.control.splits import Splits
from router.control.tally import Counted
from router.snapshot import PARTS

_SUMMED: Final = ("decisions", "unlearned_decisions", "rewards", "unlearned_rewards", "reward_q", "unlearned_reward_q")


def segments_view(dossier: Dossier, seen: Seen, counted: Counted, splits: Splits) -> list[dict[str, Any]]:
    """Return the segments, the rest first; none without any. What only an assessment knows is null before the first.

    `serves` is the arm a segment is settled on, null while it goes on learning.
    """
    life, numbers = dossier.life, dossier.document.numbers
    found = []
    for place, (name, parts) in enumerate(zip(dossier.spec.segment_names(), splits.segments, strict=True)):
        known = numbers.segments[place] if numbers and place < len(numbers.segments) else None
        settled = life.serves[place] if life.serves else life.winner
        settled = known.serves if known and settled is None else settled
        totals = counted.totals(_SUMMED, place)
        found.append(
            {
                "name": name,
                "traffic_ratio": known and known.traffic,
                "leader": known and life.arms[known.leader].name,
                "serves": None if settled is None else life.arms[settled].name,
                "arms": _arms(dossier, seen, totals, parts, known.arms if known else ()),
            }
        )
    return found


def _arms(
    dossier: Dossier,
    seen: Seen,
    totals: Sequence[Mapping[str, int]],
    parts: Sequence[int],
    known: Sequence[ArmNumbers],
) -> list[dict[str, Any]]:
    low, high = dossier.spec.objective.reward.range
    found = []
    for place, (arm, total) in enumerate(zip(dossier.life.arms, totals, strict=True)):
        assessed = known[place] if known else None
        # Without a cost there is no value, in segments either.
        is_valued = deciding_cost_usd(dossier, place, seen.prices_usd_per_hour) is not None
        valued = assessed if is_valued else None
        rewards = total["rewards"] + total["unlearned_rewards"]
        found.append(
            {
                "name": arm.name,
                "weight": parts[place] / PARTS,
                "decisions": total["decisions"] + total["unlearned_decisions"],
                "rewards": rewards,
                "reward_sum": low * rewards + (total["reward_q"] + total["unlearned_reward_q"]) / STEPS * (high - low),
                "rate": assessed and assessed.rate,
                "value_usd": valued and valued.value_usd,
                "value_usd_low": valued and valued.value_usd_low,
                "value_usd_high": valued and valued.value_usd_high,
                "best_probability": assessed and assessed.best_probability,
                "evidence_log": assessed and assessed.evidence_log,
                "refuted": assessed and assessed.is_refuted,
            }
        )
    return found

"""What the arithmetic is asked at a refresh: sums, costs and times of an experiment, as the learner knows them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from bandits.arrivals import LawCache, spans_of
from bandits.delay import DELAYS, DelaySums
from bandits.experiment import age_s, receives
from bandits.life import Life
from bandits.question import ArmFacts, Question
from bandits.sums import SUMMED, Int64s, Sums
from router.control.dossier import Document, Dossier
from router.control.freed import keeping_usd_day
from router.control.seen import Seen, deciding_cost_usd
from router.control.tally import Counted

# Requests that can't be padded are never probes; after so many decisions the calibration has to do.
_UNPROBED_MAX: Final = 2_000
_DAY_S: Final = 86_400.0


def question_of(
    dossier: Dossier,
    life: Life,
    counted: Counted,
    seen: Seen,
    now: float,
    laws: LawCache | None = None,
) -> Question:
    """Return the question of this refresh, but for its alarms; `now` in unix s. The cache only saves time."""
    document = dossier.document
    opened = _Opened.of(counted, document.block)
    sums = opened.sums(counted.of)
    starts_s = _starts_s(document, life, sums)
    question = Question(
        arms=_facts(dossier, life, sums, seen.prices_usd_per_hour),
        control=life.control,
        sums=sums,
        open_block=document.block,
        age_s=age_s(life, now),
        objective=dossier.spec.objective_rules(),
        policy=dossier.spec.policy_rules(),
        stop=dossier.spec.stop_rules(),
        blocks_closed=max(0, document.block - 1),
        open_share=min(1.0, max(0.0, now - max(document.block_starts, default=now)) / dossier.spec.policy.block),
        starts_s=starts_s,
        is_sprint=np.isin(sums.blocks, document.sprint_blocks),
        keeping_usd_day=keeping_usd_day(dossier, seen.alone_on, seen.prices_usd_per_hour),
        requests_per_day=_requests_per_day(sums, starts_s, age_s(life, now)),
        segments=tuple(
            opened.sums(partial(counted.of_segment, segment=segment))
            for segment in range(len(dossier.spec.segment_names()))
        ),
    )
    if question.objective.feedback == "explicit":
        return question
    read, window_s = partial(opened.delays, counted), question.objective.window_s
    return replace(question, law=(laws or LawCache()).law_of(sums, spans_of(question), window_s, read))


def _facts(dossier: Dossier, life: Life, sums: Sums, prices_usd_per_hour: Mapping[str, float]) -> tuple[ArmFacts, ...]:
    decisions, live, document = sums.decisions.sum(axis=0), receives(life), dossier.document
    costs = [deciding_cost_usd(dossier, place, prices_usd_per_hour) for place in range(len(live))]
    return tuple(
        ArmFacts(
            name=arm.name,
            # While it is not known nothing is decided by it: traffic is split equally, and nothing ends.
            cost_usd=costs[place] or 0.0,
            is_live=live[place],
            max_share=arm.max_share,
            is_cost_known=costs[place] is not None
            and (_is_probed(document, arm.name) or bool(decisions[place] >= _UNPROBED_MAX)),
            group=arm.reward_group,
        )
        for place, arm in enumerate(dossier.spec.arms)
    )


def _starts_s(document: Document, life: Life, sums: Sums) -> NDArray[np.float64]:
    """Return the age at which each row's block began; never falling, even when the clock was set back."""
    starts = np.array([document.block_starts[block - 1] for block in sums.blocks], np.float64)
    return np.maximum.accumulate(np.maximum(starts - (life.started_at or 0.0), 0.0))


def _requests_per_day(sums: Sums, starts_s: NDArray[np.float64], age: float) -> float:
    """Return the present traffic: that of the blocks begun within the last day, or of all there are."""
    rows = starts_s >= min(age - _DAY_S, starts_s.max(initial=0.0))
    span_s = age - float(starts_s[rows].min(initial=age))
    return float(sums.decisions[rows].sum()) / span_s * _DAY_S if span_s > 0.0 else 0.0


def _is_probed(document: Document, arm: str) -> bool:
    cost = document.costs.get(arm)
    return cost is not None and cost.is_probed


@dataclass(frozen=True, slots=True, eq=False)
class _Opened:
    """Which rows of what is counted are of blocks opened here that have decisions (T,), and which arms have any there
    (T, K). A block we never opened is another leader's, whose dossier was lost with its store."""

    blocks: Int64s
    rows: NDArray[np.bool_]
    is_ours: NDArray[np.bool_]

    @classmethod
    def of(cls, counted: Counted, block: int) -> Self:
        is_known = (counted.blocks > 0) & (counted.blocks <= block)
        is_ours = (counted.of("decisions") > 0) & is_known[:, None]
        rows = np.asarray(is_ours.any(axis=1), np.bool_)
        return cls(counted.blocks[rows], rows, is_ours[rows])

    def sums(self, of: Callable[[str], Int64s]) -> Sums:
        """Return the sums of these rows, by a function that gives a field's counts (T, K)."""
        return Sums(self.blocks, *(np.where(self.is_ours, of(name)[self.rows], 0) for name in SUMMED))

    def delays(self, counted: Counted, blocks: Sequence[int]) -> DelaySums:
        """Return the delays of some of these blocks."""
        rows, own = np.searchsorted(counted.blocks, blocks), np.searchsorted(self.blocks, blocks)
        delay_ms, *bins = (np.where(self.is_ours[own], counted.of(name)[rows], 0) for name in DELAYS)
        return DelaySums(delay_ms, np.stack(bins, axis=-1))

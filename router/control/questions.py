"""What the arithmetic is asked at a refresh: sums, costs and times of an experiment, as the learner knows them."""

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bandits.arrivals import LawCache, spans_of
from bandits.delay import DelaySums
from bandits.experiment import age_s, receives
from bandits.life import Life
from bandits.question import ArmFacts, Question
from bandits.sums import SUMMED, Sums, columns, keys_of
from router.control.dossier import Document, Dossier
from router.control.seen import Cells, Seen, deciding_cost_usd

# Requests that can't be padded are never probes; after so many decisions the calibration has to do.
_UNPROBED_MAX: Final = 2_000
_DAY_S: Final = 86_400.0


def _sums_of(dossier: Dossier, cells: Cells) -> Sums:
    """Return the sums of the blocks that were opened here and have decisions."""
    keys, values = keys_of(cells), columns(cells, SUMMED)
    # A block we never opened is another leader's, whose dossier was lost with its store.
    is_ours = (values[:, 0] > 0) & (keys[:, 1] > 0) & (keys[:, 1] <= dossier.document.block)
    return Sums.from_columns(keys[is_ours], values[is_ours], len(dossier.spec.arms))


def _opened(sums: Sums, cells: Cells) -> Cells:
    """Return the cells that these sums are of."""
    ours = set(sums.blocks.tolist())
    return {key: cell for key, cell in cells.items() if key[1] in ours and cell["decisions"]}


def question_of(dossier: Dossier, life: Life, seen: Seen, now: float, laws: LawCache | None = None) -> Question:
    """Return the question of this refresh, but for its alarms; `now` in unix s. The cache only saves time."""
    arms, document = dossier.spec.arms, dossier.document
    live = receives(life)
    sums = _sums_of(dossier, seen.cells)
    cells = _opened(sums, seen.cells) if seen.by_segment or dossier.spec.objective.reward.feedback != "explicit" else {}
    segments = tuple(
        Sums.from_cells({key: table[key] for key in cells if key in table}, len(arms), sums.blocks.tolist())
        for table in seen.by_segment
    )
    decisions = sums.decisions.sum(axis=0)
    costs = [deciding_cost_usd(dossier, place, seen.prices_usd_per_hour) for place in range(len(arms))]
    starts_s = _starts_s(document, life, sums)
    question = Question(
        arms=tuple(
            ArmFacts(
                name=arm.name,
                # While it is not known nothing is decided by it: traffic is split equally, and nothing ends.
                cost_usd=costs[place] or 0.0,
                is_live=live[place],
                max_share=arm.max_share,
                is_cost_known=costs[place] is not None
                and (_is_probed(document, arm.name) or decisions[place] >= _UNPROBED_MAX),
                group=arm.reward_group,
            )
            for place, arm in enumerate(arms)
        ),
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
        requests_per_day=_requests_per_day(sums, starts_s, age_s(life, now)),
        segments=segments,
    )
    if question.objective.feedback == "explicit":
        return question
    law = (laws or LawCache()).law_of(
        sums,
        spans_of(question),
        question.objective.window_s,
        lambda blocks: DelaySums.from_cells(cells, len(arms), blocks),
    )
    return replace(question, law=law)


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

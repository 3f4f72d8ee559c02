"""The alarms of an experiment: which sums each of them is asked about, and from when on those are complete."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bandits.health import Alarm, Draws, Effects, HealthCache, Reports, alarms
from bandits.sample_ratio import LAMBDAS
from bandits.strata import earned
from bandits.sums import Sums
from router.control.dossier import Document, Dossier
from router.control.tally import Counted

# So long after a block's end none of its requests is on its way any more: twenty times the deadline of a request that
# names none. What was drawn and has not ended by then was lost.
_ENDED_S: Final = 600.0


def alarms_of(
    dossier: Dossier,
    counted: Counted,
    sums: Sums,
    now: float,
    cache: HealthCache | None = None,
    *,
    segments: Sequence[Sums] = (),
) -> tuple[Alarm, ...]:
    """Return the alarms of an experiment of what is `counted`, and `sums` those of its blocks; `now` in unix s.

    With `segments`, the same rows for each, whatever is compared within a block is compared within (block, segment): traffic is split differently
    in each, and what differs between them is what they are for. The cache only saves time, and must have been used for this experiment alone.
    """
    spec, document = dossier.spec, dossier.document
    names = [arm.name for arm in spec.arms]
    # Of blocks whose window has passed: before, an arm whose rewards come later would seem to lose them.
    ripe = _ended_before(document, sums.blocks, now - spec.objective.reward.window)
    is_explicit = spec.objective.reward.feedback == "explicit"
    tables = segments or (sums,)
    decisions, rewards = (
        # Block by block, so that new strata come last.
        np.stack([table[ripe] for table in each], axis=1).reshape(-1, len(names)).astype(np.float64)
        for each in ([one.decisions for one in tables], [one.rewards for one in tables])
    )
    effects = {
        name: _effects(dossier, table, ripe)
        for name, table in zip(spec.segment_names() if segments else ("",), tables, strict=True)
    }
    is_by_request = not spec.policy.sticky
    return alarms(
        names,
        # All requests of a unit are one draw, and a client that reports nothing is one loss.
        draws=_draws(document, counted, now) if is_by_request else None,
        reports=Reports(decisions, rewards) if is_by_request and is_explicit else None,
        # Without an end advantages are expected to change; then drift is watched instead.
        effects=effects if spec.mode == "experiment" else {},
        cache=cache,
    )


def _effects(dossier: Dossier, sums: Sums, rows: NDArray[np.bool_]) -> Effects:
    """Return what is known of these rows' rewards."""
    reward = dossier.spec.objective.reward
    is_explicit = reward.feedback == "explicit"
    trials = (sums.rewards if is_explicit else np.maximum(sums.decisions, sums.rewards)).astype(np.float64)
    total, square = earned(sums, trials, dossier.spec.objective_rules())
    return Effects(
        control=dossier.life.control,
        trials=trials[rows],
        total=total[rows],
        square=square[rows],
        is_binary=reward.type == "binary",
    )


def _ended_before(document: Document, blocks: NDArray[np.int64], moment: float) -> NDArray[np.bool_]:
    """Say of each block whether it ended before this moment; the open one has not."""
    ends = np.append(np.array(document.block_starts[1:], np.float64), np.inf)
    return np.asarray(ends[blocks - 1] <= moment, np.bool_)


def _draws(document: Document, counted: Counted, now: float) -> Draws:
    """Return what was drawn, less what was drawn and never heard of again: it is missing, as if never drawn."""
    blocks, drawn = counted.blocks, counted.of("assigned")
    ended = counted.of("decisions") + counted.of("errors") + counted.of("cancelled")
    is_known = (blocks > 0) & (blocks <= document.block)
    has_ended = np.zeros(blocks.size, np.bool_)
    has_ended[is_known] = _ended_before(document, blocks[is_known], now - _ENDED_S)
    heard = np.where(has_ended[:, None], np.minimum(drawn, ended), drawn).sum(axis=0).tolist()
    moments = tuple(tuple(counted.moment(arm, place) for place in range(len(LAMBDAS))) for arm in range(len(heard)))
    return Draws(tuple(heard), moments)

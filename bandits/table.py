"""What the steps of a refresh share: what is known of the arms' rewards, what is believed of them, and how arms compare."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bandits import aims, arrivals, binary, claim, continuous, segmented, strata
from bandits.draws import Standing, standing
from bandits.evidence import GridCache
from bandits.gate import Belief
from bandits.question import Question

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Proof:
    """What claims are tested on. With conversions it is less than what weights believe, and nothing in it is estimated:
    levels and margins neither. `own`: what is believed of each segment."""

    outcomes: strata.Outcomes
    belief: Belief
    aim: aims.Aim
    own: tuple[binary.LogitBelief, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """`models` says which model each arm is; outcomes are per model (T, G), of all traffic; `scores` (draws, K)
    and `earned` (K,), dollars per prediction at the mean rewards `rate` (K,), are per arm. `parts` are the segments'."""

    question: Question
    models: list[int]
    is_live: Bools
    costs: Floats
    outcomes: strata.Outcomes
    belief: Belief
    aim: aims.Aim
    proof: Proof
    rate: Floats
    drawn: Floats
    scores: Floats
    place: Standing
    earned: Floats
    parts: tuple[segmented.Part, ...] = ()


def lay_out(question: Question, cache: GridCache, memory: segmented.SegmentMemory) -> Table:
    """Learn, and compare the arms: over all traffic, and within each segment."""
    models = list(question.models())
    is_live = np.array([arm.is_live for arm in question.arms])
    known = arrivals.known_of(question)
    each = _known_of_segments(question)
    live_models = len({model for model, live in zip(models, is_live, strict=True) if live})

    def weigh_up(name: str, whole: strata.Outcomes, own: Sequence[strata.Outcomes]) -> Proof:
        outcomes = strata.pool(whole, models)
        belief: Belief
        beliefs: tuple[binary.LogitBelief, ...] = ()
        if own:
            pooled = [strata.pool(one, models) for one in own]
            belief, beliefs = segmented.believe(question, pooled, live_models, cache, memory, name)
        elif question.objective.reward_type == "binary":
            belief = binary.believe(question, outcomes, outcomes, live_models, cache)
        else:
            belief = continuous.believe(question, outcomes, outcomes)
        return Proof(outcomes, belief, _aim(question, belief, is_live), beliefs)

    held = proof = weigh_up("proof", known.proof, [one.proof for one in each])
    if known.believed is not known.proof:
        held = weigh_up("believed", known.believed, [one.believed for one in each])
    belief, aim, rate = held.belief, held.aim, held.belief.rate[models]
    drawn = belief.drawn[:, models]
    scores = aim.scores(drawn)
    place = standing(scores, is_live, question.control)
    return Table(
        question,
        models,
        is_live,
        np.array([arm.cost_usd for arm in question.arms]),
        held.outcomes,
        belief,
        aim,
        proof,
        rate,
        drawn,
        scores,
        place,
        aim.earned_usd(rate[None, :], place.leader)[0],
        segmented.parts_of(question, held.own, proof.own, lambda one: _aim(question, one, is_live), is_live),
    )


def _known_of_segments(question: Question) -> list[arrivals.Known]:
    """Return what is known of each segment; nothing without any, or of one alone, which is all there is."""
    segments = question.segments
    if len(segments) < 2:
        return []
    # All segments together must not take longer than one posterior may.
    rows_max = strata.ROWS_MAX // len(segments)
    return [arrivals.known_of(replace(question, sums=sums, segments=()), rows_max) for sums in segments]


def _aim(question: Question, belief: Belief, is_live: Bools) -> aims.Aim:
    """Return the objective, at the mean rewards and with the margins of a belief."""
    models, stop = list(question.models()), question.stop
    rate = belief.rate[models]

    def margins(arm: int) -> float:
        return claim.margin_of(belief.noise(models[arm]), abs(float(rate[arm])), stop.delta, stop.margin)

    costs = np.array([arm.cost_usd for arm in question.arms])
    return aims.aim_of(question.objective, costs, rate, margins, is_live=is_live, slack=stop.delta)

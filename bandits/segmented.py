"""Each segment's part in a refresh: what it believes, how its own gate stands, whom it follows, and its weights.

Binary rewards alone: see `bandits.segments` for the posterior and `bandits.following` for the rule. Shapes: K arms,
T strata, G segments.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from bandits import aims, claim, spreading, strata
from bandits.binary import LogitBelief, is_cycle_seen
from bandits.draws import Standing, standing
from bandits.evidence import GridCache
from bandits.following import OwnGate, follow
from bandits.gate import Claim, Gate, examine
from bandits.question import Question, SegmentFacts
from bandits.segments import SegmentFit, refresh
from bandits.sprint import given_up_usd

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(slots=True)
class SegmentMemory:
    """What earlier refreshes leave to later ones. Mutable, one per experiment, safe to throw away.

    Without it the fit begins cold, and the spread between segments is chosen anew at once, not at every tenth refresh.
    """

    fits: dict[str, SegmentFit] = field(default_factory=dict)
    grids: list[GridCache] = field(default_factory=list)

    def grids_of(self, segments: int) -> list[GridCache]:
        """Return a cache for each segment."""
        self.grids += [GridCache() for _ in range(segments - len(self.grids))]
        return self.grids


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One segment: what is believed of it, how its arms compare, and its part of all decisions. Claims are tested on
    `proof` and `proof_aim`, which with conversions know less (`bandits.table`).

    `scores` (draws, K) and `earned` (K,), dollars per prediction at the mean rewards `rate` (K,), are per arm.
    """

    belief: LogitBelief
    aim: aims.Aim
    proof: LogitBelief
    proof_aim: aims.Aim
    rate: Floats
    scores: Floats
    place: Standing
    earned: Floats
    traffic: float


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """How the segments' own gates stand. `serves`: the arm each is settled on; `needed` (K,): the arms that some segment
    would still serve or compare if the leader of all traffic won. `is_drained`: of all traffic, or segment by segment."""

    gates: tuple[Gate, ...]
    serves: tuple[int | None, ...]
    needed: Bools
    is_drained: bool


def believe(
    question: Question, known: Sequence[strata.Outcomes], live: int, cache: GridCache, memory: SegmentMemory, name: str
) -> tuple[LogitBelief, tuple[LogitBelief, ...]]:
    """Fit all segments' outcomes, (T, models) each; return what is believed of all traffic, and of each segment.

    `name`: which of an experiment's fits it is, from refresh to refresh.
    """
    policy = question.policy
    fit = refresh(
        [strata.merge(each, live) for each in known], policy.prior_mean, policy.prior_strength, memory.fits.get(name)
    )
    memory.fits[name] = fit
    is_seen = is_cycle_seen(question)
    own = zip(fit.segments, known, memory.grids_of(len(known)), strict=True)
    return (
        LogitBelief(fit.overall, fit.overall, _by_time(known), cache, is_seen),
        tuple(LogitBelief(each, each, outcomes, grids, is_seen) for each, outcomes, grids in own),
    )


def _by_time(known: Sequence[strata.Outcomes]) -> strata.Outcomes:
    """Return the strata (block, segment) of all segments, block by block, so that new ones come last; shares unused."""
    rows = known[0].trials.shape[0] * len(known)

    def stacked(name: str) -> Floats:
        tables = np.stack([getattr(each, name) for each in known], axis=1)
        return tables.reshape(rows, *tables.shape[2:])

    names = ("trials", "total", "square", "pending", "share")
    return strata.Outcomes(*(stacked(name) for name in names))


def parts_of(
    question: Question,
    beliefs: Sequence[LogitBelief],
    proofs: Sequence[LogitBelief],
    aim_of: Callable[[LogitBelief], aims.Aim],
    is_live: Bools,
) -> tuple[Part, ...]:
    """Compare the arms within each segment."""
    models = list(question.models())
    # One segment alone is all there is, and no part of it.
    traffic = traffic_of(question) if beliefs else np.empty(0)
    found = []
    for belief, proof, part in zip(beliefs, proofs, traffic.tolist(), strict=True):
        aim, rate = aim_of(belief), belief.rate[models]
        proof_aim = aim if proof is belief else aim_of(proof)
        scores = aim.scores(belief.drawn[:, models])
        place = standing(scores, is_live, question.control)
        earned = aim.earned_usd(rate[None, :], place.leader)[0]
        found.append(Part(belief, aim, proof, proof_aim, rate, scores, place, earned, part))
    return tuple(found)


def traffic_of(question: Question) -> Floats:
    """Return each segment's part of all decisions (G,); equal parts before the first."""
    decided = np.array([float(each.decisions.sum()) for each in question.segments])
    return decided / decided.sum() if decided.sum() else np.full(decided.size, 1.0 / max(1, decided.size))


def judge(
    question: Question,
    parts: Sequence[Part],
    is_live: Bools,
    leader: int,
    *,
    is_confirmed: bool,
    is_ready: bool,
    is_drained: bool,
) -> Judged:
    """Ask each segment's own gate. `leader`: that of all traffic, and whether its gate has confirmed it.

    Segments settle once all traffic is drained, or once next to all of it is in segments that have an arm of their own:
    where they differ much, no arm is right for all, and one that is best by a little might never be found.
    """
    models, alpha, delta = question.models(), question.stop.alpha / max(1, len(parts)), question.stop.delta
    gates = []
    for part in parts:
        rivals = question.rivals(part.place.leader)
        gates.append(examine(part.proof, part.proof_aim, models, rivals, part.place.leader, alpha))
    own = [_own_gate(question, part, gate, leader, alpha) for part, gate in zip(parts, gates, strict=True)]
    is_small = _negligible([part.traffic for part in parts], delta)
    stand_alone = follow(None, [one for one, small in zip(own, is_small, strict=True) if not small], is_live)
    is_apart = bool(parts) and stand_alone.is_settled
    winner = leader if is_confirmed or is_apart else None
    serves = follow(winner, own, is_live).serves
    # Those that hardly matter hold nothing up.
    serves = tuple(winner if small and arm is None else arm for arm, small in zip(serves, is_small, strict=True))
    is_drained = is_drained or (is_ready and is_apart)
    is_settling = is_drained and bool(is_live.any())
    needed = follow(leader, own, is_live).needed
    return Judged(tuple(gates), serves if is_settling else (None,) * len(parts), needed, is_drained)


def _negligible(traffic: Sequence[float], delta: float) -> list[bool]:
    """Say of each segment whether it and all smaller ones together have no more than this part of the traffic."""
    return [sum(other for other in traffic if other <= own) <= delta for own in traffic]


def _own_gate(question: Question, part: Part, gate: Gate, winner: int, alpha: float) -> OwnGate:
    """Return what the segment says of the winner of all traffic."""
    leader = part.place.leader
    score = part.aim.scores(part.rate[None, :])[0]
    doubts = bool(score[leader] - score[winner] > question.stop.delta * part.aim.scale(leader))
    # Whichever holds, it goes its own way: the costlier question is asked only where the answer matters.
    excludes = leader != winner and not doubts and _excludes(question, part, gate, winner, alpha)
    # As for all traffic: no arm is kept while another may be better by more than stop.delta.
    is_drained = part.place.remaining <= question.stop.delta * part.aim.scale(leader)
    return OwnGate(leader, gate.refuted if is_drained else np.zeros_like(gate.refuted), excludes, doubts)


def _excludes(question: Question, part: Part, gate: Gate, winner: int, alpha: float) -> bool:
    """Say whether the segment's confidence sequence excludes that the winner is worth at least as much as its leader."""
    models, leader = question.models(), part.place.leader
    if question.objective.kind == "cheapest_within_margin":
        # Without its margin this objective asks something else.
        return bool(gate.refuted[winner])
    if models[winner] == models[leader]:
        return bool(part.earned[leader] > part.earned[winner])
    costs = np.array([arm.cost_usd for arm in question.arms])
    is_live = np.array([arm.is_live for arm in question.arms])
    plain = aims.aim_of(
        question.objective, costs, part.proof.rate[list(models)], lambda arm: 0.0, is_live=is_live, slack=0.0
    )
    rates = part.proof.ends(models[leader])
    asked = Claim(models[winner], models[leader], rates, plain.target(winner, leader, leader, rates))
    bar = claim.bar_log(len(set(models)), alpha)
    # A cache of its own: asked for one pair, the segment's would forget the others.
    alone = replace(part.proof, cache=GridCache())
    return alone.test([asked], bar)[0].log_evidence >= bar


def weigh(
    question: Question,
    parts: Sequence[Part],
    judged: Judged,
    is_live: Bools,
    refuted: Bools | None,
    *,
    is_sprint: bool,
    is_untried: bool,
) -> tuple[Floats, ...]:
    """Return each segment's shares (K,). `refuted` (K,): by all traffic, None once its leader is confirmed.

    In a sprint each segment gives the sprint's share to its own leader; the arms that split the rest are those that all
    traffic has to judge, and afterwards those that the segment has.
    """
    found = []
    for part, gate, served in zip(parts, judged.gates, judged.serves, strict=True):
        if served is not None:
            shares = spreading.bounded(question, is_live, np.eye(is_live.size)[served])
        elif is_sprint:
            waiting = is_live & ~(gate.refuted if refuted is None else refuted)
            shares = spreading.by_sprint(question, is_live, waiting, part.place.leader)
        else:
            shares = spreading.by_policy(question, is_live, part.scores, is_untried=is_untried)
        found.append(shares)
    return tuple(found)


def facts_of(question: Question, parts: Sequence[Part], judged: Judged, split: Sequence[Floats]) -> list[SegmentFacts]:
    """Return what is shown of each segment."""
    models, value_usd = list(question.models()), question.objective.value_usd
    costs = np.array([arm.cost_usd for arm in question.arms])
    return [
        SegmentFacts(
            weights=shares,
            traffic=part.traffic,
            serves=served,
            leader=part.place.leader,
            p_best=part.place.p_best,
            rate=part.rate,
            value_usd=value_usd * part.rate - costs,
            value_low=value_usd * part.belief.low[models] - costs,
            value_high=value_usd * part.belief.high[models] - costs,
            evidence_log=gate.log_evidence,
            refuted=gate.refuted,
            score=part.aim.scores(part.rate[None, :])[0],
        )
        for part, gate, served, shares in zip(parts, judged.gates, judged.serves, split, strict=True)
    ]


def lost_usd(parts: Sequence[Part], given: Sequence[Floats]) -> float:
    """Return what these shares, or counts, of each segment (K,) give up against its own leader."""
    return sum(given_up_usd(one, part.earned, part.place.leader) for part, one in zip(parts, given, strict=True))

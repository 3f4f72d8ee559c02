"""One refresh of the learner: from sums and prices to weights, value remaining, evidence, and what may end."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bandits import aims, arrivals, binary, claim, continuous, drift, readiness, sprint, strata, weights
from bandits.alarm import Alarm
from bandits.draws import Standing, best_shares, standing
from bandits.evidence import GridCache
from bandits.gate import Belief, Gate, claim_of, examine
from bandits.ids import information_directed
from bandits.question import ArmFacts, Assessment, Question, SprintFacts
from bandits.worth import sample_worth

__all__ = ["ArmFacts", "Assessment", "Question", "assess"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# A single arm may go when it is hardly ever best and dropping it costs next to nothing (bandit-science.md, Part II §3).
RETIRE_P_BEST_MAX = 0.01
RETIRE_DROP_MAX = 0.001


@dataclass(frozen=True, slots=True, eq=False)
class _Proof:
    """What claims are tested on. With conversions it is less than what weights believe, and nothing in it is estimated:
    levels and margins neither."""

    outcomes: strata.Outcomes
    belief: Belief
    aim: aims.Aim


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """What the steps of one refresh share. `models` says which model each arm is; outcomes are per model (T, G);
    `scores` (draws, K) and `earned` (K,), dollars per prediction at the mean rewards `rate` (K,), are per arm."""

    question: Question
    models: list[int]
    is_live: Bools
    costs: Floats
    outcomes: strata.Outcomes
    belief: Belief
    aim: aims.Aim
    proof: "_Proof"
    rate: Floats
    drawn: Floats
    scores: Floats
    place: Standing
    earned: Floats


def assess(question: Question, cache: GridCache | None = None) -> Assessment:
    """Answer the question; the cache only saves time, and must belong to this experiment."""
    table = _lay_out(question, cache or GridCache())
    belief, place, costs, models = table.belief, table.place, table.costs, table.models
    leader, can_end = place.leader, question.policy.mode == "experiment"
    rivals = question.rivals(leader)
    gate = examine(table.proof.belief, table.proof.aim, models, rivals, leader, question.stop.alpha)
    unready = readiness.reasons(question, table.proof.outcomes, table.proof.belief.rate)
    scale = table.aim.scale(leader)
    is_drained = not unready and place.remaining <= question.stop.delta * scale
    is_over = is_drained and len(question.arms) > 1 and bool(table.is_live.any() and gate.refuted[rivals].all())
    sprint_shares = _sprint_shares(table, gate)
    facts = _sprint(table, gate, sprint_shares, is_wanted=is_drained and not is_over)
    shares = _weigh(table, sprint_shares if facts.is_running else None)
    value_usd = question.objective.value_usd
    leaving = _leaving(table, gate.refuted, scale, is_ready=not unready, is_over=is_over)
    return Assessment(
        weights=shares,
        p_best=place.p_best,
        leader=leader,
        rate=table.rate,
        value_usd=value_usd * table.rate - costs,
        value_low=value_usd * belief.low[models] - costs,
        value_high=value_usd * belief.high[models] - costs,
        # A leader worth exactly nothing: any value remaining is infinitely more.
        remaining_q95=place.remaining / scale if scale > 0 else math.inf if place.remaining > 0 else 0.0,
        threshold=question.stop.delta,
        is_ready=not unready,
        not_ready=unready,
        is_drained=is_drained,
        evidence_log=gate.log_evidence,
        evidence_bar_log=gate.bar,
        refuted=gate.refuted,
        retire=tuple(arm for arm in leaving if models[arm] != models[leader]),
        is_over=is_over,
        margin=gate.margin,
        certified_gap=gate.certified_gap,
        drop=place.drop,
        score=table.aim.scores(table.rate[None, :])[0],
        park=tuple(arm for arm in leaving if models[arm] == models[leader]) if is_over else (),
        given_up_usd=sprint.given_up_usd(shares, table.earned, leader),
        sprint=facts,
        worth_usd_day=_worth_usd_day(table, shares),
        drift=() if can_end else _drift(table),
    )


def _lay_out(question: Question, cache: GridCache) -> _Table:
    """Learn, and compare the arms."""
    objective, models = question.objective, list(question.models())
    is_live = np.array([arm.is_live for arm in question.arms])
    costs = np.array([arm.cost_usd for arm in question.arms])
    known = arrivals.known_of(question)
    live_models = len({model for model, live in zip(models, is_live, strict=True) if live})

    def weigh_up(outcomes: strata.Outcomes) -> _Proof:
        belief: Belief = (
            binary.believe(question, outcomes, outcomes, live_models, cache)
            if objective.reward_type == "binary"
            else continuous.believe(question, outcomes, outcomes)
        )
        return _Proof(outcomes, belief, _aim(question, belief, costs, is_live))

    proof = weigh_up(strata.pool(known.proof, models))
    held = proof if known.believed is known.proof else weigh_up(strata.pool(known.believed, models))
    belief, aim, rate = held.belief, held.aim, held.belief.rate[models]
    drawn = belief.drawn[:, models]
    scores = aim.scores(drawn)
    place = standing(scores, is_live, question.control)
    earned = aim.earned_usd(rate[None, :], place.leader)[0]
    return _Table(
        question, models, is_live, costs, held.outcomes, belief, aim, proof, rate, drawn, scores, place, earned
    )


def _aim(question: Question, belief: Belief, costs: Floats, is_live: Bools) -> aims.Aim:
    """Return the objective, at the mean rewards and with the margins of a belief."""
    models, stop = list(question.models()), question.stop
    rate = belief.rate[models]

    def margins(arm: int) -> float:
        return claim.margin_of(belief.noise(models[arm]), abs(float(rate[arm])), stop.delta, stop.margin)

    return aims.aim_of(question.objective, costs, rate, margins, is_live=is_live, slack=stop.delta)


def _weigh(table: _Table, sprint_shares: Floats | None) -> Floats:
    """Return the shares of traffic: equal at first, then the policy's, then the sprint's; with floor and caps."""
    question, is_live = table.question, table.is_live
    if question.policy.mode == "observe" or not is_live.any():
        return np.asarray(np.arange(is_live.size) == question.control, np.float64)
    caps = np.array([arm.max_share for arm in question.arms])
    if sprint_shares is not None:
        return sprint_shares
    if is_live.sum() > 1 and _is_untried(table):
        shares = is_live.astype(np.float64)
    elif question.policy.kind == "ids":
        shares = information_directed(table.scores, is_live)
    else:
        shares = best_shares(table.scores, is_live, weights.unfloored(caps, is_live, question.policy.floor))
    return weights.capped(weights.floored(shares, is_live, question.policy.floor), caps, question.control)


def _is_untried(table: _Table) -> bool:
    """Say whether a live arm has too few outcomes, or a cost that traffic has not confirmed."""
    is_known = np.array([arm.is_cost_known for arm in table.question.arms])
    trials = table.outcomes.trials.sum(axis=0)[table.models]
    return bool(((trials < table.question.stop.min_per_arm) | ~is_known)[table.is_live].any())


def _contenders(table: _Table, gate: Gate) -> list[int]:
    """Return the arms that a sprint would give traffic to: of each model not yet refuted, the cheapest."""
    waiting = table.is_live & ~gate.refuted
    waiting[table.place.leader] = False
    return sprint.representatives(waiting, table.models, table.costs)


def _sprint_shares(table: _Table, gate: Gate) -> Floats:
    """Return the shares a sprint would have, with floor and caps."""
    question, leader = table.question, table.place.leader
    wanted = sprint.shares(_contenders(table, gate), len(question.arms), leader, question.stop.sprint_leader or 1.0)
    caps = np.array([arm.max_share for arm in question.arms])
    return weights.capped(weights.floored(wanted, table.is_live, question.policy.floor), caps, question.control)


def _sprint(table: _Table, gate: Gate, shares: Floats, *, is_wanted: bool) -> SprintFacts:
    """Return what the sprint will cost from here, what it has cost, and whether it runs."""
    stop, leader, earned = table.question.stop, table.place.leader, table.earned
    contests = [_contest(table, gate, rival, shares) for rival in _contenders(table, gate)]
    requests = sprint.requests_needed(contests, gate.bar)
    per_prediction = sprint.given_up_usd(shares, earned, leader)
    price = requests * per_prediction if per_prediction > 0.0 else 0.0
    spent = _spent_usd(table)
    refused = ""
    if stop.sprint_leader is None:
        refused = "stop.sprint is null"
    elif stop.sprint_max_usd is not None and not spent + price <= stop.sprint_max_usd:
        refused = f"it would cost ${spent + price:.4g} in all, stop.sprint.max_usd is ${stop.sprint_max_usd:.4g}"
    return SprintFacts(is_wanted and not refused, requests, price, spent, refused if is_wanted else "")


def _contest(table: _Table, gate: Gate, rival: int, shares: Floats) -> sprint.Contest:
    """Return how a rival's claim against the leader stands."""
    belief, models, leader = table.proof.belief, table.models, table.place.leader
    asked = claim_of(belief, table.proof.aim, models, rival, leader, leader)
    trials = table.proof.outcomes.trials.sum(axis=0)
    ahead = float(belief.rate[asked.k] - belief.rate[asked.l])
    of_model = [float(shares[np.array(models) == model].sum()) for model in (asked.k, asked.l)]
    return sprint.Contest(
        float((asked.targets - asked.rates).min()) - ahead,
        float(gate.log_evidence[rival]),
        *(belief.noise(model) for model in (asked.k, asked.l)),
        *(float(trials[model]) for model in (asked.k, asked.l)),
        *of_model,
    )


def _spent_usd(table: _Table) -> float:
    """Return what the rows of a sprint have given up, at today's estimates."""
    question, leader = table.question, table.place.leader
    if question.is_sprint is None:
        return 0.0
    served = np.maximum(question.sums.decisions, question.sums.rewards)[question.is_sprint].sum(axis=0)
    return sprint.given_up_usd(served.astype(np.float64), table.earned, leader)


def _worth_usd_day(table: _Table, shares: Floats) -> float:
    """Return what a day more of these shares would be worth on every day after it."""
    per_day, live = table.question.requests_per_day, np.flatnonzero(table.is_live)
    if per_day <= 0.0 or live.size < 2 or table.place.leader not in live:
        return 0.0
    same = np.array(table.models)[:, None] == np.array(table.models)
    more = (same @ shares)[live] * per_day
    trials = table.outcomes.trials.sum(axis=0)[table.models][live]
    leader = int(np.flatnonzero(live == table.place.leader)[0])
    earned = table.aim.earned_usd(table.drawn, table.place.leader)[:, live]
    return sample_worth(earned, leader, trials, more) * per_day


def _drift(table: _Table) -> tuple[Alarm, ...]:
    objective, arms = table.question.objective, table.question.arms
    names = [arms[table.models.index(model)].name for model in range(max(table.models) + 1)]
    return drift.drifts(names, table.proof.outcomes, objective.low, objective.high - objective.low)


def _leaving(table: _Table, refuted: Bools, scale: float, *, is_ready: bool, is_over: bool) -> list[int]:
    """Return the refuted arms that may go: all at the end, before only those that are next to worthless too.

    Copies of a model go together: what is known of one is known of all, and the cheapest was the best of them.
    """
    place, models = table.place, np.array(table.models)
    is_worthless = (place.p_best < RETIRE_P_BEST_MAX) & (place.drop < RETIRE_DROP_MAX * scale)
    may_go = refuted if is_over else refuted & is_worthless & is_ready
    stays = {int(model) for model in models[table.is_live & ~may_go]}
    return [arm for arm in np.flatnonzero(may_go).tolist() if is_over or int(models[arm]) not in stays]

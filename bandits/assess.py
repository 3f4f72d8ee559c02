"""One refresh of the learner: from sums and prices to weights, value remaining, evidence, and what may end."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bandits import drift, readiness, segmented, spreading, sprint
from bandits.alarm import Alarm
from bandits.draws import narrowed
from bandits.evidence import GridCache
from bandits.gate import Gate, claim_of, examine
from bandits.question import ArmFacts, Assessment, Question, SegmentFacts, SprintFacts
from bandits.segmented import SegmentMemory
from bandits.sums import Sums
from bandits.table import Table, lay_out
from bandits.worth import pays, sample_worth

__all__ = ["ArmFacts", "Assessment", "Question", "assess"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# A single arm may go when it is hardly ever best and dropping it costs next to nothing (bandit-science.md, Part II §3).
RETIRE_P_BEST_MAX = 0.01
RETIRE_DROP_MAX = 0.001
# A sprint begins before all is drained, at this many times the value that may be in doubt, and goes on until twice as
# much is: estimates waver while it brings evidence, and each change of shares costs a stratum. Measured at 5 % and 6 %
# under a daily rhythm, 100 runs each (begins at, ends at): (1, 3) ended after 16k requests, nine in ten by 32k; (3, 3)
# after 15k and 25k; (3, 6) after 15k and 25k; at the same regret; none ended wrong. With a gap of 5 %, (1, 3) ended after
# 85k, 4 of 200 runs on the worse arm; (3, 6) after 61k, 5 of 330; all ended by 400k.
SPRINT_AT = 3.0
SPRINT_HOLD = 6.0
_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True, eq=False)
class _Spread:
    """The shares of the traffic (K,), of all and in each segment, and what they give up per prediction."""

    shares: Floats
    segments: tuple[SegmentFacts, ...]
    given_up_usd: float


def assess(question: Question, cache: GridCache | None = None, memory: SegmentMemory | None = None) -> Assessment:
    """Answer the question; cache and memory must belong to this experiment. The cache only saves time."""
    table = lay_out(question, cache or GridCache(), memory or SegmentMemory())
    belief, place, costs, models = table.belief, table.place, table.costs, table.models
    leader, rivals, value_usd = place.leader, question.rivals(place.leader), question.objective.value_usd
    lacking = readiness.missing(question, table.proof.outcomes, table.proof.belief.rate)
    unready = lacking.words
    found = examine(table.proof.belief, table.proof.aim, models, rivals, leader, question.stop.alpha)
    gate = _unless_scarce(found, rivals, leader, lacking.arms)
    scale = table.aim.scale(leader)
    is_confirmed = len(question.arms) > 1 and bool(table.is_live.any() and gate.refuted[rivals].all())
    judged, is_spent = _judge(table, is_confirmed=is_confirmed, is_ready=not unready)
    is_over = judged.is_drained and (None not in judged.serves if table.parts else is_confirmed)
    wants_sprint = judged.is_drained or (not (lacking.waits or is_confirmed) and _wants_sprint(table, scale))
    facts = _sprint(table, gate, is_wanted=wants_sprint and not is_over)
    spread = _spread(
        table, gate, judged, is_confirmed=is_confirmed, is_sprint=facts.is_running, is_hurried=not lacking.waits
    )
    leaving = _leaving(table, gate.refuted, judged.needed, scale, is_ready=not unready, is_over=is_over)
    return Assessment(
        weights=spread.shares,
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
        is_drained=judged.is_drained,
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
        given_up_usd=spread.given_up_usd,
        sprint=facts,
        worth_usd_day=_worth_usd_day(table, spread.shares),
        drift=() if question.policy.mode == "experiment" else _drift(table),
        segments=spread.segments,
        is_spent=is_spent,
    )


def _judge(table: Table, *, is_confirmed: bool, is_ready: bool) -> tuple[segmented.Judged, bool]:
    """Say whether anything of value remains, and where segments go; and whether what remains costs more than it is."""
    question, leader = table.question, table.place.leader
    has_value = table.place.remaining > question.stop.delta * table.aim.scale(leader)
    is_spent = is_ready and has_value and _is_spent(table)
    is_drained = is_ready and (is_spent or not has_value)
    judged = segmented.judge(
        question,
        table.parts,
        table.is_live,
        leader,
        is_confirmed=is_confirmed,
        is_ready=is_ready,
        is_drained=is_drained,
    )
    return judged, is_spent


def _is_spent(table: Table) -> bool:
    """Say whether going on costs more than it brings, where machines that only losers keep on are to count."""
    question, leader = table.question, table.place.leader
    if not (question.stop.idle_counts and question.keeping_usd_day > 0.0 and table.is_live.any()):
        return False
    shares = spreading.by_policy(question, table.is_live, _steering(table, is_hurried=True), is_untried=False)
    given_up = sprint.given_up_usd(shares, table.earned, leader) * question.requests_per_day
    horizon_days = (question.stop.max_duration_s - question.age_s) / _DAY_S
    return not pays(lambda days: _worth_usd_day(table, shares, days), question.keeping_usd_day + given_up, horizon_days)


def _spread(
    table: Table, gate: Gate, judged: segmented.Judged, *, is_confirmed: bool, is_sprint: bool, is_hurried: bool
) -> _Spread:
    """Return the shares of traffic: equal at first, then the policy's, then the sprint's; with floor and caps."""
    question, is_live, parts = table.question, table.is_live, table.parts
    is_untried = _is_untried(table)
    if question.policy.mode == "observe" or not is_live.any():
        shares = np.eye(is_live.size)[question.control]
        split: tuple[Floats, ...] = (shares,) * len(parts)
    elif parts:
        refuted = None if is_confirmed else gate.refuted
        split = segmented.weigh(question, parts, judged, is_live, refuted, is_sprint=is_sprint, is_untried=is_untried)
        shares = np.asarray(sum(part.traffic * one for part, one in zip(parts, split, strict=True)))
    else:
        split = ()
        shares = (
            _sprint_shares(table, gate)
            if is_sprint
            else spreading.by_policy(question, is_live, _steering(table, is_hurried=is_hurried), is_untried=is_untried)
        )
    given_up = sprint.given_up_usd(shares, table.earned, table.place.leader)
    if parts:
        given_up = segmented.lost_usd(parts, [part.traffic * one for part, one in zip(parts, split, strict=True)])
    return _Spread(shares, tuple(segmented.facts_of(question, parts, judged, split)), given_up)


def _steering(table: Table, *, is_hurried: bool) -> Floats:
    """Return the scores (draws, K) that weights follow.

    What a wide belief explores beyond need is evidence, and ends an experiment sooner. One that waits for something
    else, its age, a cycle, an alarm, or never ends, has no use for it.
    """
    drawn = table.belief.steering
    if table.question.policy.kind == "thompson" and not is_hurried:
        drawn = narrowed(drawn)
    return table.aim.scores(drawn[:, table.models])


def _is_untried(table: Table) -> bool:
    """Say whether a live arm has too few outcomes, or a cost that traffic has not confirmed."""
    is_known = np.array([arm.is_cost_known for arm in table.question.arms])
    trials = table.outcomes.trials.sum(axis=0)[table.models]
    return bool(((trials < table.question.stop.min_per_arm) | ~is_known)[table.is_live].any())


def _wants_sprint(table: Table, scale: float) -> bool:
    """Say whether so little remains to be won that the others may be judged, or go on being judged.

    Not once all are refuted: a sprint would starve them, and what is in doubt would stay so (3 of 30 runs with a gap of 5 %
    had not ended by 400k). Also where arms lack outcomes still, once the first equal split is over: starved at the floor
    they would hardly ever get them. Segments are not hurried: each has its own leader.
    """
    if table.parts or _is_untried(table):
        return False
    sprints = table.question.is_sprint
    is_under_way = sprints is not None and bool(sprints[-1:].any())
    return table.place.remaining <= (SPRINT_HOLD if is_under_way else SPRINT_AT) * table.question.stop.delta * scale


def _unless_scarce(gate: Gate, rivals: Sequence[int], leader: int, scarce: Sequence[int]) -> Gate:
    """Return the gate without what it says of arms that lack outcomes: it is no claim yet, and a sprint is to bring them.

    Of few rewards that are unlike a mean is far from normal, and evidence on it strong for nothing (Part I §J): of equal
    arms, 5 % x lognormal, 3 of 40 were called refuted with 11 to 22 of the 30 effective successes asked for.
    """
    silent = set(rivals) if leader in scarce else set(rivals) & set(scarce)
    if not silent:
        return gate
    refuted = gate.refuted.copy()
    refuted[sorted(silent)] = False
    return replace(gate, refuted=refuted, certified_gap=math.inf)


def _sprint_shares(table: Table, gate: Gate) -> Floats:
    """Return the shares a sprint would have, with floor and caps."""
    return spreading.by_sprint(table.question, table.is_live, table.is_live & ~gate.refuted, table.place.leader)


def _sprint(table: Table, gate: Gate, *, is_wanted: bool) -> SprintFacts:
    """Return what the sprint will cost from here, what it has cost, and whether it runs."""
    stop, leader, earned = table.question.stop, table.place.leader, table.earned
    shares = _sprint_shares(table, gate)
    rivals = spreading.contenders(table.question, table.is_live & ~gate.refuted, leader)
    ends = table.proof.belief.ends(table.models[leader])
    contests = [_contest(table, gate, rival, shares, ends) for rival in rivals]
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


def _contest(table: Table, gate: Gate, rival: int, shares: Floats, ends: Floats) -> sprint.Contest:
    """Return how a rival's claim against the leader stands, whose rate may be one of `ends`."""
    belief, models, leader = table.proof.belief, table.models, table.place.leader
    asked = claim_of(table.proof.aim, models, rival, leader, leader, ends)
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


def _spent_usd(table: Table) -> float:
    """Return what the rows of a sprint have given up, at today's estimates."""
    question, leader = table.question, table.place.leader
    if question.is_sprint is None:
        return 0.0
    if table.parts:
        return segmented.lost_usd(table.parts, [_served(each, question.is_sprint) for each in question.segments])
    return sprint.given_up_usd(_served(question.sums, question.is_sprint), table.earned, leader)


def _served(sums: Sums, rows: Bools) -> Floats:
    """Return how many of these rows' requests each arm (K,) has had."""
    return np.asarray(np.maximum(sums.decisions, sums.rewards)[rows].sum(axis=0), np.float64)


def _worth_usd_day(table: Table, shares: Floats, days: float = 1.0) -> float:
    """Return what a day more of these shares, or so many, would be worth on every day after."""
    per_day, live = table.question.requests_per_day, np.flatnonzero(table.is_live)
    if per_day <= 0.0 or live.size < 2 or table.place.leader not in live:
        return 0.0
    same = np.array(table.models)[:, None] == np.array(table.models)
    more = (same @ shares)[live] * per_day * days
    trials = table.outcomes.trials.sum(axis=0)[table.models][live]
    leader = int(np.flatnonzero(live == table.place.leader)[0])
    earned = table.aim.earned_usd(table.drawn, table.place.leader)[:, live]
    return sample_worth(earned, leader, trials, more) * per_day


def _drift(table: Table) -> tuple[Alarm, ...]:
    objective, arms = table.question.objective, table.question.arms
    names = [arms[table.models.index(model)].name for model in range(max(table.models) + 1)]
    return drift.drifts(names, table.proof.outcomes, objective.low, objective.high - objective.low)


def _leaving(table: Table, refuted: Bools, needed: Bools, scale: float, *, is_ready: bool, is_over: bool) -> list[int]:
    """Return the refuted arms that may go: all at the end, before only those that are next to worthless too.

    No arm goes that some segment needs (K,). Copies of a model go together: what is known of one is known of all, and the cheapest was the best of them.
    """
    place, models = table.place, np.array(table.models)
    is_worthless = (place.p_best < RETIRE_P_BEST_MAX) & (place.drop < RETIRE_DROP_MAX * scale)
    may_go = refuted if is_over else refuted & is_worthless & is_ready & ~needed
    stays = {int(model) for model in models[table.is_live & ~may_go]}
    return [arm for arm in np.flatnonzero(may_go).tolist() if is_over or int(models[arm]) not in stays]

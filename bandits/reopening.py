"""When an experiment that has ended begins anew, and how: prices moved, the winner's rewards drifted, or an arm is new.

What was learned is kept as the reason, not as evidence: the next epoch begins with nothing but its arms, and the winner
is its control, so that traffic goes on as it was until something has been shown against it.
A person's word stands: what was promoted, rolled back, stopped or bypassed is not put in question by a price or a drift.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from bandits.claim import margin_usd
from bandits.course import Course
from bandits.drift import drifts
from bandits.life import ArmLife, Life, Note, Reopen
from bandits.rules import Objective
from bandits.strata import Outcomes
from bandits.sums import STEPS

Trigger = Literal["price", "drift", "new_arm"]


class Reason(NamedTuple):
    """Why an experiment begins anew, in words and numbers."""

    trigger: Trigger
    words: str
    numbers: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Ended:
    """What is known of the arms of an experiment that has ended: their mean rewards, the upper ends of those, what a
    prediction cost then and costs now (None: not known). `margin` is that of the claim on which it ended, a share.
    """

    names: tuple[str, ...]
    winner: int
    rates: tuple[float, ...]
    rates_high: tuple[float, ...]
    costs_then_usd: tuple[float, ...]
    costs_usd: tuple[float | None, ...]
    objective: Objective
    margin: float


def is_open_to(life: Life, trigger: Trigger) -> bool:
    """Say whether an experiment may begin anew for this reason: an arm that is new is a person's word itself."""
    if life.phase != "concluded" or life.is_bypassed:
        return False
    return trigger == "new_arm" or (life.winner is not None and not life.is_promoted)


def by_price(ended: Ended) -> Reason | None:
    """Return why costs put the winner in question: they moved in favour of another arm, by more than the margin on
    which the experiment ended, and by what is known of rewards that arm may now be better by more than the margin.

    May be: who lost early is known little of, and an estimate that is drawn to the prior would never let it come back.
    """
    own_usd = ended.costs_usd[ended.winner]
    if own_usd is None:
        return None
    leads = {
        arm: _lead(ended, arm, cost_usd, own_usd)
        for arm, cost_usd in enumerate(ended.costs_usd)
        if arm != ended.winner and cost_usd is not None and _has_moved(ended, arm, cost_usd, own_usd)
    }
    best = max(leads, key=lambda arm: leads[arm], default=None)
    if best is None or leads[best] <= 0.0:
        return None
    best_usd = ended.costs_usd[best] or 0.0
    words = (
        f"price: a prediction of {ended.names[best]} costs ${best_usd * 1e6:.4g} per million now, one of "
        f"{ended.names[ended.winner]} ${own_usd * 1e6:.4g}; by the rewards they had, {ended.names[best]} may be better"
    )
    return Reason("price", words, {"cost_usd": best_usd, "winner_cost_usd": own_usd, "margin": ended.margin})


def _has_moved(ended: Ended, arm: int, cost_usd: float, own_usd: float) -> bool:
    """Say whether costs have moved in favour of an arm by more than the margin."""
    then_usd, own_then_usd = ended.costs_then_usd[arm], ended.costs_then_usd[ended.winner]
    if ended.objective.kind != "net":
        return own_usd * then_usd > own_then_usd * cost_usd * (1.0 + ended.margin)
    return (then_usd - cost_usd) - (own_then_usd - own_usd) > _margin_usd(ended, own_usd)


def _margin_usd(ended: Ended, own_usd: float) -> float:
    worth = ended.objective.value_usd * ended.rates[ended.winner]
    return float(margin_usd(ended.margin, np.array(worth - own_usd), np.array(worth)))


def _lead(ended: Ended, arm: int, cost_usd: float, own_usd: float) -> float:
    """Return by how much an arm may be better than the winner and the margin; above 0 it may."""
    objective, margin = ended.objective, ended.margin
    rate, own_rate = ended.rates_high[arm], ended.rates[ended.winner]
    if objective.kind == "ratio":
        return rate * own_usd - own_rate * cost_usd * (1.0 + margin)
    if objective.kind == "cheapest_within_margin":
        is_good_enough = rate >= (1.0 - margin) * max(ended.rates)
        return own_usd * (1.0 - margin) - cost_usd if is_good_enough else 0.0
    return objective.value_usd * (rate - own_rate) - (cost_usd - own_usd) - _margin_usd(ended, own_usd)


def by_drift(winner: str, rewards: Sequence[tuple[int, int]], objective: Objective) -> Reason | None:
    """Return why the winner's rewards put it in question: they are no longer what they were.

    `rewards` (rows of how many there were, and their sum in steps): those of the experiment first, then those since the
    end, a row for each whole cycle of the traffic, so that its rhythm is no drift.
    """
    counts = np.array(rewards, np.float64).reshape(-1, 2)
    nothing = np.zeros((len(counts), 1))
    outcomes = Outcomes(counts[:, :1], counts[:, 1:] / STEPS, nothing, nothing, nothing[:, 0])
    for alarm in drifts((winner,), outcomes, objective.low, objective.high - objective.low):
        # One arm is all there is: that all moved alike says nothing here.
        words = alarm.words.partition(" (all arms")[0].replace("blocks", "periods since the end")
        return Reason("drift", f"drift: {words}", {"evidence_log": alarm.log_e, "evidence_bar_log": alarm.bar_log})
    return None


def reopen(course: Course, event: Reopen) -> None:
    """Begin anew with these arms; the winner, if there is one, is control. Nothing happens before the end."""
    life = course.life
    if life.phase != "concluded" or life.is_bypassed:
        return
    course.life = replace(
        life,
        control=life.serving,
        started_at=None,
        resumes=None,
        leader=None,
        weights=None,
        segment_weights=(),
        winner=None,
        outcome=None,
        successor=None,
        is_promoted=False,
        serves=(),
    )
    if life.serving != life.control:
        before, after = life.arms[life.control].name, life.arms[life.serving].name
        course.notes.append(Note(course.now, "control", before, after, "the winner is what others are compared with"))
    course.life = replace(course.life, arms=(*life.arms, *(ArmLife(name) for name in event.new)))
    course.enter("warmup", event.why, event.numbers)
    taking_part = {*event.arms, *range(len(life.arms), len(course.life.arms))}
    for number, arm in enumerate(course.life.arms):
        if number in taking_part:
            # Nothing of how it ended last time is left: neither its rests nor that it was being unloaded.
            course.put(number, ArmLife(arm.name, arm.state))
            course.move(number, "warming", "the experiment begins anew")
        elif arm.state in ("eligible", "quarantined"):
            course.move(number, "draining", "does not take part any more")
    course.look_around()

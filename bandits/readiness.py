"""Whether there is enough, and old enough, to decide from; if not, why, in words.

Source: bandit-science.md, Part II §3 and Part I §D.
"""

import numpy as np
from numpy.typing import NDArray

from bandits.question import Question
from bandits.strata import Outcomes

Floats = NDArray[np.float64]

# Fewer successes than this make every interval a guess; of binary rewards asked only below a rate of 20 %, where
# failures abound; of continuous ones always: a few large ones may carry the sum (Part I §D).
SUCCESSES_MIN = 30
RATE_WITHOUT_MIN = 0.2
# One stratum is one level; five show that the difference holds over several.
BLOCKS_CLOSED_MIN = 5
# More than this still to come could turn any comparison (Part II §3).
PENDING_MAX = 0.10


def reasons(question: Question, outcomes: Outcomes, rate: Floats) -> tuple[str, ...]:
    """Return why nothing may be decided yet; empty when all is there. `rate` and the outcomes are per model (G,)."""
    stop, age_s = question.stop, question.age_s
    missing: list[str] = []
    is_late = question.objective.feedback == "conversions"
    if question.policy.mode != "experiment":
        missing.append(f"mode {question.policy.mode} never ends")
    if age_s < stop.min_age_s:
        missing.append(f"{age_s:.0f} s old, stop.min_age is {stop.min_age_s:.0f} s")
    if stop.cycle_s is not None and age_s < stop.min_cycles * stop.cycle_s:
        missing.append(f"{age_s:.0f} s old, {stop.min_cycles:g} cycles are {stop.min_cycles * stop.cycle_s:.0f} s")
    if question.blocks_closed < BLOCKS_CLOSED_MIN:
        missing.append(f"{question.blocks_closed} blocks are closed, {BLOCKS_CLOSED_MIN} are needed")
    elif is_late and (ripe := int((outcomes.trials.sum(axis=1) > 0).sum())) < BLOCKS_CLOSED_MIN:
        missing.append(f"{ripe} blocks are older than the window, {BLOCKS_CLOSED_MIN} are needed")
    models = question.models()
    for number, arm in enumerate(question.arms):
        if arm.is_live:
            missing += _of_arm(question, outcomes, number, models[number], float(rate[models[number]]))
    return (*missing, *(f"alarm: {words}" for words in question.alarms))


def _of_arm(question: Question, outcomes: Outcomes, number: int, model: int, rate: float) -> list[str]:
    """Return what this arm still lacks."""
    name = f"arm {question.arms[number].name}"
    trials, total, square, pending = (
        float(field[:, model].sum()) for field in (outcomes.trials, outcomes.total, outcomes.square, outcomes.pending)
    )
    is_binary = question.objective.reward_type == "binary"
    needed = max(float(question.stop.min_per_arm), 1.0 / max(rate, 1e-12) if is_binary else 0.0)
    # (sum x)^2 / sum x^2 counts the rewards that matter; for 0 and 1 it is the successes.
    heavy = total * total / square if square > 0 else 0.0
    missing: list[str] = []
    if not question.arms[number].is_cost_known:
        missing.append(f"{name}'s cost is not confirmed by probes in traffic yet")
    if trials < needed:
        missing.append(f"{name} has {trials:.0f} outcomes, {needed:.0f} are needed")
    elif (rate < RATE_WITHOUT_MIN or not is_binary) and heavy < SUCCESSES_MIN:
        missing.append(f"{name} has {heavy:.0f} effective successes, {SUCCESSES_MIN} are needed")
    # Of conversions only rows older than the window are used, and younger ones are always pending.
    if question.objective.feedback == "explicit" and pending > PENDING_MAX * (trials + pending):
        missing.append(f"{name} waits for {pending / (trials + pending):.0%} of its outcomes, {PENDING_MAX:.0%} may be")
    return missing

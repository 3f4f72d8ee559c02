"""Whether there is enough, and old enough, to decide from; if not, why, in words.

Source: bandit-science.md, Part II §3 and Part I §D. An arm that is hardly ever rewarded never has 30 successes: of
binary rewards it is also enough that an arm as good as the best would have had them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bandits.question import Question
from bandits.strata import Outcomes

Floats = NDArray[np.float64]

# Fewer successes than this make every interval a guess; of binary rewards asked only below a rate of 20 %, where
# failures abound; of continuous ones always: a few large ones may carry the sum (Part I §D).
SUCCESSES_MIN = 30
RATE_WITHOUT_MIN = 0.2
# A sprint brings an arm no more of them once as good an arm as the best would have had so many times as many: one whose
# rewards are always 0 would have two fifths of the traffic for good.
SUCCESSES_VAIN = 10.0
# One stratum is one level; five show that the difference holds over several.
BLOCKS_CLOSED_MIN = 5
# More than this still to come could turn any comparison (Part II §3).
PENDING_MAX = 0.10


@dataclass(frozen=True, slots=True)
class Missing:
    """Why nothing may be decided yet, in words: what only time or people bring, and outcomes that traffic would bring.

    `arms` lack outcomes: nothing is claimed of them.
    """

    waits: tuple[str, ...]
    outcomes: tuple[str, ...]
    arms: tuple[int, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """All of it."""
        return (*self.waits, *self.outcomes)


def missing(question: Question, outcomes: Outcomes, rate: Floats) -> Missing:
    """Return what is not there yet. `rate` and the outcomes are per model (G,)."""
    stop, age_s = question.stop, question.age_s
    waits: list[str] = []
    is_late = question.objective.feedback == "conversions"
    if question.policy.mode != "experiment":
        waits.append(f"mode {question.policy.mode} never ends")
    if age_s < stop.min_age_s:
        waits.append(f"{age_s:.0f} s old, stop.min_age is {stop.min_age_s:.0f} s")
    if stop.cycle_s is not None and age_s < stop.min_cycles * stop.cycle_s:
        waits.append(f"{age_s:.0f} s old, {stop.min_cycles:g} cycles are {stop.min_cycles * stop.cycle_s:.0f} s")
    if question.blocks_closed < BLOCKS_CLOSED_MIN:
        waits.append(f"{question.blocks_closed} blocks are closed, {BLOCKS_CLOSED_MIN} are needed")
    elif is_late and (ripe := int((outcomes.trials.sum(axis=1) > 0).sum())) < BLOCKS_CLOSED_MIN:
        waits.append(f"{ripe} blocks are older than the window, {BLOCKS_CLOSED_MIN} are needed")
    models = question.models()
    live = [(number, model) for number, model in enumerate(models) if question.arms[number].is_live]
    first = max((model for _, model in live), key=lambda model: float(rate[model]), default=0)
    best = float(rate[first]) if live else 0.0
    for number, model in live:
        waits += _waits_of(question, outcomes, number, model)
    scarce = {number: words for number, model in live if (words := _scarce(question, outcomes, number, model, best))}
    vain = [number for number in scarce if _is_vain(question, outcomes, models[number], first)]
    waits += [f"{scarce[number]}, and more traffic brings hardly any" for number in vain]
    return Missing(
        waits=(*waits, *(f"alarm: {words}" for words in question.alarms)),
        outcomes=tuple(words for number, words in scarce.items() if number not in vain),
        arms=tuple(scarce),
    )


def _waits_of(question: Question, outcomes: Outcomes, number: int, model: int) -> list[str]:
    """Return what this arm still waits for."""
    name = f"arm {question.arms[number].name}"
    trials, pending = float(outcomes.trials[:, model].sum()), float(outcomes.pending[:, model].sum())
    waits = []
    if not question.arms[number].is_cost_known:
        waits.append(f"{name}'s cost is not confirmed by probes in traffic yet")
    # Of conversions only rows older than the window are used, and younger ones are always pending.
    if question.objective.feedback == "explicit" and pending > PENDING_MAX * (trials + pending):
        waits.append(f"{name} waits for {pending / (trials + pending):.0%} of its outcomes, {PENDING_MAX:.0%} may be")
    return waits


def _scarce(question: Question, outcomes: Outcomes, number: int, model: int, best: float) -> str:
    """Return which outcomes this arm lacks, if any; `best` is the highest rate of all live arms."""
    name = f"arm {question.arms[number].name}"
    trials, heavy = float(outcomes.trials[:, model].sum()), _effective(question, outcomes, model)
    is_binary = question.objective.reward_type == "binary"
    needed = max(float(question.stop.min_per_arm), 1.0 / max(best, 1e-12) if is_binary else 0.0)
    if trials < needed:
        return f"{name} has {trials:.0f} outcomes, {needed:.0f} are needed"
    is_rare = not is_binary or (best < RATE_WITHOUT_MIN and trials * best < SUCCESSES_MIN)
    if is_rare and heavy < SUCCESSES_MIN:
        return f"{name} has {heavy:.0f} effective successes, {SUCCESSES_MIN} are needed"
    return ""


def _effective(question: Question, outcomes: Outcomes, model: int) -> float:
    """Return (sum x)^2 / sum x^2: it counts the rewards that matter; for 0 and 1 it is the successes.

    Of rewards in their own unit: as shares of a range that begins below 0, silence would count as a reward.
    """
    low, span = question.objective.low, question.objective.high - question.objective.low
    n, share, square = (float(field[:, model].sum()) for field in (outcomes.trials, outcomes.total, outcomes.square))
    total = n * low + span * share
    squares = n * low**2 + 2.0 * low * span * share + span**2 * square
    return total**2 / squares if squares > 0 else 0.0


def _is_vain(question: Question, outcomes: Outcomes, model: int, best: int) -> bool:
    """Say whether a model that lacks successes has had so many outcomes that it won't get them; `best` earns most."""
    if question.objective.reward_type == "binary":
        return False
    trials = outcomes.trials.sum(axis=0)
    wanted = float(trials[model]) * _effective(question, outcomes, best) / max(float(trials[best]), 1.0)
    return wanted >= SUCCESSES_VAIN * SUCCESSES_MIN

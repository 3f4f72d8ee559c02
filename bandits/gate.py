"""The gate: every live arm's claim to be better than the leader, in the objective's words, against the evidence."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bandits import claim
from bandits.aims import Aim
from bandits.evidence import EVIDENCE_MAX

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# The two-sided 95 % of a normal.
Z95 = 1.959964


@dataclass(frozen=True, slots=True, eq=False)
class Claim:
    """That model k's mean reward reaches the `targets` (E,) when model l's is one of `rates` (E,)."""

    k: int
    l: int  # noqa: E741 - the source's name
    rates: Floats
    targets: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """What the data say of a claim: log E against it, and the highest reward k may have (E,) at each of l's rates."""

    log_evidence: float
    upper: Floats


class Belief(Protocol):
    """What is believed of the models' mean rewards, in the reward's own unit; a reward_group is one model."""

    @property
    def rate(self) -> Floats:
        """Mean rewards (G,)."""

    @property
    def low(self) -> Floats:
        """The lower ends of their 95 % intervals (G,)."""

    @property
    def high(self) -> Floats:
        """The upper ends (G,)."""

    @property
    def drawn(self) -> Floats:
        """Joint draws of them (draws, G)."""

    @property
    def steering(self) -> Floats:
        """The draws that weights follow (draws, G): of a belief that may assume more than what is said does."""

    def noise(self, model: int) -> float:
        """Return the standard deviation of one reward."""

    def ends(self, model: int) -> Floats:
        """Return the mean rewards (E,) of this model at which a claim against it has to be refuted."""

    def test(self, claims: Sequence[Claim], bar: float) -> list[Finding]:
        """Return what the data say of each claim; `bar` is the log E at which something counts as refuted."""


@dataclass(frozen=True, slots=True, eq=False)
class Gate:
    """How each arm's claim to be better than the leader stands, (K,); 0 for the leader and for arms that are not live.

    `margin` is a share of what the objective counts; `certified_gap` the smallest that would be refuted for all.
    """

    log_evidence: Floats
    refuted: Bools
    bar: float
    margin: float
    certified_gap: float


def examine(belief: Belief, aim: Aim, models: Sequence[int], rivals: Sequence[int], leader: int, alpha: float) -> Gate:
    """Test every rival's claims; `models` says which model each arm is."""
    bar = claim.bar_log(len(set(models)), alpha)
    asked = [(rival, opponent) for rival in rivals for opponent in aim.opponents(rival, leader)]
    ends = {opponent: belief.ends(models[opponent]) for opponent in {opponent for _, opponent in asked}}
    claims = [claim_of(aim, models, rival, opponent, leader, ends[opponent]) for rival, opponent in asked]
    found = _find(belief, claims, bar)
    evidence, gap = np.zeros(len(models)), 0.0
    for rival in rivals:
        own = [number for number, (arm, _) in enumerate(asked) if arm == rival]
        evidence[rival] = _mean_evidence([found[number].log_evidence for number in own])
        gap = max(gap, float(aim.gap(rival, leader, found[own[0]].upper, claims[own[0]].rates).max()))
    return Gate(evidence, evidence >= bar, bar, aim.margin(leader), gap)


def claim_of(aim: Aim, models: Sequence[int], rival: int, opponent: int, leader: int, rates: Floats) -> Claim:
    """Return the rival's claim against an opponent with one of these rates (E,), as one of their models."""
    return Claim(models[rival], models[opponent], rates, aim.target(rival, opponent, leader, rates))


def _find(belief: Belief, claims: Sequence[Claim], bar: float) -> list[Finding]:
    """Test the claims. Arms that are one model have one reward: their costs alone decide."""
    apart = iter(belief.test([one for one in claims if one.k != one.l], bar))
    return [
        next(apart) if one.k != one.l else Finding(EVIDENCE_MAX if (one.targets > one.rates).all() else 0.0, one.rates)
        for one in claims
    ]


def _mean_evidence(logs: Sequence[float]) -> float:
    """Return the log of the mean: a claim against several opponents falls with any of them, and E of each is fair."""
    top = max(logs)
    return top + math.log(sum(math.exp(one - top) for one in logs) / len(logs))


def root_of(cov: Floats) -> Floats:
    """Return a lower triangle whose square is the covariance, but for a relative 1e-12 on its diagonal.

    With 1e9 requests a covariance is singular to the last digits; 1e-12 is far below any decision.
    """
    return np.asarray(np.linalg.cholesky(cov + np.eye(len(cov)) * (1e-12 * np.trace(cov))), np.float64)

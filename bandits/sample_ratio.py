"""Sample ratio: whether each arm was drawn as often as the published weights promised, by sums that workers can add.

For each arm and lambda exp(lambda A - B), with A the draws of the arm and B the sum over all draws of
ln(1 + w (e^lambda - 1)), is an exact martingale, whatever the weights depended on. B changes with every snapshot's
weights, so whoever draws adds it up: n draws with weights w add n times a whole number. Workers import this module.
Source: bandit-science.md, Part I §H.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bandits.alarm import Alarm, log_mean_exp, rated
from bandits.weights import PARTS

Floats = NDArray[np.float64]

# How strongly each bet leans on an arm being chosen too often or too seldom (Part I §H); their order is the stores'.
LAMBDAS = (-0.5, -0.2, -0.1, -0.05, -0.02, 0.02, 0.05, 0.1, 0.2, 0.5)
# What workers compute with: the rounding of a draw is below 1e-18 nats, of 1e12 draws below 1e-6.
SHARP_BITS = 60
# What is stored, as whole steps: 1e13 draws fit into 63 bits. Workers carry what is left over to the next flush.
STORED_BITS = 20


@dataclass(frozen=True, slots=True)
class Draws:
    """How often each arm was drawn, and the sums over all draws of `log_moments` in steps of 2^-20, (arms, lambdas)."""

    assigned: tuple[int, ...]
    log_moments: tuple[tuple[int, ...], ...]


def log_moments(parts: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Return per arm and lambda ln(1 + w (e^lambda - 1)) in steps of 2^-60: what one draw with these parts adds.

    It is ln E[e^(lambda X)] of X = 1 when the arm is drawn: so that e^(lambda X) / (1 + w (e^lambda - 1)) is expected
    to be exactly 1, whatever the weights depended on.
    """
    return tuple(
        tuple(round(math.ldexp(math.log1p(part / PARTS * math.expm1(bet)), SHARP_BITS)) for bet in LAMBDAS)
        for part in parts
    )


def log_e_of_draws(assigned: Floats, moments: Floats) -> Floats:
    """Return ln exp(lambda A_k - B_k,lambda) (…, arms, lambdas) of counts (…, arms) and moments in nats."""
    return np.asarray(assigned[..., None] * np.array(LAMBDAS) - moments, np.float64)


def sample_ratio(names: Sequence[str], draws: Draws) -> Alarm:
    """Compare how often each arm was drawn with the weights it was drawn with."""
    moments = np.array(draws.log_moments, np.float64) / 2**STORED_BITS
    logs = log_e_of_draws(np.array(draws.assigned, np.float64), moments)
    worst = int(logs.max(axis=1).argmax())
    # The slope at 0 of what the weights promise is how many draws they promise.
    above = LAMBDAS.index(0.02)
    expected = float(moments[worst, above] - moments[worst, above - 1]) / (LAMBDAS[above] - LAMBDAS[above - 1])
    words = f"arm {names[worst]} was drawn {draws.assigned[worst]} times, its weights promise {expected:.0f}"
    return rated("sample_ratio", names[worst], float(log_mean_exp(logs)), words)

"""What independent beliefs about the arms say about money: P(best), losses and value remaining, by quadrature.

For `turpin decide` and single blocks; the live rule compares correlated arms (`bandits.draws`). No random numbers.
Source: bandit-science.md, Part II §2.1 and §2.6. A reward's mean theta has a conjugate posterior; u = v theta - c.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaincinv, betaln, gammainc, gammaincinv, gammaln, stdtr, stdtrit

Floats = NDArray[np.float64]

# Each arm brings a grid over its bulk, -7 to +9 standard deviations, and one over its quantiles, which reaches into
# the tails of skew and heavy beliefs. Against 2e6 random draws P(best) is within 5e-4.
BULK = np.linspace(-7.0, 9.0, 65)
TAILS = np.array([10.0**-power for power in range(12, 1, -1)])
QUANTILES = np.concatenate([TAILS, np.linspace(0.02, 0.98, 49), 1.0 - TAILS])
# Gauss-Legendre points in each panel of the union grid.
NODES, NODE_WEIGHTS = (np.asarray(part, np.float64) for part in np.polynomial.legendre.leggauss(4))


class Belief(Protocol):
    """The posterior of an arm's mean reward theta."""

    @property
    def mean(self) -> float:
        """E[theta]."""

    @property
    def sd(self) -> float:
        """The standard deviation of theta; infinite when there is none."""

    def density(self, theta: Floats) -> Floats:
        """Return the density at theta, 0 outside the support."""

    def below(self, theta: Floats) -> Floats:
        """Return P(below theta)."""

    def quantile(self, share: Floats) -> Floats:
        """Return the theta that exceeds this share of the belief."""


@dataclass(frozen=True, slots=True)
class Beta:
    """A binary reward's rate, after a - a0 successes and b - b0 failures."""

    a: float
    b: float

    def __post_init__(self) -> None:
        """Refuse what is no distribution."""
        _require_positive(a=self.a, b=self.b)

    @property
    def mean(self) -> float:
        """E[theta]."""
        return self.a / (self.a + self.b)

    @property
    def sd(self) -> float:
        """The standard deviation of theta."""
        return math.sqrt(self.mean * (1.0 - self.mean) / (self.a + self.b + 1.0))

    def density(self, theta: Floats) -> Floats:
        """Return the density at theta."""
        inside = (theta > 0) & (theta < 1)
        x = np.where(inside, theta, 0.5)
        log = (self.a - 1.0) * np.log(x) + (self.b - 1.0) * np.log1p(-x) - betaln(self.a, self.b)
        return np.where(inside, np.exp(log), 0.0)

    def below(self, theta: Floats) -> Floats:
        """Return P(below theta)."""
        return np.asarray(betainc(self.a, self.b, np.clip(theta, 0.0, 1.0)), np.float64)

    def quantile(self, share: Floats) -> Floats:
        """Return the theta that exceeds this share of the belief."""
        return np.asarray(betaincinv(self.a, self.b, share), np.float64)


@dataclass(frozen=True, slots=True)
class NormalInverseGamma:
    """A continuous reward's mean with unknown variance: Student's t with 2 alpha degrees of freedom.

    Centre m, scale sqrt(beta / (alpha kappa)).
    """

    m: float
    kappa: float
    alpha: float
    beta: float

    def __post_init__(self) -> None:
        """Refuse what is no distribution, or has no mean."""
        _require_positive(kappa=self.kappa, beta=self.beta)
        if not (math.isfinite(self.m) and math.isfinite(self.alpha) and self.alpha > 0.5):
            raise ValueError(f"nig needs a finite m and alpha above 0.5 (else no mean), got {self.m}, {self.alpha}")

    @property
    def mean(self) -> float:
        """E[theta]."""
        return self.m

    @property
    def sd(self) -> float:
        """The standard deviation of theta; infinite up to alpha 1."""
        return math.sqrt(self.beta / (self.kappa * (self.alpha - 1.0))) if self.alpha > 1.0 else math.inf

    @property
    def _scale(self) -> float:
        return math.sqrt(self.beta / (self.alpha * self.kappa))

    def density(self, theta: Floats) -> Floats:
        """Return the density at theta."""
        degrees = 2.0 * self.alpha
        log = gammaln((degrees + 1) / 2) - gammaln(degrees / 2) - 0.5 * math.log(degrees * math.pi)
        square = ((theta - self.m) / self._scale) ** 2
        return np.asarray(np.exp(log - (degrees + 1) / 2 * np.log1p(square / degrees)) / self._scale, np.float64)

    def below(self, theta: Floats) -> Floats:
        """Return P(below theta)."""
        return np.asarray(stdtr(2.0 * self.alpha, (theta - self.m) / self._scale), np.float64)

    def quantile(self, share: Floats) -> Floats:
        """Return the theta that exceeds this share of the belief."""
        return np.asarray(self.m + self._scale * stdtrit(2.0 * self.alpha, share), np.float64)


@dataclass(frozen=True, slots=True)
class Gamma:
    """A count's mean, after shape - shape0 events in rate - rate0 trials."""

    shape: float
    rate: float

    def __post_init__(self) -> None:
        """Refuse what is no distribution."""
        _require_positive(shape=self.shape, rate=self.rate)

    @property
    def mean(self) -> float:
        """E[theta]."""
        return self.shape / self.rate

    @property
    def sd(self) -> float:
        """The standard deviation of theta."""
        return math.sqrt(self.shape) / self.rate

    def density(self, theta: Floats) -> Floats:
        """Return the density at theta."""
        x = np.where(theta > 0, theta, 1.0)
        log = self.shape * math.log(self.rate) + (self.shape - 1.0) * np.log(x) - self.rate * x - gammaln(self.shape)
        return np.where(theta > 0, np.exp(log), 0.0)

    def below(self, theta: Floats) -> Floats:
        """Return P(below theta)."""
        return np.asarray(gammainc(self.shape, self.rate * np.maximum(theta, 0.0)), np.float64)

    def quantile(self, share: Floats) -> Floats:
        """Return the theta that exceeds this share of the belief."""
        return np.asarray(gammaincinv(self.shape, share) / self.rate, np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """What the beliefs say, arrays per arm (K,), money in the unit of v.

    `leader` has the highest `p_best`; `e_max` = E[max u]; `exp_loss_leader` = e_max - the leader's mean; `drop` what
    is lost without an arm, E[(u_k - best other)+]; `pvr_exceed` = P(best other > leader + delta_abs); `mean` of u.
    """

    p_best: Floats
    leader: int
    e_max: float
    exp_loss_leader: float
    drop: Floats
    pvr_exceed: float
    mean: Floats


def decide(beliefs: Sequence[Belief], v: float, costs: Sequence[float], delta_abs: float) -> Decision:
    """Compare arms of these beliefs and costs, v the money per reward of 1 (above 0).

    P(best) is within 1e-3, losses within 1 % (above 1e-7 of the spread of u).
    """
    if not beliefs or len(beliefs) != len(costs):
        raise ValueError(
            f"there must be a cost for each of at least one arm, got {len(beliefs)} arms, {len(costs)} costs"
        )
    if not (math.isfinite(v) and v > 0 and all(map(math.isfinite, costs)) and delta_abs >= 0):
        raise ValueError(f"v must be above 0, costs finite, delta_abs at least 0, got {v}, {list(costs)}, {delta_abs}")
    edges = _edges(beliefs, v, costs)
    u, weight = _panels(edges)
    mass = np.array([_mass(b, v, c, edges) for b, c in zip(beliefs, costs, strict=True)])
    below = _below(beliefs, v, costs, u)
    others = np.array([np.delete(below, k, axis=0).prod(axis=0) for k in range(len(beliefs))])
    p_best = (mass * others).sum(axis=1)
    p_best = p_best / p_best.sum()
    mean = np.array([v * b.mean - c for b, c in zip(beliefs, costs, strict=True)])
    leader = int(p_best.argmax())
    # E[(best other - leader)+]: the same as e_max - mean, without the cancellation.
    loss = float((below[leader] * (1.0 - others[leader])) @ weight)
    return Decision(
        p_best=p_best,
        leader=leader,
        e_max=float(mean[leader]) + loss,
        exp_loss_leader=loss,
        drop=((1.0 - below) * others) @ weight,
        pvr_exceed=_exceeding(beliefs, v, costs, leader, delta_abs, edges),
        mean=mean,
    )


def _below(beliefs: Sequence[Belief], v: float, costs: Sequence[float], u: Floats) -> Floats:
    return np.array([b.below((u + c) / v) for b, c in zip(beliefs, costs, strict=True)])


def _exceeding(
    beliefs: Sequence[Belief], v: float, costs: Sequence[float], leader: int, delta_abs: float, edges: Floats
) -> float:
    """Return P(best other > leader + delta_abs)."""
    # Another arm's narrow belief is a step delta_abs further down in the leader's u: it needs panels there too.
    edges = np.union1d(edges, edges - delta_abs)
    u, _ = _panels(edges)
    others = np.delete(_below(beliefs, v, costs, u + delta_abs), leader, axis=0).prod(axis=0)
    return float(np.clip(_mass(beliefs[leader], v, costs[leader], edges) @ (1.0 - others), 0.0, 1.0))


def _mass(belief: Belief, v: float, cost: float, edges: Floats) -> Floats:
    """Return the belief's probability at the quadrature's points.

    Each panel's is scaled to its exact share: a density that is singular at 0 or 1 is then right in the sum.
    """
    u, weight = _panels(edges)
    mass = (belief.density((u + cost) / v) * weight).reshape(-1, NODES.size)
    share = np.diff(belief.below((edges + cost) / v))
    found = mass.sum(axis=1)
    scale = np.divide(share, found, out=np.zeros_like(share), where=found > 0)
    return np.asarray((mass * scale[:, None]).ravel(), np.float64)


def _edges(beliefs: Sequence[Belief], v: float, costs: Sequence[float]) -> Floats:
    """Return the union of all arms' grid points, in u."""
    edges = []
    for belief, cost in zip(beliefs, costs, strict=True):
        points = belief.quantile(QUANTILES)
        if math.isfinite(belief.sd):
            bulk = belief.mean + belief.sd * BULK
            # Beyond the last quantiles there is nothing, or the support has ended.
            points = np.concatenate([points, bulk[(bulk > points[0]) & (bulk < points[-1])]])
        edges.append(v * points - cost)
    return np.unique(np.concatenate(edges))


def _panels(edges: Floats) -> tuple[Floats, Floats]:
    """Return points and weights of Gauss-Legendre quadrature between neighbouring edges."""
    half = np.diff(edges) / 2
    middle = edges[:-1] + half
    return (middle[:, None] + half[:, None] * NODES).ravel(), (half[:, None] * NODE_WEIGHTS).ravel()


def _require_positive(**numbers: float) -> None:
    for name, number in numbers.items():
        if not (math.isfinite(number) and number > 0.0):
            raise ValueError(f"{name} must be a finite number above 0, got {number}")

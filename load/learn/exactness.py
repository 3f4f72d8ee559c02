"""Jobs that compare the learner's arithmetic with other ways to the same numbers, on random cases."""

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import integrate, optimize
from scipy.special import betainc, betaln, expit, gammainc, gammaln, logit, logsumexp, stdtr, xlogy

from bandits.decide import Belief, Beta, Gamma, NormalInverseGamma, decide
from bandits.evidence import GRID, LOG_MIXTURE, Tables, log_evidence
from bandits.posterior import LEVEL_SD, TAU, fit_logit

Floats = NDArray[np.float64]
Parameters = Mapping[str, Any]

_SEED: Final = 20_260
_PRIOR_STRENGTH: Final = 20.0
# Losses below this part of the spread are nothing.
_LOSS_MIN: Final = 1e-7


def decide_errors(_: Parameters, number: int) -> dict[str, Any]:
    """Compare a random case of `bandits.decide` with adaptive quadrature."""
    rng = np.random.default_rng([_SEED, number])
    kind = ("beta", "nig", "gamma")[number % 3]
    beliefs = [_belief(kind, rng) for _ in range(int(rng.integers(2, 6)))]
    spread = float(np.median([belief.sd for belief in beliefs]))
    costs, delta = rng.uniform(0, 2 * spread, len(beliefs)), float(rng.uniform(0, spread))
    found = decide(beliefs, 1.0, costs.tolist(), delta)
    laws = [_law(belief, float(cost)) for belief, cost in zip(beliefs, costs, strict=True)]
    low, high = min(law[2] for law in laws), max(law[3] for law in laws)
    steps = (-8, -4, -2, 0, 2, 4, 8)
    middles = sorted({b.mean - cost + step * b.sd for b, cost in zip(beliefs, costs, strict=True) for step in steps})

    def integral(function: Callable[[float], float]) -> float:
        edges = [low, *(point for point in middles if low < point < high), high]
        parts = [integrate.quad(function, a, b, limit=200)[0] for a, b in itertools.pairwise(edges)]
        return math.fsum(parts)

    def others(x: float, arm: int) -> float:
        return math.prod(law[1](x) for place, law in enumerate(laws) if place != arm)

    arms, lead = range(len(laws)), found.leader
    p_best = [integral(lambda x, k=k: laws[k][0](x) * others(x, k)) for k in arms]  # type: ignore[misc]  # k is bound
    drop = [integral(lambda x, k=k: (1 - laws[k][1](x)) * others(x, k)) for k in arms]  # type: ignore[misc]
    loss = integral(lambda x: laws[lead][1](x) * (1 - others(x, lead)))
    exceed = 1 - integral(lambda x: laws[lead][0](x) * others(x + delta, lead))
    losses = [(a, b) for a, b in zip([*found.drop, found.exp_loss_leader], [*drop, loss], strict=True)]
    return {
        "probability": max(np.abs(found.p_best - p_best).max(), abs(found.pvr_exceed - exceed)),
        "loss": max((abs(a - b) / b for a, b in losses if b > _LOSS_MIN * spread), default=0.0),
    }


def _belief(kind: str, rng: np.random.Generator) -> Belief:
    if kind == "beta":
        return Beta(10 ** rng.uniform(0, 4), 10 ** rng.uniform(0, 4))
    if kind == "gamma":
        return Gamma(10 ** rng.uniform(0, 4), 10 ** rng.uniform(0, 4))
    return NormalInverseGamma(rng.normal(), rng.uniform(1, 300), rng.uniform(2, 100), rng.uniform(0.1, 100))


_Law = tuple[Callable[[float], float], Callable[[float], float], float, float]


def _law(belief: Belief, cost: float) -> _Law:
    """Return density and distribution of theta - cost from the textbook, and the range that holds all but nothing."""
    match belief:
        case Beta(a, b):

            def density(x: float) -> float:
                return float(np.exp(xlogy(a - 1, x + cost) + xlogy(b - 1, 1 - x - cost) - betaln(a, b)))

            def below(x: float) -> float:
                return float(betainc(a, b, min(max(x + cost, 0.0), 1.0)))

            ends = (max(0.0, belief.mean - 12 * belief.sd), min(1.0, belief.mean + 12 * belief.sd))
        case Gamma(shape, rate):

            def density(x: float) -> float:
                y = max(x + cost, 0.0)
                return float(np.exp(shape * math.log(rate) + xlogy(shape - 1, y) - rate * y - gammaln(shape)))

            def below(x: float) -> float:
                return float(gammainc(shape, rate * max(x + cost, 0.0)))

            ends = (max(0.0, belief.mean - 12 * belief.sd), belief.mean + 40 * belief.sd)
        case _:
            return _student(belief, cost)
    inside = ends[0] - cost, ends[1] - cost
    return lambda x: density(x) if inside[0] < x < inside[1] else 0.0, below, *inside


def _student(belief: Belief, cost: float) -> _Law:
    assert isinstance(belief, NormalInverseGamma)  # noqa: S101 the only kind left
    degrees, scale = 2 * belief.alpha, math.sqrt(belief.beta / (belief.alpha * belief.kappa))
    factor = math.exp(gammaln((degrees + 1) / 2) - gammaln(degrees / 2)) / math.sqrt(degrees * math.pi) / scale

    def density(x: float) -> float:
        return float(factor * (1 + ((x + cost - belief.m) / scale) ** 2 / degrees) ** (-(degrees + 1) / 2))

    def below(x: float) -> float:
        return float(stdtr(degrees, (x + cost - belief.m) / scale))

    # Four degrees of freedom at least: beyond 400 scales lies 1e-10.
    return density, below, belief.m - cost - 400 * scale, belief.m - cost + 400 * scale


def evidence_errors(_: Parameters, number: int) -> dict[str, Any]:
    """Compare a random case of posterior and evidence with a general optimiser, a dense Hessian, and the exact law."""
    rng = np.random.default_rng([_SEED, number])
    blocks, arms = int(rng.integers(2, 12)), int(rng.integers(2, 5))
    rates = expit(logit(rng.uniform(0.02, 0.95)) + rng.normal(0, 0.5, (blocks, 1)) + rng.normal(0, 0.3, arms))
    trials = np.ceil(rng.uniform(0, 10 ** rng.uniform(1, 3), (blocks, arms)))
    successes = rng.binomial(trials.astype(np.int64), rates).astype(np.float64)
    share = trials.sum(axis=1) / trials.sum()
    fit = fit_logit(trials, successes, share, 0.05, _PRIOR_STRENGTH)
    eta, cov = _posterior(trials, successes, share)
    x = float(rng.normal(0, 0.3))
    log_e = log_evidence(Tables(trials[:, 0], trials[:, 1], successes[:, 0], successes[:, 1]), x)
    return {
        "eta": float(np.abs(fit.eta - eta).max()),
        "covariance": float(np.abs(fit.eta_cov / cov - 1).max()),
        "log_e": abs(log_e - _exact_log_e(trials, successes, x)),
    }


def _posterior(n: Floats, s: Floats, share: Floats) -> tuple[Floats, Floats]:
    """Return eta and its covariance: the mode by trust regions, mu at its fixed point, one dense inverse."""
    blocks, arms = n.shape
    weight = n.sum(axis=1)
    prior = np.concatenate([np.full(blocks, LEVEL_SD**-2), np.full(arms, TAU**-2)])
    mu, point = float(logit(0.05)), np.zeros(blocks + arms)

    def slope(x: Floats, mu: float) -> Floats:
        residual = n * expit(x[:blocks, None] + x[blocks:]) - s
        pull = prior * (x - np.concatenate([np.full(blocks, mu), np.zeros(arms)]))
        return np.asarray(np.concatenate([residual.sum(axis=1), residual.sum(axis=0)]) + pull, np.float64)

    def bend(x: Floats, _: float = 0.0) -> Floats:
        rate = expit(x[:blocks, None] + x[blocks:])
        w = n * rate * (1 - rate)
        top = np.concatenate([np.diag(w.sum(axis=1)), w], axis=1)
        low = np.concatenate([w.T, np.diag(w.sum(axis=0))], axis=1)
        return np.asarray(np.concatenate([top, low]) + np.diag(prior), np.float64)

    for _ in range(300):
        point = np.asarray(optimize.root(slope, point, (mu,), jac=bend, tol=1e-13).x, np.float64)
        following = float(weight @ point[:blocks] + _PRIOR_STRENGTH * logit(0.05)) / (weight.sum() + _PRIOR_STRENGTH)
        if abs(following - mu) < 1e-12:
            break
        mu = following
    rate = expit(point[:blocks, None] + point[blocks:])
    theta = share @ rate
    steep = share[:, None] * rate * (1 - rate)
    gradient = np.concatenate([steep.T, np.diag(steep.sum(axis=0))], axis=1)
    cov = gradient @ np.linalg.solve(bend(point), gradient.T)
    scale = theta * (1 - theta)
    return np.asarray(logit(theta), np.float64), np.asarray(cov / np.outer(scale, scale), np.float64)


def _exact_log_e(n: Floats, s: Floats, x: float) -> float:
    """Return log E of arms 0 and 1 with the noncentral hypergeometric law summed out."""

    def log_likelihood(theta: Floats) -> Floats:
        total = np.zeros(theta.size)
        for (n_k, n_l), (s_k, s_l) in zip(n[:, :2], s[:, :2], strict=True):
            both = s_k + s_l
            possible = np.arange(max(0.0, both - n_l), min(n_k, both) + 1)
            ways = _log_choose(n_k, possible) + _log_choose(n_l, both - possible)
            total += s_k * theta - logsumexp(ways + np.multiply.outer(theta, possible), axis=1)
            total += float(_log_choose(n_k, np.array([s_k]))[0] + _log_choose(n_l, np.array([s_l]))[0])
        return total

    grid = log_likelihood(GRID)
    highest = max(float(log_likelihood(np.array([x]))[0]), float(grid[x <= GRID].max(initial=-np.inf)))
    return float(logsumexp(LOG_MIXTURE + grid)) - highest


def _log_choose(n: float, k: Floats) -> Floats:
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1), np.float64)

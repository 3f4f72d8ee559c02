"""The cases of `turpin decide` and `turpin evidence`: what may stand in them, and what is answered (design §13)."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

import numpy as np
from pydantic import Field, Strict, model_validator

from bandits.decide import Belief, Beta, Gamma, NormalInverseGamma
from bandits.decide import decide as compare
from bandits.evidence import Tables, log_evidence
from bandits.posterior import fit_logit
from router.config.document import BadInput, Document, Problem, refuse, shown, validate

_Positive = Annotated[float, Field(gt=0)]
_Counts = Annotated[tuple[Annotated[float, Field(ge=0)], ...], Strict(False), Field(min_length=1)]


class _BetaParams(Document):
    a: _Positive
    b: _Positive

    def belief(self) -> Belief:
        return Beta(self.a, self.b)


class _NigParams(Document):
    m: float
    kappa: _Positive
    # Up to one half the mean does not exist, and nothing can be compared.
    alpha: float = Field(gt=0.5)
    beta: _Positive

    def belief(self) -> Belief:
        return NormalInverseGamma(self.m, self.kappa, self.alpha, self.beta)


class _GammaParams(Document):
    shape: _Positive
    rate: _Positive

    def belief(self) -> Belief:
        return Gamma(self.shape, self.rate)


class _DecideCase(Document):
    v: _Positive = Field(description="the money a reward of 1 is worth")
    c: Annotated[tuple[float, ...], Strict(False)] = Field(description="the cost per prediction of each arm")
    delta_abs: float = Field(ge=0, description="the money by which another arm must exceed the leader")

    @model_validator(mode="after")
    def _check(self) -> Self:
        params = self.params  # type: ignore[attr-defined]  # each kind has its own
        if len(self.c) != len(params):
            message = f"must have a cost for each of the {len(params)} arms in params; got {len(self.c)}"
            refuse([Problem(("c",), message)])
        return self


class _BetaCase(_DecideCase):
    kind: Literal["beta"]
    params: Annotated[tuple[_BetaParams, ...], Strict(False)] = Field(min_length=1)


class _NigCase(_DecideCase):
    kind: Literal["nig"]
    params: Annotated[tuple[_NigParams, ...], Strict(False)] = Field(min_length=1)


class _GammaCase(_DecideCase):
    kind: Literal["gamma"]
    params: Annotated[tuple[_GammaParams, ...], Strict(False)] = Field(min_length=1)


_KINDS: Final[dict[object, type[_BetaCase | _NigCase | _GammaCase]]] = {
    "beta": _BetaCase,
    "nig": _NigCase,
    "gamma": _GammaCase,
}


def decide_case(case: object) -> dict[str, Any]:
    """Answer one case of `turpin decide`; BadInput with every problem."""
    kind = case.get("kind") if isinstance(case, Mapping) else "beta"
    if not (isinstance(kind, str) and kind in _KINDS):
        raise BadInput([Problem(("kind",), f"must be beta, nig or gamma; got {shown(kind)}")])
    read = validate(_KINDS[kind], case)
    # What overflows is found in the answer, and refused there.
    with np.errstate(over="ignore", invalid="ignore"):
        found = compare([params.belief() for params in read.params], read.v, read.c, read.delta_abs)
    return {
        "p_best": found.p_best.tolist(),
        "leader": found.leader,
        "e_max": found.e_max,
        "exp_loss_leader": found.exp_loss_leader,
        "drop": found.drop.tolist(),
        "pvr_exceed": found.pvr_exceed,
        "mean": found.mean.tolist(),
    }


class _EvidenceCase(Document):
    n: Annotated[tuple[_Counts, ...], Strict(False)] = Field(min_length=1, description="trials per block and arm")
    s: Annotated[tuple[_Counts, ...], Strict(False)] = Field(min_length=1, description="successes per block and arm")
    pair: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Strict(False)] = Field(min_length=2, max_length=2)
    x: float = Field(description="the claim tested is beta_k - beta_l >= x")
    # The default of an experiment: policy.prior.mean.
    prior_mean: float = Field(default=0.05, gt=0, lt=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        arms, problems = len(self.n[0]), []
        for name, table in (("n", self.n), ("s", self.s)):
            if [len(row) for row in table] != [arms] * len(self.n):
                message = f"must be {len(self.n)} blocks of {arms} arms, as n begins; got {[len(row) for row in table]}"
                problems.append(Problem((name,), message))
        if not problems:
            problems += [
                Problem(("s", block, arm), f"must be at most n = {trials:g}; got {successes:g}")
                for block, (row, won) in enumerate(zip(self.n, self.s, strict=True))
                for arm, (trials, successes) in enumerate(zip(row, won, strict=True))
                if successes > trials
            ]
        if self.pair[0] == self.pair[1] or max(self.pair) >= arms:
            message = f"must be two different arms of 0..{arms - 1}; got {shown(list(self.pair))}"
            problems.append(Problem(("pair",), message))
        refuse(problems)
        return self


def evidence_case(case: object) -> dict[str, Any]:
    """Answer one case of `turpin evidence`; BadInput with every problem."""
    read = validate(_EvidenceCase, case)
    trials, successes = np.array(read.n, np.float64), np.array(read.s, np.float64)
    weight = trials.sum(axis=1)
    # Without any traffic no block is more like the future than another.
    share = weight / weight.sum() if weight.sum() > 0 else np.full(weight.size, 1.0 / weight.size)
    fit = fit_logit(trials, successes, share, read.prior_mean)
    k, l = read.pair  # noqa: E741 - the source's names
    tables = Tables(trials[:, k], trials[:, l], successes[:, k], successes[:, l])
    return {
        "beta": fit.beta.tolist(),
        "eta": fit.eta.tolist(),
        "theta": fit.theta.tolist(),
        "log_e": log_evidence(tables, read.x),
    }

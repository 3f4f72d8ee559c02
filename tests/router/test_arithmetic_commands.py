"""`turpin decide` and `turpin evidence` against computations of their own, and what they say to bad input."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import integrate, optimize, special, stats  # noqa: TID251 - for comparison only
from typer.testing import CliRunner, Result

from router import cli

Floats = NDArray[np.float64]

BETA = {
    "kind": "beta",
    "v": 2.0,
    "c": [0.0, 0.01, 0.002],
    "delta_abs": 0.004,
    "params": [{"a": 12, "b": 200}, {"a": 25.5, "b": 300}, {"a": 3, "b": 40}],
}
NIG = {
    "kind": "nig",
    "v": 1.0,
    "c": [0.0, 0.2],
    "delta_abs": 0.1,
    "params": [
        {"m": 1.0, "kappa": 30, "alpha": 16, "beta": 20},
        {"m": 1.1, "kappa": 12, "alpha": 7, "beta": 3},
    ],
}
GAMMA = {
    "kind": "gamma",
    "v": 0.5,
    "c": [0.1, 0.0],
    "delta_abs": 0.0,
    "params": [{"shape": 20, "rate": 10}, {"shape": 9, "rate": 5}],
}
EVIDENCE = {
    "n": [[400, 300], [800, 60], [15, 900]],
    "s": [[21, 22], [95, 11], [1, 40]],
    "pair": [1, 0],
    "x": 0.3,
    "prior_mean": 0.05,
}


def run(command: str, case: object, *options: str) -> Result:
    return CliRunner().invoke(cli.app, [command, "-", *options], input=case if isinstance(case, str) else dumps(case))


def dumps(case: object) -> str:
    return json.dumps(case)


def answer(command: str, case: object) -> Any:
    done = run(command, case, "--json")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


# decide


def distribution(kind: str, params: dict[str, float], v: float, cost: float) -> Any:
    """The law of u = v theta - c, from scipy."""
    match kind:
        case "beta":
            return stats.beta(params["a"], params["b"], loc=-cost, scale=v)
        case "nig":
            scale = math.sqrt(params["beta"] / (params["alpha"] * params["kappa"]))
            return stats.t(2 * params["alpha"], loc=v * params["m"] - cost, scale=v * scale)
        case _:
            return stats.gamma(params["shape"], loc=-cost, scale=v / params["rate"])


def integral(function: Any, laws: list[Any]) -> float:
    low = min(law.ppf(1e-12) for law in laws)
    high = max(law.ppf(1 - 1e-12) for law in laws)
    middle = sorted(law.mean() for law in laws)
    return float(integrate.quad(function, low, high, points=middle, limit=400, epsabs=1e-12)[0])


@pytest.mark.parametrize("case", [BETA, NIG, GAMMA], ids=lambda case: case["kind"])
def test_decide_agrees_with_adaptive_quadrature(case: dict[str, Any]) -> None:
    laws = [distribution(case["kind"], p, case["v"], c) for p, c in zip(case["params"], case["c"], strict=True)]
    found = answer("decide", case)

    def others(x: float, arm: int) -> float:
        return math.prod(float(law.cdf(x)) for place, law in enumerate(laws) if place != arm)

    p_best = [integral(lambda x, k=k: laws[k].pdf(x) * others(x, k), laws) for k in range(len(laws))]
    lead = int(np.argmax(p_best))
    drop = [integral(lambda x, k=k: laws[k].sf(x) * others(x, k), laws) for k in range(len(laws))]
    loss = integral(lambda x: laws[lead].cdf(x) * (1 - others(x, lead)), laws)
    exceed = 1 - integral(lambda x: laws[lead].pdf(x) * others(x + case["delta_abs"], lead), laws)
    assert found["leader"] == lead
    assert found["p_best"] == pytest.approx(p_best, abs=1e-6)
    assert found["drop"] == pytest.approx(drop, rel=1e-4)
    assert found["mean"] == pytest.approx([law.mean() for law in laws], rel=1e-9)
    assert found["exp_loss_leader"] == pytest.approx(loss, rel=1e-4)
    assert found["e_max"] == pytest.approx(laws[lead].mean() + loss, rel=1e-6)
    assert found["pvr_exceed"] == pytest.approx(exceed, abs=1e-6)


def test_one_arm_is_best_and_nothing_remains() -> None:
    found = answer("decide", {**BETA, "c": [0.01], "params": [{"a": 1, "b": 19}]})

    assert (found["p_best"], found["leader"], found["exp_loss_leader"], found["pvr_exceed"]) == ([1.0], 0, 0.0, 0.0)


# evidence


def posterior_mode(n: Floats, s: Floats, prior_mean: float) -> tuple[Floats, Floats]:
    """Levels and effects of Part I §A by a general optimiser, mu at its own fixed point."""
    blocks = n.shape[0]
    mu, point = special.logit(prior_mean), np.zeros(blocks + n.shape[1])

    def loss(x: Floats, mu: float) -> float:
        logits = x[:blocks, None] + x[blocks:]
        likelihood = (s * logits - n * np.logaddexp(0, logits)).sum()
        return float(-likelihood + (x[blocks:] ** 2).sum() / 2 + ((x[:blocks] - mu) ** 2).sum() / (2 * 2.0**2))

    def slope(x: Floats, mu: float) -> Floats:
        residual = n * special.expit(x[:blocks, None] + x[blocks:]) - s
        return np.concatenate([residual.sum(axis=1) + (x[:blocks] - mu) / 2.0**2, residual.sum(axis=0) + x[blocks:]])

    for _ in range(200):
        point = optimize.minimize(loss, point, (mu,), method="BFGS", jac=slope, options={"gtol": 1e-8}).x
        weight = n.sum(axis=1)
        following = (weight @ point[:blocks] + 20 * special.logit(prior_mean)) / (weight.sum() + 20)
        if abs(following - mu) < 1e-10:
            break
        mu = following
    return point[:blocks], point[blocks:]


def exact_log_e(n: Floats, s: Floats, k: int, l: int, x: float) -> float:  # noqa: E741 - the source's name
    """Part I §B with the exact noncentral hypergeometric law, and a search instead of a grid above x."""
    spacing = np.linspace(-6, 6, 121)
    grid = 0.02 * np.sinh(spacing)
    weights = np.cosh(spacing) * sum(np.exp(-(grid**2) / (2 * sd**2)) / sd for sd in (0.05, 0.2, 1.0))

    def likelihood(theta: float) -> float:
        return sum(
            float(stats.nchypergeom_fisher.logpmf(s[t, k], n[t, k] + n[t, l], n[t, k], s[t, k] + s[t, l], exp_theta))
            for t in range(len(n))
            for exp_theta in [math.exp(theta)]
        )

    mixed = special.logsumexp([likelihood(theta) for theta in grid], b=weights / weights.sum())
    above = optimize.minimize_scalar(lambda theta: -likelihood(theta), bounds=(x, 4.0), method="bounded")
    return float(mixed - max(likelihood(x), -above.fun))


def test_evidence_agrees_with_an_optimiser_and_the_exact_law() -> None:
    n, s = np.array(EVIDENCE["n"], np.float64), np.array(EVIDENCE["s"], np.float64)
    found = answer("evidence", EVIDENCE)

    alpha, beta = posterior_mode(n, s, 0.05)
    theta = (n.sum(axis=1) / n.sum()) @ special.expit(alpha[:, None] + beta)
    assert found["beta"] == pytest.approx(beta, abs=1e-6)
    assert found["theta"] == pytest.approx(theta, rel=1e-6)
    assert found["eta"] == pytest.approx(special.logit(theta), abs=1e-6)
    assert found["log_e"] == pytest.approx(exact_log_e(n, s, 1, 0, 0.3), abs=0.01)


def test_claim_that_the_numbers_contradict_is_refuted_and_its_opposite_is_not() -> None:
    # 5 % against 12 % of 1,000 each: arm 0 is not better, arm 1 may well be.
    case = {"n": [[1000, 1000]], "s": [[50, 120]], "x": 0.0, "prior_mean": 0.05}

    worse, better = (answer("evidence", {**case, "pair": pair})["log_e"] for pair in ([0, 1], [1, 0]))

    assert worse > math.log(1000)
    assert better < 0


def test_blocks_without_traffic_say_nothing() -> None:
    found = answer("evidence", {"n": [[0, 0], [0, 0]], "s": [[0, 0], [0, 0]], "pair": [0, 1], "x": 0.1})

    assert found["log_e"] == pytest.approx(0.0, abs=1e-12)
    assert found["theta"] == pytest.approx([0.05, 0.05])


# Both


def test_a_list_is_answered_case_by_case(tmp_path: Path) -> None:
    path = tmp_path / "cases.json"
    path.write_text(dumps([BETA, GAMMA]))

    done = CliRunner().invoke(cli.app, ["decide", str(path), "--json"])

    assert json.loads(done.stdout) == [answer("decide", BETA), answer("decide", GAMMA)]
    assert answer("decide", []) == []


def test_without_json_people_get_a_table() -> None:
    decided, shown = run("decide", GAMMA), run("evidence", EVIDENCE)

    assert decided.stdout.splitlines()[0].split() == ["arm", "p_best", "drop", "mean"]
    assert shown.stdout.splitlines()[-1].startswith("log_e: ")


@pytest.mark.parametrize(
    ("command", "case", "complaint"),
    [
        ("decide", "{", "'-' is not JSON"),
        ("decide", "3", "must be a mapping"),
        ("decide", {**BETA, "kind": "betta"}, "kind: must be beta, nig or gamma; got 'betta'"),
        ("decide", {**BETA, "kind": ["beta"]}, "kind: must be beta"),
        ("decide", {**BETA, "v": 0}, "v: must be more than 0; got 0"),
        ("decide", {**BETA, "v": math.nan}, "v: must be a finite number"),
        ("decide", {**BETA, "c": [0.0]}, "c: must have a cost for each of the 3 arms in params; got 1"),
        ("decide", {**BETA, "delta_abs": -1}, "delta_abs: must be at least 0; got -1"),
        ("decide", {**BETA, "params": []}, "params: needs at least 1 entries; got 0"),
        ("decide", {**NIG, "params": [{"m": 0, "kappa": 1, "alpha": 0.5, "beta": 1}]}, "params[0].alpha: must be more"),
        (
            "decide",
            {**GAMMA, "params": [{"shape": 1, "rat": 1}]},
            "params[0].rat: unknown setting; did you mean 'rate'",
        ),
        ("decide", [BETA, {**BETA, "v": "1"}], "[1].v: must be a number; got '1'"),
        ("decide", {**NIG, "v": 1e308, "c": [-1.7e308] * 2}, "no finite value with numbers of these sizes"),
        ("evidence", {**EVIDENCE, "s": [[1, 1]]}, "s: must be 3 blocks of 2 arms"),
        ("evidence", {**EVIDENCE, "n": [[1, 1], [1], [1, 1]]}, "n: must be 3 blocks of 2 arms"),
        ("evidence", {**EVIDENCE, "s": [[1, 1], [1, 61], [1, 1]]}, "s[1][1]: must be at most n = 60; got 61"),
        ("evidence", {**EVIDENCE, "n": [[-1, 1]], "s": [[0, 0]]}, "n[0][0]: must be at least 0; got -1"),
        ("evidence", {**EVIDENCE, "pair": [0, 2]}, "pair: must be two different arms of 0..1; got [0, 2]"),
        ("evidence", {**EVIDENCE, "pair": [1, 1]}, "pair: must be two different arms"),
        ("evidence", {**EVIDENCE, "prior_mean": 1}, "prior_mean: must be less than 1; got 1"),
        ("evidence", {**EVIDENCE, "n": []}, "n: needs at least 1 entries"),
    ],
)
def test_bad_input_is_named_and_ends_with_2(command: str, case: object, complaint: str) -> None:
    done = run(command, case, "--json")

    assert (done.exit_code, done.stdout) == (2, "")
    assert f"turpin {command}: " in done.stderr
    assert complaint in done.stderr


def test_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli.app, ["evidence", str(tmp_path / "none.json")])

    assert done.exit_code == 2
    assert "can't read" in done.stderr
    assert "No such file" in done.stderr

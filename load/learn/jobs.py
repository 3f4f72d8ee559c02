"""What a process of `make learn` does: one repetition of a cell, numbers in and JSON-able numbers out."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from load.learn import exactness, speed, validity
from load.simulate.policy import Cells, Policy, Turn
from load.simulate.production import Production
from load.simulate.run import run
from load.simulate.world import World
from router.config.document import BadInput, validate

# All tables are made from this seed; a repetition's number does the rest.
SEED: Final = 20_260

Parameters = Mapping[str, Any]


def world(parameters: Parameters, number: int) -> dict[str, Any]:
    """Play a world; with `has_path` the weights over time come along."""
    began = time.process_time()
    of = validate(World, parameters["world"])
    found = run(of, SEED, number, has_path=parameters["has_path"])
    answer = {
        "regret": found.regret,
        "leader": found.leader,
        "is_right": found.leader in found.best,
        "stopped_at": found.stopped_at,
        "retired": list(found.retired),
        "weights": found.weights.tolist(),
        "shares": found.shares.tolist(),
    }
    answer["seconds"] = time.process_time() - began
    return answer | {"path": found.path.tolist()} if parameters["has_path"] else answer


def peeked(parameters: Parameters, number: int) -> dict[str, Any]:
    """Play a world of equal arms, and look at every refresh whether the state calls a rival refuted, ready or not."""
    of = validate(World, parameters["world"])
    claims: list[int] = []

    def watch(now: int, _: Cells, policy: Policy, __: Turn) -> None:
        numbers = policy.numbers if isinstance(policy, Production) else None
        if numbers and any(arm.is_refuted for arm in numbers.arms):
            claims.append(now)

    found = run(of, SEED, number, watch=watch)
    return {"claimed_at": claims[0] if claims else None, "weights": found.weights.tolist()}


JOBS: Final[dict[str, Callable[[Parameters, int], dict[str, Any]]]] = {
    "world": world,
    "peeked": peeked,
    "boundary": validity.boundary,
    "sample_ratio": validity.sample_ratio_runs,
    "reporting": validity.reporting_runs,
    "decide": exactness.decide_errors,
    "evidence": exactness.evidence_errors,
    "refresh": speed.refresh_seconds,
    "draw": speed.draw_seconds,
}


def perform(job: str, parameters: Parameters, number: int) -> tuple[dict[str, Any], float]:
    """Do one repetition; return its answer and the seconds it took. What the learner can't be told is `refused`."""
    began = time.perf_counter()
    try:
        answer = JOBS[job](parameters, number)
    except BadInput as error:
        answer = {"refused": str(error)}
    return answer, time.perf_counter() - began

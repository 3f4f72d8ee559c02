"""What may stand in a world's file."""

from pathlib import Path
from typing import Any

import pytest

from load.simulate.production import experiment_of
from load.simulate.world import World, load_world, read_world
from router.config.document import BadInput, validate

ARMS: list[dict[str, Any]] = [{"rate": 0.05}, {"rate": 0.06, "cost_usd": 1e-7, "delay_mean": 50}]


def world(**more: Any) -> World:
    return validate(World, {"requests": 10_000, "arms": ARMS} | more)


def test_what_is_left_out_is_as_in_an_experiment() -> None:
    spec = experiment_of(world(stop={"delta": None}))

    assert (spec.policy.floor, spec.policy.prior.mean, spec.policy.prior.strength) == (0.01, 0.05, 20.0)
    assert (spec.stop.delta, spec.stop.margin, spec.stop.alpha, spec.stop.min_per_arm) == (0.01, "auto", 0.05, 200)
    assert spec.stop.sprint is not None
    assert (spec.stop.sprint.leader, spec.stop.cycle, spec.stop.min_age) == (0.6, None, 0.0)


def test_without_stop_the_experiment_may_not_end_in_this_world() -> None:
    assert experiment_of(world()).stop.min_age > 10_000


def test_what_is_written_reaches_the_experiment() -> None:
    spec = experiment_of(
        world(
            refresh=100,
            block=500,
            window=3000,
            value_usd=1e-6,
            floor=0.02,
            prior={"a": 3, "b": 7},
            stop={"delta": 0.02, "margin": 0.03, "alpha": 0.1, "min_per_arm": 50, "cycle": 1000, "min_cycles": 2},
        )
    )

    assert (spec.policy.refresh, spec.policy.block, spec.objective.reward.window) == (100, 500, 3000)
    assert (spec.objective.value_usd, spec.policy.floor) == (1e-6, 0.02)
    assert (spec.policy.prior.mean, spec.policy.prior.strength) == (0.3, 10)
    stop = spec.stop
    assert (stop.delta, stop.margin, stop.alpha, stop.min_per_arm) == (0.02, 0.03, 0.1, 50)
    assert (stop.cycle, stop.min_cycles) == (1000, 2)


def test_null_is_left_out_everywhere() -> None:
    written = """
requests: 3e5
refresh: null
arms: [{rate: 0.05, cost_usd: null, delay_mean: null}, {rate: 0.06}]
window: null
memory: null
cycle: null
changes: null
prior: null
mode: null
stop: {delta: null, margin: null, alpha: null, min_per_arm: null, cycle: null}
"""
    read = read_world(written)

    assert read == read_world("{requests: 300000, arms: [{rate: 0.05}, {rate: 0.06}], stop: {}}")
    assert read.requests == 300_000
    assert experiment_of(read).stop == experiment_of(world(requests=300_000, arms=ARMS, stop={})).stop


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"requests": None}, "requests: is missing"),
        ({"requests": 0}, "requests: must be at least 1; got 0"),
        ({"requests": 1.5}, "requests: must be a whole number; got 1.5"),
        ({"arms": ARMS[:1]}, "arms: needs at least 2 entries; got 1"),
        ({"arms": [{"rate": 1.2}, ARMS[0]]}, "arms[0].rate: must be in 0..1; got 1.2"),
        ({"arms": [{"rate": 0.1, "cost": 1}, ARMS[0]]}, "arms[0].cost: unknown setting; did you mean 'cost_usd'?"),
        ({"arms": [{"rate": 0.8}, ARMS[0]], "cycle": {"period": 9, "amplitude": 0.5}}, "0.8 reaches 1.2"),
        ({"cycle": {"period": 0, "amplitude": 0.5}}, "cycle.period: must be more than 0; got 0"),
        ({"cycle": {"period": 9, "amplitude": 1.5}}, "cycle.amplitude: must be at most 1; got 1.5"),
        ({"changes": [{"at": 5, "arm": 2, "rate": 0.1}]}, "changes[0].arm: must be an arm, 0..1; got 2"),
        ({"changes": [{"at": 5, "arm": 1}]}, "changes[0]: must change one of rate, cost_usd, delay_mean"),
        ({"changes": [{"at": 5, "arm": 1, "rate": -0.1}]}, "changes[0].rate: must be in 0..1; got -0.1"),
        ({"value_usd": 0}, "value_usd: must be more than 0; got 0"),
        ({"policy": "greedy"}, "policy: must be 'thompson'"),
        ({"floor": 0.3}, "floor: must be at most 0.25 with 2 arms; got 0.3"),
        ({"prior": {"a": 0, "b": 1}}, "prior.a: must be more than 0; got 0"),
        ({"stop": {"margin": "much"}}, "stop.margin: must be auto or a number; got 'much'"),
        ({"reward": {"range": [1, 2]}}, "reward.range: must be [0, 1] of a binary reward"),
        ({"reward": {"law": "gaussian", "range": [2, 1]}}, "reward.range: must be [low, high] with low < high"),
        ({"stop": {"cycle": 10}}, "stop.cycle: must be at least policy.block"),
        ({"stop": {"delta": 2}}, "stop.delta: must be less than 1; got 2"),
    ],
)
def test_impossible_worlds_are_refused_by_name(changed: dict[str, Any], complaint: str) -> None:
    with pytest.raises(BadInput) as refused:
        experiment_of(world(**changed))

    assert any(complaint in str(problem) for problem in refused.value.problems), refused.value


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(BadInput) as refused:
        read_world("{requests: x, arms: [{rate: 2}, {}], colour: red}")

    assert len(refused.value.problems) >= 3


@pytest.mark.parametrize("text", ["3", "[1]", "", "requests: [", "{requests: 1, requests: 2}"])
def test_text_that_is_no_world_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        read_world(text)


def test_files_that_can_not_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")

    for name in ("none.yaml", "bytes.yaml", "."):
        with pytest.raises(BadInput):
            load_world(tmp_path / name)

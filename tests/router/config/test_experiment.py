"""What an experiment may say, its defaults, and what the arithmetic is given of it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from bandits.life import EndRules
from bandits.rules import Objective, Policy, StopRule
from router.config.document import BadInput
from router.config.experiment import Experiment
from router.config.experiment_files import load_experiments

ARMS: list[dict[str, Any]] = [
    {"name": "v1", "backend": "a", "version": 1},
    {"name": "v2", "backend": "a", "version": 2},
]


def written(**changes: Any) -> dict[str, Any]:
    least = {"name": "digits", "model": "digits", "control": "v1", "arms": ARMS, "objective": {"value_usd": 1e-6}}
    return least | changes


def problems(**changes: Any) -> list[str]:
    with pytest.raises(BadInput) as caught:
        Experiment.from_json(written(**changes))
    return str(caught.value).splitlines()


def test_defaults_are_those_of_the_design() -> None:
    experiment = Experiment.from_json(written())

    assert experiment.entry_labels == ("stable",)
    assert experiment.mode == "experiment"
    assert experiment.objective_rules() == Objective(value_usd=1e-6)
    assert experiment.policy_rules() == Policy()
    assert experiment.stop_rules() == StopRule()
    assert experiment.end_rules() == EndRules()
    assert (experiment.policy.refresh, experiment.policy.hold, experiment.policy.memory) == (1.0, 600.0, 86400.0)
    assert experiment.batching.latency_ms == 80
    assert experiment.batching.max_rows == 256


def test_everything_written_reaches_the_arithmetic() -> None:
    experiment = Experiment.from_json(
        written(
            objective={"value_usd": 2, "reward": {"type": "continuous", "range": [-1, 5], "window": "10s"}},
            policy={"floor": 0.02, "block": "2s", "prior": {"mean": 0.5, "strength": 4}},
            stop={
                "delta": 0.02,
                "margin": 0.03,
                "alpha": 0.1,
                "min_per_arm": 50,
                "min_age": "10s",
                "cycle": None,
                "min_cycles": 2,
                "max_duration": "1h",
                "sprint": {"leader": 0.7},
            },
            on_stop={"action": "hold", "grace": 0, "unload": False},
        )
    )

    assert experiment.objective_rules() == Objective(value_usd=2, reward_type="continuous", low=-1, high=5, window_s=10)
    assert experiment.policy_rules() == Policy(floor=0.02, block_s=2, prior_mean=0.5, prior_strength=4)
    assert experiment.stop_rules() == StopRule(
        delta=0.02,
        margin=0.03,
        alpha=0.1,
        min_per_arm=50,
        min_age_s=10,
        cycle_s=None,
        min_cycles=2,
        max_duration_s=3600,
        sprint_leader=0.7,
    )
    assert experiment.end_rules() == EndRules(action="hold", grace_s=0, unload=False, max_duration_s=3600)


def test_an_experiment_survives_the_store() -> None:
    experiment = Experiment.from_json(written(stop={"cycle": None, "min_age": "1500ms"}, on_stop={"grace": 0}))

    assert Experiment.from_json(experiment.to_json()) == experiment


def test_arms_are_found_by_name() -> None:
    experiment = Experiment.from_json(written())

    assert experiment.arm("v2") == 1
    with pytest.raises(KeyError):
        experiment.arm("v3")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": "a" * 64}, ["name: must be 1 to 63 of a-z, 0-9 and '-'; got '" + "a" * 58 + "…"]),
        ({"control": "v3"}, ["control: must name an arm; got 'v3', there are v1, v2"]),
        ({"arms": ARMS[:1]}, ["arms: needs at least 2 entries; got 1"]),
        (
            {"arms": [*ARMS, {"name": "v2", "backend": "a", "version": 3}]},
            ["arms[2].name: 'v2' is there twice; arms need names of their own"],
        ),
        (
            {"arms": [*ARMS, {"name": "v3", "backend": "a", "version": 2}]},
            ["arms[2]: is version 2 of 'digits' on 'a', as arm 'v2' is: nothing to compare"],
        ),
        (
            {"policy": {"floor": 0.3}},
            ["policy.floor: must be at most 0.25 with 2 arms (floor × arms ≤ 0.5); got 0.3"],
        ),
        (
            {"arms": [ARMS[0] | {"max_share": 0.005}, ARMS[1]]},
            ["arms[0].max_share: must be at least policy.floor, 0.01; got 0.005"],
        ),
        (
            {"arms": [arm | {"max_share": 0.4} for arm in ARMS]},
            ["arms: the max_share of all arms add up to less than 1: some traffic would have nowhere to go"],
        ),
        ({"entry_labels": ["a", "a"]}, ["entry_labels[1]: must be a label that is not there yet; got 'a'"]),
        ({"policy": {"refresh": "20m"}}, ["policy.refresh: must be at most policy.block, 900 s; got 1200 s"]),
        (
            {"stop": {"cycle": "1m", "max_duration": "1d"}},
            ["stop.cycle: must be at least policy.block, 900 s, or null; got 60 s"],
        ),
        (
            {"stop": {"max_duration": "1h"}},
            ["stop.max_duration: must be more than min_age and than cycle × min_cycles, 86400 s; got 3600 s"],
        ),
        ({"stop": {"margin": 2}}, ["stop.margin: must be auto, or more than 0 and less than 1; got 2"]),
        ({"stop": {"margin": "wide"}}, ["stop.margin: must be auto or a number; got 'wide'"]),
        ({"objective": {}}, ["objective.value_usd: is missing: what a reward of 1 is worth, in dollars"]),
        ({"objective": {"value_usd": float("nan")}}, ["objective.value_usd: must be a finite number; got NaN"]),
        ({"objective": {"value_usd": True}}, ["objective.value_usd: must be a number; got true"]),
        (
            {"shadow": {"arms": ["v2"], "share": 0, "timeout": "2m", "copies": 1}},
            [
                "shadow.share: must be more than 0; got 0",
                "shadow.timeout: must be at most 60; got 120.0",
                "shadow.copies: unknown setting; there are against, arms, max_in_flight, share, timeout, tolerance",
            ],
        ),
        ({"shadow": {"arms": ["v2", "v2"]}}, ["shadow.arms[1]: 'v2' is there twice"]),
        (
            {"shadow": {"arms": ["v7"], "against": ["v8"]}},
            [
                "shadow.arms[0]: must name an arm; got 'v7', there are v1, v2",
                "shadow.against[0]: must name an arm; got 'v8', there are v1, v2",
            ],
        ),
        (
            {"shadow": {"arms": ["v2"], "against": ["v2"]}},
            ["shadow.against: must name another arm than 'v2', which gets the copies"],
        ),
        ({"shadow": {"share": 0.5}}, ["shadow.arms: must name the arms that get copies, or the section must be {}"]),
        ({"reopen_on": ["prices"]}, ["reopen_on[0]: must be 'price', 'drift' or 'new_arm'; got 'prices'"]),
        (
            {"guardrails": [{"metric": "error_ratio", "max": 1}]},
            ["guardrails[0].max: must be less than 1 for error_ratio; got 1"],
        ),
        (
            {"guardrails": [{"metric": "backend_p99_ms", "max": 80}, {"metric": "backend_p99_ms", "max": 90}]},
            ["guardrails[1].metric: 'backend_p99_ms' is there twice; one bound is enough"],
        ),
        ({"polcy": {}}, ["polcy: unknown setting; did you mean 'policy'?"]),
    ],
)
def test_what_can_not_be_meant_is_refused(changes: dict[str, Any], expected: list[str]) -> None:
    assert problems(**changes) == expected


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        ({"range": [1, 0], "type": "continuous"}, "must be [low, high] with low < high; got [1, 0]"),
        ({"range": [0, 5]}, "must be [0, 1] for type binary; got [0, 5]"),
        ({"type": "count"}, "must be given for type count: [0, N] with N a whole number"),
        ({"type": "count", "range": [0, 2.5]}, "must be given for type count: [0, N] with N a whole number"),
    ],
)
def test_a_range_that_does_not_fit_its_type_is_refused(reward: dict[str, Any], message: str) -> None:
    assert problems(objective={"value_usd": 1, "reward": reward}) == [f"objective.reward.range: {message}"]


@pytest.mark.parametrize(
    ("reward", "problem"),
    [
        (
            {"type": "continuous", "range": [1, 5]},
            "objective.reward.range: must hold 0, which is what silence counts as with feedback conversions; got [1, 5]",
        ),
        (
            {"window": "14d"},
            "objective.reward.window: must be shorter than stop.max_duration, 14d, with feedback conversions: "
            "only what is older than the window may decide the end; got 14d",
        ),
    ],
)
def test_conversions_that_could_never_be_told_or_decided_are_refused(reward: dict[str, Any], problem: str) -> None:
    objective = {"value_usd": 1, "reward": {"feedback": "conversions", **reward}}

    assert problems(objective=objective) == [problem]
    explicit = Experiment.model_validate(written(objective={"value_usd": 1, "reward": reward}))
    assert explicit.objective.reward.feedback == "explicit"


def test_event_that_no_reward_could_have_is_refused() -> None:
    for event in ("", "e" * 65, "\ud800"):
        (problem,) = problems(objective={"value_usd": 1, "reward": {"event": event}})
        assert problem.startswith("objective.reward.event: ")
    named = Experiment.model_validate(written(objective={"value_usd": 1, "reward": {"event": "e" * 64}}))
    assert named.objective.reward.event == "e" * 64


def test_experiments_are_loaded_from_files(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(written()))
    (tmp_path / "b.yaml").write_text(yaml.safe_dump(written(name="b", model="b")))

    assert [experiment.name for experiment in load_experiments(["*.yaml", "a.yaml"], tmp_path)] == ["digits", "b"]
    assert load_experiments(["*.yml"], tmp_path) == ()


def test_all_errors_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(written(control="x")))
    (tmp_path / "b.yaml").write_text(yaml.safe_dump(written(name="b")))

    with pytest.raises(BadInput) as caught:
        load_experiments(["*.yaml", "c.yaml"], tmp_path)
    assert str(caught.value).splitlines() == [
        f"no file 'c.yaml' in {tmp_path}",
        "b.yaml: model: another experiment has the model 'digits' already; one is the most",
        "a.yaml: control: must name an arm; got 'x', there are v1, v2",
    ]


@pytest.mark.parametrize(
    ("segments", "place"),
    [
        (["de", "de"], "policy.segments[1]"),
        (["other"], "policy.segments[0]"),
        ([""], "policy.segments[0]"),
        (["x" * 65], "policy.segments[0]"),
        ([" de"], "policy.segments[0]"),
        (["d\te"], "policy.segments[0]"),
        (["größe"], "policy.segments[0]"),
        ([f"s{n}" for n in range(16)], "policy.segments"),
    ],
)
def test_segments_are_values_that_a_header_can_carry_and_no_more_than_fifteen(segments: list[str], place: str) -> None:
    (problem,) = problems(policy={"segments": segments})

    assert problem.startswith(place)


def test_segments_of_rewards_that_are_not_binary_are_refused_with_the_reason() -> None:
    (problem,) = problems(
        policy={"segments": ["de"]},
        objective={"value_usd": 1, "reward": {"type": "continuous"}},
    )

    assert problem.startswith("policy.segments")
    assert "binary" in problem


def test_the_rest_is_the_first_segment() -> None:
    assert Experiment.from_json(written(policy={"segments": ["de", "fr"]})).segment_names() == ("other", "de", "fr")
    assert Experiment.from_json(written()).segment_names() == ()

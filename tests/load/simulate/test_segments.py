"""Worlds with segments: the production learner is told of them, or not, and each is held to its own best arm."""

from pathlib import Path
from typing import Any

import pytest

from load.simulate.answer import answer
from load.simulate.production import experiment_of
from load.simulate.run import run
from load.simulate.world import World, load_world
from router.config.document import BadInput, validate
from tests.repo.tree import ROOT

# In the second of two segments the arms change places.
SEGMENTS = [{"share": 0.6}, {"share": 0.4, "rates": [0.3, 0.2]}]


def world(**more: Any) -> World:
    arms = [{"rate": 0.2}, {"rate": 0.3}]
    given = {"requests": 20_000, "refresh": 500, "block": 1000, "arms": arms, "segments": SEGMENTS}
    return validate(World, given | more)


def test_each_segment_ends_on_its_own_arm() -> None:
    found = run(world(stop={}), 1)

    assert found.stopped_at is not None
    assert [one.leader for one in found.segments] == [1, 0]
    assert [one.best for one in found.segments] == [(1,), (0,)]
    assert [one.weights.tolist() for one in found.segments] == [[0.0, 1.0], [1.0, 0.0]]
    # Both are kept, and nobody is retired.
    assert found.retired == ()


def test_one_bandit_for_all_serves_the_wrong_arm_to_some() -> None:
    told, untold = run(world(), 1), run(world(segments_told=False), 1)

    assert [one.leader for one in untold.segments] == [1, 1]
    assert untold.best == (1,)
    assert untold.regret > 3 * told.regret
    assert experiment_of(world(segments_told=False)).segment_names() == ()


def test_regret_is_against_the_best_arm_of_each_segment() -> None:
    found = run(world(policy="uniform"), 3)

    # Half of all requests lose .1 in either segment; within 4 standard errors of 20,000 draws.
    assert found.regret == pytest.approx(1000.0, abs=4 * 0.1 * (20_000 / 4) ** 0.5)


def test_delayed_rewards_come_back_to_their_segment() -> None:
    late = [{"rate": 0.2, "delay_mean": 300}, {"rate": 0.3, "delay_mean": 300}]

    found = run(world(arms=late), 1)

    assert [one.leader for one in found.segments] == [1, 0]


def test_conversions_are_learned_from_segment_by_segment() -> None:
    late = [{"rate": 0.2, "delay_mean": 300}, {"rate": 0.3, "delay_mean": 300}]

    found = run(world(arms=late, feedback="conversions", window=2000), 1)

    assert [one.leader for one in found.segments] == [1, 0]


def test_answer_has_segments_only_where_there_are_some() -> None:
    found = answer([run(world(requests=5000), 1), run(world(requests=5000), 2)])

    assert [one["share"] for one in found["runs"][0]["segments"]] == [0.6, 0.4]
    assert len(found["mean"]["segments_right"]) == 2
    without = answer([run(world(requests=2000, segments=[]), 1)])
    assert "segments" not in without["runs"][0]
    assert "segments_right" not in without["mean"]


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"segments": [{"share": 0.5}, {"share": 0.4}]}, "add up to 1"),
        ({"segments": [{"share": 1.0, "rates": [0.1]}]}, "one for each of 2 arms"),
        ({"segments": [{"share": 1.0, "rates": [0.1, 1.5]}]}, "0..1"),
        ({"changes": [{"at": 5, "arm": 0, "rate": 0.4}]}, "change no rate"),
        ({"segments": [{"share": 1 / 17}] * 17}, "segments"),
    ],
)
def test_impossible_segments_are_refused_by_name(changed: dict[str, Any], complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        world(**changed)


@pytest.mark.parametrize("path", sorted((ROOT / "load" / "worlds").glob("segments-*.yaml")), ids=lambda path: path.stem)
def test_the_worlds_of_the_bars_can_be_played(path: Path) -> None:
    assert len(experiment_of(load_world(path)).segment_names()) == 4

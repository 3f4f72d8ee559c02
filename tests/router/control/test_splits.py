"""From an assessment of segments to what is drawn by, shown and counted."""

from dataclasses import replace
from typing import Any

import pytest

from bandits.experiment import step
from bandits.life import Pause
from router.control.splits import splits_of
from router.snapshot import PARTS
from serving.cost import Line
from tests.router.control.world import World, spec

LINE = Line(0.001, 0.0002)
SEGMENTS: dict[str, Any] = {"segments": ["de", "fr"]}


def world(**policy: Any) -> World:
    return World(spec(policy=SEGMENTS | policy), (0.90, 0.93, 0.9), (LINE,) * 3)


def test_segments_are_published_the_rest_first() -> None:
    of = world()
    of.run(lambda of: of.phase == "running")

    published = of.tick().snapshot

    assert [one.name for one in published.segments] == ["other", "de", "fr"]
    assert {sum(one.parts) for one in published.segments} == {PARTS}


def test_without_segments_nothing_is_said_of_any() -> None:
    of = World(spec(), (0.90, 0.93, 0.9), (LINE,) * 3)

    assert of.tick().snapshot.segments == ()


def test_requests_that_name_no_segment_end_it_for_all() -> None:
    of = world()
    of.run(lambda of: of.phase == "concluded")

    assert (of.dossier.life.winner, of.dossier.life.serves) == (1, (1, 1, 1))
    assert [one.parts for one in of.published[-1].segments] == [(0, PARTS, 0)] * 3


def test_each_segment_goes_to_its_own_arm_in_the_end_and_to_the_winner_where_that_is_gone() -> None:
    of = world()
    of.run(lambda of: of.phase == "concluded")
    life = of.dossier.life
    kept = replace(life, arms=(life.arms[0], life.arms[1], replace(life.arms[2], state="eligible")), serves=(1, 2, 0))

    split = splits_of(of.dossier, kept)

    assert split.segments == ((0, PARTS, 0), (0, 0, PARTS), (0, PARTS, 0))
    assert [split.is_silent(arm) for arm in range(3)] == [True, False, False]
    assert split.drawn == (0, PARTS, 0, 0, 0, PARTS, 0, PARTS, 0)


def test_paused_segments_get_control() -> None:
    of = world()
    of.run(lambda of: of.phase == "running")
    paused = step(of.dossier.life, Pause(of.now)).life

    assert splits_of(of.dossier, paused).segments == ((PARTS, 0, 0),) * 3


def test_the_state_has_the_numbers_of_every_segment() -> None:
    of = world()
    of.run(lambda of: of.dossier.document.numbers is not None and of.version > 20)
    view = of.view()

    assert [one["name"] for one in view["segments"]] == ["other", "de", "fr"]
    rest, de, _ = view["segments"]
    assert rest["traffic_ratio"] == pytest.approx(1.0)
    assert [arm["name"] for arm in rest["arms"]] == [arm["name"] for arm in view["arms"]]
    assert sum(arm["decisions"] for arm in rest["arms"]) == sum(arm["decisions"] for arm in view["arms"])
    assert sum(arm["decisions"] for arm in de["arms"]) == 0
    assert all(arm["value_usd_low"] <= arm["value_usd"] <= arm["value_usd_high"] for arm in de["arms"])

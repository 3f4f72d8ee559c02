"""From an assessment of segments to what is drawn by, shown and counted."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandits.experiment import step
from bandits.life import Pause
from bandits.sums import Sums, cell_arm
from router.control.seen import Seen, apart
from router.control.splits import splits_of
from router.snapshot import PARTS
from router.store import FIELDS
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


keys = st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(1, 4))
# What one gateway counted: (segment, arm, block) to decisions and rewards.
counts = st.dictionaries(keys, st.tuples(st.integers(1, 50), st.integers(0, 50)), max_size=20)


def cells(*replicas: dict[tuple[int, int, int], tuple[int, int]]) -> dict[tuple[int, int], dict[str, int]]:
    """The store's cells after each replica has added its counts."""
    found: dict[tuple[int, int], dict[str, int]] = {}
    for replica in replicas:
        for (segment, arm, block), (decisions, rewards) in replica.items():
            cell = found.setdefault((cell_arm(arm, segment), block), dict.fromkeys(FIELDS, 0))
            cell["decisions"] += decisions
            cell["rewards"] += min(decisions, rewards)
    return found


def seen(of: dict[tuple[int, int], dict[str, int]]) -> Seen:
    return apart(Seen(of, [], {}, {}, []), 3)


def sums(of: dict[tuple[int, int], dict[str, int]]) -> list[Sums]:
    found = seen(of)
    return [Sums.from_cells(table, 4, range(1, 5)) for table in (*found.by_segment, found.cells)]


@given(counts, counts)
def test_replicas_merge_by_adding_segment_by_segment(one: Any, other: Any) -> None:
    merged = sums(cells(one, other))

    for both, first, second in zip(merged, sums(cells(one)), sums(cells(other)), strict=True):
        assert (both.decisions == first.decisions + second.decisions).all()
        assert (both.rewards == first.rewards + second.rewards).all()
    assert (np.sum([one.decisions for one in merged[:-1]], axis=0) == merged[-1].decisions).all()


@given(counts)
def test_an_arm_more_leaves_the_others_statistics_alone(counted: Any) -> None:
    known = {key: value for key, value in counted.items() if key[1] < 3}

    before, after = sums(cells(known)), sums(cells(counted))

    for old, new in zip(before, after, strict=True):
        assert (old.decisions[:, :3] == new.decisions[:, :3]).all()
        assert not old.decisions[:, 3].any()


def test_without_segments_cells_are_what_they_were() -> None:
    raw = Seen(cells({(0, 1, 1): (5, 2)}), [], {}, {}, [])

    assert apart(raw, 0) is raw


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

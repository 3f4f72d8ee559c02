"""A bypass sends all traffic to the arm that serves, whatever the snapshots say, until they say it themselves."""

import pytest

from router.decisions import Mode
from router.link import Override
from router.routes import Routes
from router.snapshot import PARTS
from tests.router.samples import BACKEND, MODEL, snapshot

NAME = snapshot().name


def routes(**changes: int) -> Routes:
    made = Routes({BACKEND: (MODEL,)})
    made.update(snapshot(**changes))
    return made


def parts(of: Routes) -> tuple[int, ...]:
    return tuple(arm.parts for arm in of.by_model[MODEL].snapshot.arms)


@pytest.mark.parametrize("serving", [0, 1])
def test_bypass_acts_at_once_and_is_not_learned_from(serving: int) -> None:
    of = routes(serving=serving)

    of.override(Override(NAME, is_on=True))

    live = of.by_model[MODEL]
    assert (live.mode, live.mode.is_learned) == (Mode.BYPASS, False)
    assert parts(of) == tuple(PARTS if arm == serving else 0 for arm in range(2))
    assert live is of.by_epoch[live.snapshot.epoch]


def test_newer_snapshots_of_an_older_order_change_nothing() -> None:
    of = routes()
    of.override(Override(NAME, is_on=True))
    of.override(Override(NAME, is_on=True, revision=5))

    of.update(snapshot(version=8, revision=4))
    assert parts(of) == (PARTS, 0)

    of.update(snapshot(version=9, revision=5))
    assert parts(of) == (PARTS // 2, PARTS // 2)


def test_bypass_that_ends_gives_back_what_was_published() -> None:
    of = routes()
    before = of.by_model[MODEL]
    of.override(Override(NAME, is_on=True))

    of.override(Override(NAME, is_on=False))

    assert of.by_model[MODEL] == before


def test_bypass_of_another_experiment_is_none_of_ours() -> None:
    of = routes()

    of.override(Override("other", is_on=True))

    assert parts(of) == (PARTS // 2, PARTS // 2)


def test_deleted_experiment_is_forgotten_and_an_archived_one_gives_way() -> None:
    of = routes()
    old = snapshot(epoch=7, name="old", is_archived=True)

    assert not of.update(old)
    assert (of.by_model[MODEL].snapshot.name, 7 in of.by_epoch) == (NAME, True)

    of.keep(["old"])
    assert (MODEL in of.by_model, list(of.by_epoch)) == (False, [7])

"""Retiring frees money only where a whole backend can be switched off, and says so exactly."""

from dataclasses import replace

import pytest

from router.config.document import validate
from router.config.experiment import Experiment
from router.control.dossier import Dossier
from router.control.freed import keeping_usd_day, retiring, serves_only
from serving.model_config import Desired, ModelFiles, seed
from serving.upstream import Servable
from tests.router.control.world import seeded, spec

PRICES = {"aws": 0.5, "gcp": 2.0}
DIGITS = ModelFiles("/m/digits", (2, 3), {})
ARMS = {Servable("gcp", "digits", version) for version in (2, 3)}


def dossier(
    leader: int | None = 0, winner: int | None = None, serves: tuple[int, ...] = (), copies: tuple[int, ...] = ()
) -> Dossier:
    """v1 on aws, v2 and v3 on gcp; some may be copies of one model."""
    document = spec().model_dump(mode="json")
    for number, (arm, backend) in enumerate(zip(document["arms"], ("aws", "gcp", "gcp"), strict=True)):
        arm["backend"] = backend
        arm["reward_group"] = "same" if number in copies else None
    found = seeded(validate(Experiment, document))
    return found.with_life(replace(found.life, leader=leader, winner=winner, serves=serves))


def test_backend_of_which_all_arms_go_frees_its_price_for_all_replicas() -> None:
    assert retiring(dossier(), {"gcp": 3, "aws": 1}, PRICES) == {
        "frees_usd_day": pytest.approx(2.0 * 24 * 3),
        "frees_capacity": False,
    }


@pytest.mark.parametrize(
    ("of", "alone_on", "prices"),
    [
        (dossier(leader=1), {"gcp": 3}, PRICES),
        (dossier(serves=(2,)), {"gcp": 3}, PRICES),
        (dossier(copies=(0, 2)), {"gcp": 3}, PRICES),
        (dossier(), {}, PRICES),
        (dossier(), {"gcp": 3}, {}),
        (dossier(leader=None), {"gcp": 3}, PRICES),
    ],
    ids=[
        "one of its arms leads",
        "a segment keeps one",
        "a copy of the winner is parked there",
        "it serves others",
        "no price is known",
        "nobody leads",
    ],
)
def test_elsewhere_nothing_is_freed_but_capacity(
    of: Dossier, alone_on: dict[str, int], prices: dict[str, float]
) -> None:
    assert retiring(of, alone_on, prices) == {"frees_usd_day": 0.0, "frees_capacity": True}


def test_both_may_be_freed() -> None:
    found = retiring(dossier(leader=1), {"aws": 2}, PRICES)

    assert found == {"frees_usd_day": pytest.approx(0.5 * 24 * 2), "frees_capacity": True}


def test_losers_keep_a_machine_on_until_there_is_a_winner() -> None:
    assert keeping_usd_day(dossier(), {"gcp": 3, "aws": 1}, PRICES) == pytest.approx(2.0 * 24 * 3)
    assert keeping_usd_day(dossier(winner=0), {"gcp": 3, "aws": 1}, PRICES) == 0.0


def test_winner_counts_and_not_who_leads() -> None:
    assert retiring(dossier(leader=0, winner=1), {"gcp": 1}, PRICES)["frees_usd_day"] == 0.0


@pytest.mark.parametrize(
    ("desired", "is_alone"),
    [
        (seed({"digits": DIGITS}), True),
        (seed({"digits": ModelFiles("/m/digits", (2, 3, 4), {})}), False),
        (seed({"digits": DIGITS, "bystander": ModelFiles("/m/b", (7,), {})}), False),
        (None, False),
    ],
    ids=["only arms", "another version", "a bystander", "observed"],
)
def test_backend_is_alone_with_arms_when_its_whole_config_lists_nothing_else(
    desired: Desired | None, is_alone: bool
) -> None:
    assert serves_only("gcp", desired, ARMS) == is_alone

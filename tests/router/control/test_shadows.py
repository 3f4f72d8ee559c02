"""Who gets copies follows from the specification and from the arms' states; what gateways counted is counted once."""

from dataclasses import replace

import msgspec
import pytest

from bandits.life import Life
from router.control.dossier import Dossier
from router.control.shadows import ShadowBook, Shadowing, shadow_routes, waits_for
from router.shadow.sums import ShadowSums
from router.snapshot import PARTS, ShadowRoute
from serving.cost import Line
from tests.router.control.world import BACKEND, EPOCH, PRICES, START, World, seeded, spec

SHADOW = {"arms": ["v3"], "share": 0.5, "against": ["v1"], "timeout": "2s"}
ROUTE = ShadowRoute("v3", BACKEND, "digits", 3, PARTS // 2, (0,), 4, 2.0, 0.01, PRICES[BACKEND])
TRIED = msgspec.structs.replace(ROUTE, name="v9", version=9, run="2026")


def dossier(**states: str) -> tuple[Dossier, Life]:
    """An experiment with a shadow, whose arms are eligible or as they are said to be."""
    made = seeded(spec(shadow=SHADOW))
    # The states as they are written.
    arms = tuple(replace(arm, state=states.get(arm.name, "eligible")) for arm in made.life.arms)  # type: ignore[arg-type]
    return made, replace(made.life, arms=arms)


def test_copies_go_to_the_arms_that_are_named() -> None:
    assert shadow_routes(*dossier(), Shadowing(), PRICES) == (ROUTE,)


@pytest.mark.parametrize(
    ("states", "words"),
    [
        ({"v3": "quarantined"}, "v3 is quarantined"),
        ({"v3": "draining"}, "v3 is draining"),
        ({"v3": "retired"}, "v3 is retired"),
        ({"v3": "warming"}, "v3 is warming"),
        # Its cost is measured there.
        ({"v2": "warming"}, f"v2 is measured on {BACKEND}"),
        ({"v3": "standby"}, None),
        ({"v2": "quarantined"}, None),
    ],
)
def test_shadow_waits_while_its_arm_cant_take_copies(states: dict[str, str], words: str | None) -> None:
    made, life = dossier(**states)

    assert waits_for(made, life, ROUTE) == words
    assert bool(shadow_routes(made, life, Shadowing(), PRICES)) == (words is None)


def test_snapshot_and_state_carry_shadows_and_an_edit_switches_them_off() -> None:
    world = World(spec(shadow=SHADOW), (0.9, 0.9, 0.9), (Line(0.001, 0.0),) * 3)
    while not (snapshot := world.tick().snapshot).shadows:
        assert world.version < 20

    (shown,) = msgspec.json.decode(snapshot.view)["shadow"]
    assert snapshot.shadows == (ROUTE,)
    assert (shown["arm"], shown["share"], shown["against"], shown["waits_for"]) == ("v3", 0.5, ["v1"], None)
    assert (shown["is_deployment"], shown["compared"], shown["agreement"]) == (False, 0, None)

    world.dossier = msgspec.structs.replace(world.dossier, spec=spec())
    assert world.tick().snapshot.shadows == ()


def beat(requests: int, key: str = "v3") -> dict[int, dict[str, ShadowSums]]:
    return {EPOCH: {key: ShadowSums(requests=requests)}}


def requests(book: ShadowBook, key: str = "v3") -> int:
    return book.of("digits", EPOCH, START).sums.get(key, ShadowSums()).requests


def test_gateways_add_up_and_one_that_is_gone_keeps_what_it_had() -> None:
    book = ShadowBook(START)
    book.hear({"a": beat(3), "b": beat(4)}, [EPOCH])
    book.hear({"a": beat(5), "b": beat(4)}, [EPOCH])
    assert requests(book) == 9

    book.hear({"a": beat(6)}, [EPOCH])
    assert requests(book) == 10
    # It was silent, and is heard again.
    book.hear({"a": beat(6), "b": beat(7)}, [EPOCH])
    assert requests(book) == 13


def test_shadow_that_a_gateway_counts_anew_keeps_what_it_had() -> None:
    book = ShadowBook(START)
    for found in (beat(5), {}, beat(2), beat(3), beat(1)):
        book.hear({"a": found}, [EPOCH])

    assert requests(book) == 5 + 3 + 1


def test_what_is_kept_of_those_that_are_gone_is_bounded() -> None:
    book = ShadowBook(START)
    for number in range(300):
        book.hear({f"gateway {number}": beat(1)}, [EPOCH])
    assert requests(book) == 300
    assert len(book._heard) == 65

    for number in range(300):
        book.hear({"a": beat(1, f"shadow {number}")}, [EPOCH])
    assert len(book._gone[EPOCH]) <= 64
    book.hear({}, [])
    assert book._gone == {}


def test_version_that_is_tried_gets_copies_while_it_is_asked_for() -> None:
    book = ShadowBook(START)
    book.attempt("digits", TRIED, START)

    found = book.of("digits", EPOCH, START + 4)
    assert found.tried == (TRIED,)
    assert TRIED in shadow_routes(*dossier(), found, PRICES)
    assert book.of("others", EPOCH, START + 4).tried == ()
    assert book.of("digits", EPOCH, START + 6).tried == ()

    book.attempt("digits", TRIED, START)
    book.end("digits", TRIED)
    assert book.of("digits", EPOCH, START).tried == ()

"""A backend's arms together get no larger share than it can bear."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandits.weights import PARTS
from router.control.capacity import within
from router.snapshot import ArmRoute
from serving.cost import Line
from tests.router.control.world import BACKEND, World, spec


def test_excess_goes_to_the_others_in_proportion() -> None:
    assert within([0.1, 0.6, 0.3], ["a", "b", "c"], {"b": 0.2}, 0) == pytest.approx([0.2, 0.2, 0.6])
    # Two arms of one backend share its room as they share the traffic.
    assert within([0.2, 0.6, 0.2], ["a", "b", "b"], {"b": 0.4}, 0) == pytest.approx([0.6, 0.3, 0.1])


def test_where_nobody_has_room_control_serves() -> None:
    assert within([0.5, 0.5], ["a", "b"], {"a": 0.3, "b": 0.2}, 0) == pytest.approx([0.8, 0.2])


@given(
    st.lists(st.floats(0.01, 1.0), min_size=2, max_size=6),
    st.dictionaries(st.sampled_from("bcd"), st.floats(0.01, 0.99)),
    st.data(),
)
def test_all_rooms_are_kept_but_controls(shares: list[float], rooms: dict[str, float], draw: st.DataObject) -> None:
    backends = ["a", *(draw.draw(st.sampled_from("abcd")) for _ in shares[1:])]
    total = sum(shares)

    held = within([share / total for share in shares], backends, rooms, 0)

    assert sum(held) == pytest.approx(1.0)
    for name, room in rooms.items():
        assert sum(share for share, backend in zip(held, backends, strict=True) if backend == name) <= room + 1e-9


def test_arm_that_earns_most_gets_no_more_than_its_backend_bears() -> None:
    wanted = spec(arms=2, stop={"min_age": "1h"})
    arms = (wanted.arms[0], wanted.arms[1].model_copy(update={"backend": "tfs-g"}))
    world = World(wanted.model_copy(update={"arms": arms}), [0.5, 0.9], [Line(0.001, 0.0)] * 2, requests=100)
    world.prices = {BACKEND: 2.0, "tfs-g": 2.0}
    world.capacities = {"tfs-g": 40.0}
    for _ in range(60):
        world.tick()

    routes: tuple[ArmRoute, ...] = world.published[-1].arms
    assert routes[1].parts / PARTS == pytest.approx(0.4, abs=0.05)
    assert (routes[0].rps_max, routes[1].rps_max) == (None, 40.0)


def test_workers_are_told_how_many_send() -> None:
    world = World(spec(arms=2), [0.5, 0.9], [Line(0.001, 0.0)] * 2, requests=100)
    for _ in range(3):
        world.tick()

    assert world.published[-1].workers == len(world.gateways) > 0

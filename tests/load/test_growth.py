"""One thing is varied at a time, and a slope is what one more of it costs."""

from collections.abc import Iterator
from dataclasses import fields

import pytest

from load.growth.__main__ import slopes
from load.growth.idle import idle
from load.growth.measure import document
from load.growth.points import AXES, BASE, Point, points
from router.config import Config
from router.config.document import validate


def _differences(point: Point) -> Iterator[str]:
    return (field.name for field in fields(Point) if getattr(point, field.name) != getattr(BASE, field.name))


def test_one_thing_is_varied_at_a_time() -> None:
    for axis, value, point in points():
        assert getattr(point, axis) == value
        assert set(_differences(point)) <= {axis}


def test_large_messages_are_fewer_in_flight() -> None:
    assert BASE.in_flight == 64
    assert Point(size_bytes=4 << 20).in_flight == 16
    assert Point(size_bytes=1 << 30).in_flight == 2


def test_slope_is_taken_from_the_least_to_the_most_without_what_rest_costs() -> None:
    rows = [
        {"axis": "arms", "value": value, "cpu_us": 400.0 + 5.0 * value, "rest_us": 2.0 * value}
        for value in AXES["arms"]
    ]

    assert slopes(rows) == {"arms": pytest.approx(3.0)}


def test_every_point_is_a_configuration_that_a_gateway_takes() -> None:
    for _, _, point in points():
        found = validate(Config, document(point, "127.0.0.1:1", 2, 3, 4))
        assert len(found.experiments) == point.experiments
        assert {len(one.arms) for one in found.experiments} == {point.arms}


async def test_more_connections_than_files_are_allowed_is_said() -> None:
    with pytest.raises(RuntimeError, match="open files"):
        async with idle("127.0.0.1:1", 10**9):
            pass

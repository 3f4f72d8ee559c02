"""Egress is charged by bytes and by the backend's price, and told by version since the worker's start."""

from router.egress import Egress

GIB = 2**30


def test_answers_cost_by_their_bytes_and_where_they_come_from() -> None:
    egress = Egress({"far": 0.09})

    assert egress.charge("far", "digits", 2, GIB) == 90_000_000_000
    assert egress.charge("near", "digits", 1, GIB) == 0
    assert egress.sent() == (("far", "digits", "2", 90_000_000_000),)


def test_what_was_sent_adds_up() -> None:
    egress = Egress({"far": 1.0})

    costs = [egress.charge("far", "digits", version, 1_000_000) for version in (1, 1, 2)]

    assert egress.sent() == (("far", "digits", "1", sum(costs[:2])), ("far", "digits", "2", costs[2]))

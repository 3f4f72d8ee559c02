"""HTTP connections have their age, a tenth sooner or later; those that have gone are forgotten."""

import asyncio

from router.fronts.aging import Ages


class Connection(asyncio.Protocol):
    """What aiohttp has for a connection."""

    def __init__(self) -> None:
        self.transport: object | None = object()


def end_of(ages: Ages, connection: Connection, until_s: float = 200.0) -> float:
    """Return when the connection, which asks ten times a second from 0 on, is over."""
    return next(now / 10 for now in range(int(until_s * 10)) if ages.is_over(connection, now / 10))


def test_connections_end_a_tenth_sooner_or_later() -> None:
    ages = Ages(100.0)

    ends = [end_of(ages, Connection()) for _ in range(200)]

    assert min(ends) >= 90.0
    assert max(ends) <= 110.1
    assert max(ends) - min(ends) > 10.0


def test_age_begins_with_the_first_request_and_stays_reached() -> None:
    ages, connection = Ages(100.0), Connection()

    assert not ages.is_over(connection, 1000.0)
    assert not ages.is_over(connection, 1089.9)
    assert ages.is_over(connection, 1110.1)
    assert ages.is_over(connection, 1111.0)


def test_connections_that_have_gone_are_forgotten() -> None:
    ages, stays = Ages(100.0), Connection()
    ages.is_over(stays, 0.0)
    for _ in range(10_000):
        gone = Connection()
        ages.is_over(gone, 0.0)
        gone.transport = None

    assert len(ages._ends) < 200
    assert ages.is_over(stays, 110.1)

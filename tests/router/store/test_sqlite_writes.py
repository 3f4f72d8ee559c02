"""One transaction on the SQLite file: statements of any length, and the sweep of what has expired."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.store import Reward, RewardResult
from router.store.sqlite_file import connect, create, prepare
from router.store.sqlite_writes import Sweep, Transaction
from tests.router.store.samples import CELL, NOW, reward


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    create(str(path))
    opened = connect(str(path))
    prepare(opened, str(path))
    yield opened
    opened.close()


def count(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM counted").fetchone()[0])


def add(connection: sqlite3.Connection, sweep: Sweep, rewards: list[Reward]) -> list[RewardResult]:
    connection.execute("BEGIN IMMEDIATE")
    transaction = Transaction(connection, sweep)
    transaction.load(rewards)
    results = transaction.add_rewards(rewards)
    transaction.finish()
    connection.execute("COMMIT")
    return results


@pytest.mark.parametrize("length", [1, 2, 3, 255, 256, 257, 767])
def test_statements_of_any_length_find_and_add_every_row(connection: sqlite3.Connection, length: int) -> None:
    rewards = [reward(number, cell=CELL._replace(block=number)) for number in range(length)]

    assert add(connection, Sweep(), rewards) == [RewardResult.RECORDED] * length
    assert add(connection, Sweep(), rewards) == [RewardResult.DUPLICATE] * length
    assert connection.execute("SELECT count(*), sum(rewards) FROM sums").fetchone() == (length, length)


def test_lookups_go_by_the_key_and_never_through_the_table(connection: sqlite3.Connection) -> None:
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    add(connection, Sweep(), [reward(1)])
    connection.set_trace_callback(None)

    lookups = [statement for statement in statements if "CROSS JOIN" in statement]
    assert len(lookups) == 2
    for lookup in lookups:
        plan = " | ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {lookup}"))
        assert "USING PRIMARY KEY (" in plan


def test_nothing_is_swept_before_the_time_is_known(connection: sqlite3.Connection) -> None:
    sweep = Sweep()
    add(connection, sweep, [reward(number, expires_at=0) for number in range(10)])
    add(connection, sweep, [])

    assert count(connection) == 10


def test_one_commit_sweeps_a_bounded_number_of_pairs(connection: sqlite3.Connection) -> None:
    sweep = Sweep()
    add(connection, sweep, [reward(number, expires_at=int(NOW)) for number in range(1000)])
    sweep.now = NOW

    left = []
    for _ in range(5):
        add(connection, sweep, [])
        left.append(count(connection))
    assert left == [744, 488, 232, 0, 0]


def test_the_expired_stay_a_small_part_of_the_table(connection: sqlite3.Connection) -> None:
    sweep = Sweep()
    living, sizes = 2000, []
    for start in range(0, 16_000, 200):  # A pair lives until 2,000 more were added.
        sweep.now = float(start)
        add(connection, sweep, [reward(start + n, expires_at=start + living) for n in range(200)])
        sizes.append(count(connection))

    # 1/3 by the sweep's rate, and the steps of this test.
    assert max(sizes) <= living * 1.5
    assert min(sizes[10:]) >= living


def test_a_decision_with_many_events_is_swept_as_one(connection: sqlite3.Connection) -> None:
    sweep = Sweep()
    rows = [reward(1, event=f"row {number}", expires_at=int(NOW)) for number in range(600)]
    add(connection, sweep, [*rows, *(reward(number, expires_at=int(NOW) + 1) for number in range(2, 300))])
    sweep.now = NOW

    for _ in range(3):
        add(connection, sweep, [])

    assert count(connection) == 298

"""The bench of the store: what counts as acknowledged, and how its table marks what misses a bar."""

from collections.abc import AsyncIterator

import pytest

from load.store.__main__ import Measured, Row, show
from load.store.outlook import outlook, rewards_per_s, workers_for, workers_per_redis
from load.store.pushing import Rate, push, rewards_from
from load.store.unit_costs import Load, Pushed, Units
from router.store import Store, open_store

NOW = 1_700_000_000.0


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    opened = open_store("memory:")
    await opened.open()
    yield opened
    await opened.close()


async def test_every_reward_that_is_counted_is_in_the_store(store: Store) -> None:
    rate = await push(store, 10, 2, 0.02)

    sums = await store.sums(1)
    assert rate.rewards == sum(cell["rewards"] for cell in sums.values()) > 0
    assert rate.per_s > 0
    assert rate.cpu_us > 0


async def test_rewards_the_store_knew_are_no_measure(store: Store) -> None:
    await store.add_rewards(rewards_from(iter(range(1, 4)), 3, NOW + 10**9))

    with pytest.raises(ExceptionGroup) as refused:
        await push(store, 10, 1, 0.02)
    assert "the store recorded 7 of 10 new rewards" in str(refused.value.exceptions[0])


@pytest.mark.parametrize(("per_s", "bytes_each", "missed"), [(10.0, 120.0, 0), (9.9, 120.0, 1), (9.9, 120.1, 2)])
def test_table_marks_what_misses_its_bar(
    per_s: float, bytes_each: float, missed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = Measured({}, [Row("redis", Rate(64, 1, 10, per_s, 1.0), 10.0)], bytes_each, 120.0)

    assert show(measured) == (missed == 0)
    assert capsys.readouterr().out.count("MISSED") == missed


def test_outlook_is_arithmetic_from_the_units() -> None:
    units = Units(
        machine={},
        worker=Load(cpu_us=1000.0, in_bytes=0.0, out_bytes=20_000.0, commands=0.0),
        leader=Load(0.0, 0.0, 0.0, 0.0),
        snapshot_bytes=4000,
        rewards=[Pushed(64, 8, cpu_us=2.0, in_bytes=60.0)],
        cell_bytes=300.0,
        reward_bytes=100.0,
        prediction_cpu_us=210.0,
    )

    assert (workers_per_redis(units), rewards_per_s(2.0), workers_for(units, 1e6)) == (700.0, 350_000.0, 300.0)
    assert "  0.30 cores of Redis and 6.0 MB/s of its network for each experiment" in [
        line.replace("  being there takes ", "  ") for line in outlook(units)
    ]
    assert "  750 GB for what is remembered for 7,500 s" in outlook(units)

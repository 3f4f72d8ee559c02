"""Copies go beside the traffic: a request never waits for one, and no measurement of a backend has one in it."""

import asyncio

import pytest

from serving.calls import Copied
from serving.dispatcher import Dispatcher
from serving.errors import BackendError, Code, InternalError
from tests.serving.replica import CALL_S, V1, V2, Replica, now, request, run

LONG_S = 1.0


def slow_copies(first: object) -> float:
    """V2's calls take long."""
    return LONG_S if first.model_spec.version.value == V2.version else CALL_S  # type: ignore[attr-defined]  # a Message


async def copy(on: Dispatcher) -> Copied | None:
    return await on.copies.send(V2, request(7), 30.0)


def test_request_goes_at_once_though_a_copy_is_under_way() -> None:
    async def scenario(on: Dispatcher, group: asyncio.TaskGroup) -> None:
        group.create_task(copy(on))
        await asyncio.sleep(0)
        await on.predict(V1, request(1), deadline=9.0)
        assert now() == pytest.approx(CALL_S)

    run(scenario, Replica(seconds=slow_copies), max_in_flight=1)


def test_copy_finds_no_room_while_slots_are_taken_or_something_waits() -> None:
    async def scenario(on: Dispatcher, group: asyncio.TaskGroup) -> None:
        group.create_task(on.predict(V1, request(1), deadline=9.0))
        await asyncio.sleep(CALL_S / 2)
        assert await copy(on) is None
        await asyncio.sleep(CALL_S)
        sent = group.create_task(copy(on))
        await asyncio.sleep(0)
        # Copies are no batches, but two at a time would be one too many.
        assert await copy(on) is None
        assert (await sent) is not None

    run(scenario, Replica(), max_in_flight=1)


def test_copy_is_metered_and_told_to_nobody() -> None:
    async def scenario(on: Dispatcher, group: asyncio.TaskGroup) -> None:
        found = await copy(on)
        assert found is not None
        assert (found.error, found.replica) == (None, "replica:0")
        assert found.seconds == pytest.approx(CALL_S)
        assert found.charged_ns == on.busy_ns()["replica:0"] == pytest.approx(CALL_S * 1e9)

    assert run(scenario, Replica()) == []


def test_error_of_a_copy_is_its_outcome() -> None:
    def broken(_: object) -> bytes:
        raise BackendError(Code.INTERNAL, "boom")

    async def scenario(on: Dispatcher, group: asyncio.TaskGroup) -> None:
        found = await copy(on)
        assert found is not None
        assert (found.response, str(found.error)) == (None, "boom")

    async def garbage(on: Dispatcher, group: asyncio.TaskGroup) -> None:
        found = await copy(on)
        assert found is not None
        assert isinstance(found.error, InternalError)

    run(scenario, Replica(broken))
    run(garbage, Replica(lambda _: b"\xff"))


def test_replica_that_is_out_or_suspect_gets_no_copy() -> None:
    async def scenario(on: Dispatcher, group: asyncio.TaskGroup) -> None:
        on.admit("replica:0", is_open=False)
        assert await copy(on) is None
        on.admit("replica:0", is_open=True)
        assert await copy(on) is not None
        on._batcher.replicas.suspect(0, now(), now() + 1.0)
        assert await copy(on) is None

    run(scenario, Replica())


def test_probe_waits_for_copies_and_copies_for_the_probe() -> None:
    async def scenario(on: Dispatcher, group: asyncio.TaskGroup) -> None:
        on.probe(V1, 4)
        copying = group.create_task(copy(on))
        await asyncio.sleep(0)
        # It goes without being the probe, and without waiting.
        await on.predict(V1, request(1), deadline=9.0)
        assert now() == pytest.approx(CALL_S)
        await copying
        # The probe has not had its chance yet.
        assert await copy(on) is None
        await on.predict(V1, request(2), deadline=9.0)
        assert await copy(on) is not None

    records = run(scenario, Replica(seconds=slow_copies))

    assert [(record.is_probe, record.pad_to) for record in records] == [(False, None), (True, 4)]


def test_copies_wait_no_longer_for_a_probe_than_a_probe_for_a_replica() -> None:
    async def scenario(on: Dispatcher, group: asyncio.TaskGroup) -> None:
        on.probe(V1, 4)
        copying = group.create_task(copy(on))
        await asyncio.sleep(0)
        await on.predict(V1, request(1), deadline=9.0)
        await copying
        await asyncio.sleep(1.5)
        assert await copy(on) is not None

    run(scenario, Replica(seconds=slow_copies))


def test_copy_on_a_replica_that_leaves_is_not_counted_on_its_successor() -> None:
    async def scenario(on: Dispatcher, group: asyncio.TaskGroup) -> None:
        copying = group.create_task(copy(on))
        await asyncio.sleep(0)
        on.replace([Replica(address="replica:1")])
        on.replace([Replica(address="replica:2")])
        await copying
        slots = on._batcher.replicas
        assert not slots.is_copying
        assert all(slot.copies == 0 for slot in slots._slots)

    run(scenario, Replica(seconds=slow_copies))

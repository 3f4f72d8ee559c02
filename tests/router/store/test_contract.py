"""What every store promises, tried on each of them."""

import asyncio
import itertools
import math
import random

import pytest

from router.store import (
    FIELDS,
    Cell,
    CounterOverflow,
    Entry,
    Fenced,
    Record,
    RevisionConflict,
    Reward,
    RewardResult,
    Store,
    StoreUnavailable,
    open_store,
)
from router.store.contract import DEPLOYMENTS_KEPT, HISTORY_KEPT, INT64_MAX, INT64_MIN
from tests.router.store.conftest import StoreTime
from tests.router.store.samples import CELL, NOW, nonce, reward, with_zeros

RECORDED, DUPLICATE, CONFLICT = RewardResult.RECORDED, RewardResult.DUPLICATE, RewardResult.CONFLICT


async def total(store: Store, field: str, cell: Cell = CELL) -> int:
    return (await store.sums(cell.epoch)).get((cell.arm, cell.block), with_zeros())[field]


class TestRewards:
    async def test_a_new_reward_is_recorded_and_added(self, store: Store) -> None:
        assert await store.add_rewards([reward(1, 3.0)]) == [RECORDED]

        assert await store.sums(CELL.epoch) == {(CELL.arm, CELL.block): with_zeros(rewards=1, reward_q=3)}

    async def test_the_same_reward_again_is_a_duplicate_and_adds_nothing(self, store: Store) -> None:
        await store.add_rewards([reward(1)])

        assert await store.add_rewards([reward(1)]) == [DUPLICATE]
        assert await total(store, "rewards") == 1

    async def test_another_value_for_the_same_event_conflicts_and_adds_nothing(self, store: Store) -> None:
        await store.add_rewards([reward(1, 1.0)])

        assert await store.add_rewards([reward(1, 2.0)]) == [CONFLICT]
        assert await store.add_rewards([reward(1, 1.0)]) == [DUPLICATE]
        assert await total(store, "reward_q") == 1

    async def test_a_pair_met_twice_in_one_call_is_judged_as_in_two(self, store: Store) -> None:
        results = await store.add_rewards([reward(1, 1.0), reward(1, 1.0), reward(1, 2.0), reward(2, 0.0)])

        assert results == [RECORDED, DUPLICATE, CONFLICT, RECORDED]
        assert await total(store, "rewards") == 2

    async def test_events_of_one_decision_are_counted_apart(self, store: Store) -> None:
        results = await store.add_rewards([reward(1, event="click"), reward(1, event="sale"), reward(1, event="")])

        assert results == [RECORDED] * 3
        assert await total(store, "rewards") == 3

    async def test_a_pair_counts_once_even_for_another_cell(self, store: Store) -> None:
        await store.add_rewards([reward(1)])

        assert await store.add_rewards([reward(1, cell=CELL._replace(arm=2))]) == [DUPLICATE]
        assert set(await store.sums(CELL.epoch)) == {(CELL.arm, CELL.block)}

    async def test_concurrent_duplicates_are_counted_once(self, store: Store) -> None:
        async with asyncio.TaskGroup() as tasks:
            calls = [tasks.create_task(store.add_rewards([reward(number % 10)])) for number in range(100)]

        results = [call.result()[0] for call in calls]
        assert results.count(RECORDED) == 10
        assert results.count(DUPLICATE) == 90
        assert await total(store, "rewards") == 10

    async def test_no_rewards_are_no_results(self, store: Store) -> None:
        assert await store.add_rewards([]) == []

    async def test_a_call_of_thousands_is_counted_exactly(self, store: Store) -> None:
        rewards = [reward(number, float(number)) for number in range(3001)]

        assert await store.add_rewards(rewards) == [RECORDED] * 3001
        assert await store.add_rewards(rewards[1000:]) == [DUPLICATE] * 2001
        assert await total(store, "reward_q") == sum(range(3001))

    @pytest.mark.parametrize("value", [0.1, -0.5, 5e-324, 1.7976931348623157e308, 2.0**53 + 2])
    async def test_a_value_is_remembered_to_the_last_bit(self, store: Store, value: float) -> None:
        await store.add_rewards([reward(1, value, fields={"rewards": 1})])

        assert await store.add_rewards([reward(1, value, fields={})]) == [DUPLICATE]
        assert await store.add_rewards([reward(1, math.nextafter(value, 0.0), fields={})]) == [CONFLICT]

    async def test_a_reward_that_adds_nothing_is_remembered_all_the_same(self, store: Store) -> None:
        await store.add_rewards([reward(1, 0.0, fields={"reward_q": 0})])

        assert await store.add_rewards([reward(1, 1.0)]) == [CONFLICT]
        assert await store.sums(CELL.epoch) == {}

    async def test_expired_pairs_are_forgotten_in_time_and_living_ones_are_kept(self, store: Store) -> None:
        living = [reward(number, expires_at=int(NOW) + 100) for number in range(300)]
        expired = [reward(number, expires_at=int(NOW) + 10) for number in range(300, 600)]
        await store.add_rewards(living + expired)

        for sequence in range(1, 10):
            await store.flush("g", sequence, {}, b"", NOW + 11)

        assert await store.add_rewards(living) == [DUPLICATE] * 300
        assert await store.add_rewards(expired) == [RECORDED] * 300


class TestIntegers:
    async def test_sums_are_exact_beyond_what_a_float_holds(self, store: Store) -> None:
        await store.add_rewards([reward(1, fields={"reward_q2": 2**53})])
        await store.add_rewards([reward(2, fields={"reward_q2": 1})])

        assert await total(store, "reward_q2") == 2**53 + 1

    @pytest.mark.parametrize("edge", [INT64_MIN, INT64_MAX])
    async def test_a_sum_may_reach_the_edge_and_not_pass_it(self, store: Store, edge: int) -> None:
        beyond = {"busy_ns": 1 if edge > 0 else -1, "decisions": 1}
        await store.flush("g", 1, {CELL: {"busy_ns": edge}}, b"one", NOW)

        with pytest.raises(CounterOverflow, match="busy_ns"):
            await store.flush("g", 2, {CELL: beyond}, b"two", NOW)
        with pytest.raises(CounterOverflow, match="busy_ns"):
            await store.add_rewards([reward(1), reward(2, fields=beyond)])

        assert await store.sums(CELL.epoch) == {(CELL.arm, CELL.block): with_zeros(busy_ns=edge)}
        assert await store.heartbeats(NOW, 1.0) == {"g": b"one"}
        assert await store.add_rewards([reward(1)]) == [RECORDED]  # What was refused isn't remembered.

    async def test_an_overflow_harms_no_call_that_goes_on_beside_it(self, store: Store) -> None:
        await store.flush("g", 1, {CELL: {"busy_ns": INT64_MAX}}, b"", NOW)

        async with asyncio.TaskGroup() as tasks:
            bad = [
                tasks.create_task(refused(store, reward(number, fields={"busy_ns": 1}))) for number in range(0, 40, 2)
            ]
            good = [tasks.create_task(store.add_rewards([reward(number)])) for number in range(1, 40, 2)]

        assert all(call.result() for call in bad)
        assert [call.result() for call in good] == [[RECORDED]] * 20
        assert await total(store, "rewards") == 20

    async def test_order_changes_no_integer(
        self, url: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
    ) -> None:
        rng = random.Random(7)
        rewards = [
            reward(number, 1.0, cell=CELL._replace(arm=number % 3, block=number % 2), fields={"reward_q": 3**number})
            for number in range(30)
        ]
        flushes = [(sequence, {CELL: {"decisions": sequence}}) for sequence in range(1, 9)]
        seen = []
        for _ in range(4):
            rng.shuffle(rewards)
            if url.startswith("redis"):
                request.getfixturevalue("one_redis").tell("FLUSHALL")
            folder = tmp_path_factory.mktemp("order")
            store = open_store(f"sqlite://{folder}/t.db" if url.startswith("sqlite") else url, unix_now=lambda: NOW)
            await store.open()
            for start, (sequence, deltas) in zip(range(0, 30, 4), flushes, strict=True):
                await store.add_rewards(rewards[start : start + 4])
                await store.flush(f"g{sequence}", sequence, deltas, b"", NOW)
            seen.append(await store.sums(CELL.epoch))
            await store.close()

        assert all(one == another for one, another in itertools.pairwise(seen))
        assert len(seen[0]) == 7

    @pytest.mark.parametrize("epoch", [0, 1, 2**63 - 1, 2**63, 2**64 - 1])
    async def test_every_64_bit_epoch_keeps_its_own_sums(self, store: Store, epoch: int) -> None:
        other = Cell(epoch ^ (1 << 63), 0, 0)
        await store.flush("g", 1, {Cell(epoch, 0, -5): {"rows": 4}, other: {"rows": 7}}, b"", NOW)

        assert await store.sums(epoch) == {(0, -5): with_zeros(rows=4)}
        assert await store.sums(other.epoch) == {(0, 0): with_zeros(rows=7)}


async def refused(store: Store, item: Reward) -> bool:
    with pytest.raises(CounterOverflow):
        await store.add_rewards([item])
    return True


class TestFlushes:
    async def test_every_field_is_added_up(self, store: Store) -> None:
        first = {name: position + 1 for position, name in enumerate(FIELDS)}
        await store.flush("g", 1, {CELL: first}, b"", NOW)
        await store.flush("g", 2, {CELL: first, CELL._replace(block=1): {"rows": 5, "errors": 0}}, b"", NOW)

        sums = await store.sums(CELL.epoch)
        assert sums[CELL.arm, CELL.block] == {name: 2 * number for name, number in first.items()}
        assert sums[CELL.arm, 1] == with_zeros(rows=5)

    async def test_a_sequence_seen_before_changes_nothing(self, store: Store, time: StoreTime) -> None:
        await store.flush("g", 5, {CELL: {"rows": 1}}, b"new", time.now)
        time.passes(5.0)
        for sequence in (5, 4, -1):
            await store.flush("g", sequence, {CELL: {"rows": 1}}, b"old", time.now)

        assert await total(store, "rows") == 1
        assert await store.heartbeats(time.now, 9.0) == {"g": b"new"}
        assert await store.heartbeats(time.now, 4.0) == {}

    async def test_gateways_have_sequences_of_their_own(self, store: Store) -> None:
        await store.flush("a", 9, {CELL: {"rows": 1}}, b"", NOW)
        await store.flush("b", 1, {CELL: {"rows": 1}}, b"", NOW)

        assert await total(store, "rows") == 2

    async def test_a_call_that_adds_nothing_makes_no_cell(self, store: Store) -> None:
        await store.flush("g", 1, {CELL: {}, CELL._replace(arm=2): {"rows": 0}}, b"", NOW)

        assert await store.sums(CELL.epoch) == {}

    @pytest.mark.parametrize(
        ("cell", "fields", "complaint"),
        [
            (CELL, {"wins": 1}, "unknown field 'wins'"),
            (CELL, {"rows": 2**63}, "rows must be a 64-bit integer"),
            (CELL, {"rows": True}, "rows must be a 64-bit integer"),
            (CELL, {"rows": 1.0}, "rows must be a 64-bit integer"),
            (Cell(2**64, 0, 0), {"rows": 1}, r"0\.\.2\^64-1"),
            (Cell(-1, 0, 0), {"rows": 1}, r"0\.\.2\^64-1"),
            (Cell(0, -1, 0), {"rows": 1}, "the arm from 0"),
        ],
    )
    async def test_what_no_store_can_keep_is_a_value_error(
        self, store: Store, cell: Cell, fields: dict[str, int], complaint: str
    ) -> None:
        with pytest.raises(ValueError, match=complaint):
            await store.flush("g", 1, {cell: fields}, b"", NOW)
        with pytest.raises(ValueError, match=complaint):
            reward(1, cell=cell, fields=fields)


class TestDocuments:
    async def test_an_experiment_is_saved_and_read_back_byte_for_byte(self, store: Store) -> None:
        assert await store.save_experiment("b", b"\x00\xff", 0, 0) == 1
        assert await store.save_experiment("a", b"{}", 0, 0) == 1
        assert await store.save_experiment("b", b"two", 1, 0) == 2

        assert await store.experiments() == [Record("a", 1, b"{}"), Record("b", 2, b"two")]

    @pytest.mark.parametrize("expected", [0, 2])
    async def test_a_change_to_another_revision_is_refused(self, store: Store, expected: int) -> None:
        await store.save_experiment("a", b"one", 0, 0)

        with pytest.raises(RevisionConflict, match=f"at revision 1, the change was made to {expected}"):
            await store.save_experiment("a", b"two", expected, 0)
        assert await store.experiments() == [Record("a", 1, b"one")]

    async def test_change_and_what_is_told_of_it_are_one_step(self, store: Store) -> None:
        told = [Entry("a", b"first"), Entry("/audit", b"row"), Entry("a", b"second")]
        await store.save_experiment("a", b"one", 0, None, told)

        assert await store.history("a", 9) == [b"first", b"second"]
        assert await store.history("/audit", 9) == [b"row"]
        with pytest.raises(RevisionConflict):
            await store.save_experiment("a", b"two", 7, None, [Entry("a", b"never")])
        assert await store.history("a", 9) == [b"first", b"second"]

    async def test_change_of_a_person_asks_for_no_lease(self, store: Store) -> None:
        await store.lease("leader", NOW, 10.0)

        assert await store.save_experiment("a", b"one", 0, None) == 1
        with pytest.raises(Fenced):
            await store.save_experiment("a", b"two", 1, 0)

    async def test_removed_experiment_leaves_its_history_alone(self, store: Store) -> None:
        await store.save_experiment("a", b"one", 0, 0, [Entry("a", b"made")])
        await store.publish("a", 5, b"snapshot", 0)
        for expected, fence, error in ((9, None, RevisionConflict), (1, 3, Fenced)):
            with pytest.raises(error):
                await store.remove_experiment("a", expected, fence, [Entry("a", b"never")])

        await store.remove_experiment("a", 1, None, [Entry("a", b"gone")])

        assert (await store.experiments(), await store.snapshots()) == ([], {})
        assert await store.history("a", 9) == [b"made", b"gone"]
        assert await store.save_experiment("a", b"again", 0, 0) == 1

    async def test_of_concurrent_changes_one_wins(self, store: Store) -> None:
        async def change(number: int) -> bool:
            try:
                await store.save_experiment("a", bytes([number]), 0, 0)
            except RevisionConflict:
                return False
            return True

        async with asyncio.TaskGroup() as tasks:
            calls = [tasks.create_task(change(number)) for number in range(10)]

        assert sum(call.result() for call in calls) == 1

    async def test_history_ends_with_the_last_entries_in_order(self, store: Store) -> None:
        for number in range(5):
            await store.append_history("a", b"%d" % number, 0)
        await store.append_history("b", b"other", 0)

        assert await store.history("a", 3) == [b"2", b"3", b"4"]
        assert await store.history("a", 9) == [b"0", b"1", b"2", b"3", b"4"]
        assert await store.history("a", 0) == []
        assert await store.history("none", 9) == []

    async def test_history_is_bounded(self, store: Store) -> None:
        for turn, start in enumerate(range(0, HISTORY_KEPT + 5, 1000)):
            numbers = range(start, min(start + 1000, HISTORY_KEPT + 5))
            await store.save_experiment("a", b"", turn, None, [Entry("a", b"%d" % number) for number in numbers])

        entries = await store.history("a", HISTORY_KEPT * 2)
        assert (len(entries), entries[0], entries[-1]) == (HISTORY_KEPT, b"5", b"%d" % (HISTORY_KEPT + 4))

    async def test_the_last_snapshot_is_the_current_one(self, store: Store) -> None:
        await store.publish("a", 1, b"x", 0)
        await store.publish("a", 3, b"y", 0)
        await store.publish("a", 3, b"y", 0)  # A publication whose answer was lost may be repeated.
        await store.publish("b", 1, b"z", 0)

        assert await store.snapshots() == {"a": (3, b"y"), "b": (1, b"z")}

    async def test_a_snapshot_never_goes_backward(self, store: Store) -> None:
        await store.publish("a", 3, b"y", 0)

        with pytest.raises(RevisionConflict, match="snapshot 3"):
            await store.publish("a", 2, b"x", 0)
        assert await store.snapshots() == {"a": (3, b"y")}


class TestBackends:
    async def test_documents_of_backends_are_their_own_and_come_back_by_name(self, store: Store) -> None:
        await store.save_experiment("a", b"experiment", 0, 0)
        assert await store.save_backend("b", b"\x00\xff", 0, 0) == 1
        assert await store.save_backend("a", b"one", 0, 0) == 1
        assert await store.save_backend("a", b"two", 1, 0) == 2

        assert await store.backends() == [Record("a", 2, b"two"), Record("b", 1, b"\x00\xff")]
        assert await store.experiments() == [Record("a", 1, b"experiment")]

    async def test_a_stale_revision_or_a_deposed_leader_changes_nothing(self, store: Store, time: StoreTime) -> None:
        await store.lease("first", time.now, 1.0)
        await store.save_backend("a", b"one", 0, 1)
        with pytest.raises(RevisionConflict, match="a is at revision 1"):
            await store.save_backend("a", b"two", 0, 1)
        time.passes(2.0)
        await store.lease("second", time.now, 1.0)
        with pytest.raises(Fenced):
            await store.save_backend("a", b"two", 1, 1)

        assert await store.backends() == [Record("a", 1, b"one")]


class TestLease:
    async def test_one_holder_at_a_time(self, store: Store, time: StoreTime) -> None:
        assert await store.lease("a", time.now, 50.0) == 1
        time.passes(30.0)
        assert await store.lease("b", time.now, 50.0) is None
        assert await store.lease("a", time.now, 50.0) == 1
        time.passes(30.0)
        assert await store.lease("b", time.now, 50.0) is None

    async def test_the_epoch_grows_when_the_holder_changes(self, store: Store, time: StoreTime) -> None:
        assert await store.lease("a", time.now, 5.0) == 1
        time.passes(5.0)
        assert await store.lease("b", time.now, 5.0) == 2
        time.passes(5.0)
        assert await store.lease("a", time.now, 5.0) == 3

    async def test_a_holder_nobody_followed_goes_on_in_its_epoch(self, store: Store, time: StoreTime) -> None:
        await store.lease("a", time.now, 50.0)

        time.passes(600.0)
        assert await store.lease("a", time.now, 50.0) == 1
        time.passes(30.0)
        assert await store.lease("b", time.now, 50.0) is None

    async def test_a_released_lease_is_free_at_once_and_comes_with_a_new_epoch(self, store: Store) -> None:
        await store.lease("a", NOW, 5.0)
        await store.release("b")
        assert await store.lease("b", NOW, 5.0) is None
        await store.release("a")

        assert await store.lease("a", NOW, 5.0) == 2
        await store.release("a")
        assert await store.lease("b", NOW, 5.0) == 3

    async def test_a_deposed_leader_can_write_nothing(self, store: Store, time: StoreTime) -> None:
        await store.lease("a", time.now, 5.0)
        await store.save_experiment("a", b"one", 0, 1)
        time.passes(5.0)
        await store.lease("b", time.now, 5.0)

        with pytest.raises(Fenced, match="epoch 2"):
            await store.save_experiment("a", b"two", 1, 1)
        with pytest.raises(Fenced, match="epoch 2"):
            await store.append_history("a", b"two", 1)
        with pytest.raises(Fenced, match="epoch 2"):
            await store.publish("a", 1, b"two", 1)
        assert await store.experiments() == [Record("a", 1, b"one")]
        assert await store.history("a", 9) == []
        assert await store.snapshots() == {}
        assert await store.save_experiment("a", b"two", 1, 2) == 2

    async def test_a_store_that_lost_its_lease_takes_no_writes_of_before(self, store: Store) -> None:
        with pytest.raises(Fenced, match="reset or restored"):
            await store.publish("a", 1, b"x", 4)


class TestLifeOfAStore:
    async def test_a_store_that_is_not_open_is_unavailable(self, url: str) -> None:
        store = open_store(url, unix_now=lambda: NOW)
        with pytest.raises(StoreUnavailable, match="not open"):
            await store.sums(1)
        with pytest.raises(StoreUnavailable, match="not open"):
            await store.add_rewards([reward(1)])
        await store.open()
        await store.close()
        with pytest.raises(StoreUnavailable, match="not open"):
            await store.flush("g", 1, {}, b"", NOW)
        await store.close()

    async def test_what_was_stored_is_there_after_a_close(self, url: str, time: StoreTime) -> None:
        store = open_store(url, unix_now=lambda: NOW)
        await store.open()
        await store.add_rewards([reward(1)])
        await store.lease("a", NOW, 5.0)
        await store.close()
        await store.open()

        assert await store.add_rewards([reward(1)]) == [DUPLICATE]
        time.passes(5.0)
        assert await store.lease("b", time.now, 5.0) == 2
        await store.close()

    @pytest.mark.parametrize("address", ["", "memory", "sqlite:turpin.db", "sqlite:///", "postgres://u:secret@h/x"])
    def test_other_urls_are_refused_without_showing_what_they_hold(self, address: str) -> None:
        with pytest.raises(ValueError, match="memory:, sqlite:///ABSOLUTE/PATH or redis:") as refusal:
            open_store(address)
        assert "secret" not in str(refusal.value)

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_a_reward_is_a_finite_number(self, value: float) -> None:
        with pytest.raises(ValueError, match="finite"):
            reward(1, value, fields={})

    def test_a_reward_names_its_decision_by_16_bytes_and_its_event_in_text(self) -> None:
        with pytest.raises(ValueError, match="16 bytes"):
            Reward(CELL, nonce(1)[:15], "default", 1.0, {}, 0)
        with pytest.raises(ValueError, match="surrogates"):
            reward(1, event="\ud800")
        with pytest.raises(ValueError, match="expires_at"):
            reward(1, expires_at=2**63)


class TestDeployments:
    async def test_documents_of_deployments_come_back_by_name_and_change_by_compare_and_set(self, store: Store) -> None:
        assert await store.save_deployment("tfs/digits/8", b"begun", 0, None) == 1
        assert await store.save_deployment("tfs/digits/7", b"begun", 0, 0) == 1
        assert await store.save_deployment("tfs/digits/7", b"done", 1, 0, [Entry("/audit", b"who")]) == 2
        with pytest.raises(RevisionConflict):
            await store.save_deployment("tfs/digits/7", b"again", 1, None)

        assert await store.deployments() == [
            Record("tfs/digits/7", 2, b"done"),
            Record("tfs/digits/8", 1, b"begun"),
        ]
        assert await store.history("/audit", 9) == [b"who"]

    async def test_those_written_longest_ago_are_dropped(self, store: Store) -> None:
        await store.save_deployment("first", b"", 0, None)
        await store.save_deployment("second", b"", 0, None)
        await store.save_deployment("first", b"again", 1, None)
        async with asyncio.TaskGroup() as tasks:
            for number in range(DEPLOYMENTS_KEPT - 2):
                tasks.create_task(store.save_deployment(f"n{number}", b"", 0, None))
        assert len(await store.deployments()) == DEPLOYMENTS_KEPT

        await store.save_deployment("last", b"", 0, None)

        names = {record.name for record in await store.deployments()}
        assert (len(names), "first" in names, "second" in names) == (DEPLOYMENTS_KEPT, True, False)

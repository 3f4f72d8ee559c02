"""Sticky experiments: each unit is one trial, whichever worker it comes to, however often it comes."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from bandits.sums import STEPS
from router.choice import Context, choose
from router.decisions import Keyring, Mode
from router.ledger import Ledger
from router.metrics import Metrics
from router.reward_calls import RewardCalls
from router.rewards import Claim, RewardDesk
from router.routes import Live, Routes
from router.snapshot import PARTS, Snapshot
from router.store import Reward, RewardResult
from router.store.memory import MemoryStore
from router.trials import TAG_BYTES, Trials, tag_of, trial_of
from serving import wire
from tests.router.samples import (
    BACKEND,
    EPOCH,
    KEYS,
    MODEL,
    NOW,
    Bench,
    Instant,
    ask,
    bench,
    body,
    snapshot,
)

KEYRING = Keyring(KEYS)
DAY_S = 86_400.0
STICKY: dict[str, Any] = {"is_sticky": True}


BODY = body()


def worker(trials: Trials | None = None) -> Bench:
    return bench({BACKEND: Instant()}, [snapshot(**STICKY)], trials=trials)


def body_of(client: bytes) -> bytes:
    """A request that carries the client's own id."""
    message = wire.parse(wire.PredictRequest, BODY)
    message.client_id = client
    return bytes(message.SerializeToString())


def sent(on: Bench, unit: bytes, **known: Any) -> str:
    return ask(on, unit=unit, **({"request_id": b""} | known)).decision


async def counted(on: Bench, store: MemoryStore) -> None:
    """What the data plane does before each flush."""
    while trials := on.trials.waiting():
        for cell in on.trials.settle(trials, await store.add_rewards(trials)):
            on.ledger.add(cell, unlearned_decisions=1)


def desk(store: MemoryStore, **changes: Any) -> RewardDesk:
    routes = Routes({BACKEND: (MODEL,)})
    routes.update(snapshot(**(STICKY | changes)))
    return RewardDesk(
        keys=KEYRING,
        routes=routes,
        store=store,
        metrics=Metrics(),
        unix_now=lambda: NOW,
        ledger=Ledger(),
        calls=RewardCalls(),
    )


async def totals(store: MemoryStore) -> Counter[str]:
    found: Counter[str] = Counter()
    for cell in (await store.sums(EPOCH)).values():
        found.update(cell)
    return +found


def test_first_decision_of_a_unit_is_its_trial_and_the_others_repeat_it() -> None:
    on = worker()

    made = [KEYRING.verify(sent(on, b"ann")) for _ in range(3)]

    assert [one.mode for one in made] == [Mode.EXPERIMENT, Mode.REPEAT, Mode.REPEAT]
    assert len({one.arm for one in made}) == 1
    assert len({one.nonce for one in made}) == 3
    assert len({one.nonce[-TAG_BYTES:] for one in made}) == 1
    (delta,) = on.ledger.parcel().deltas.values()
    assert (delta["decisions"], delta["unlearned_decisions"]) == (0, 2)
    assert "assigned" not in delta


async def test_every_unit_counts_once_in_all_workers_together() -> None:
    store, workers = MemoryStore(), [worker(), worker(), worker()]
    await store.open()
    rewards = desk(store)
    claims = []
    for _ in range(2):
        for on in workers:
            for number in range(20):
                context = Context(30.0, b"unit %d" % number)
                reply = await on.predictor.predict(BODY, context)
                claims.append(Claim(reply.decision, float(number < 5)))
            await counted(on, store)
    outcomes = await rewards.record(claims)
    again = await rewards.record(claims)

    found = await totals(store)
    assert (found["decisions"], found["rewards"], found["reward_q"]) == (20, 20, 5 * STEPS)
    # The others are kept: 2 rounds of 3 workers and 20 units, less the trials.
    assert found["unlearned_rewards"] == 100
    assert sum(outcome.is_learned for outcome in outcomes) == 20
    assert {outcome.status for outcome in outcomes} == {202}
    assert {outcome.status for outcome in again} == {200}


async def test_reward_that_comes_before_the_count_is_the_trial() -> None:
    store, here, there = MemoryStore(), worker(), worker()
    await store.open()
    first, second = sent_in(here, b"ann"), sent_in(there, b"ann")
    tokens = [await first, await second]

    (quick,) = await desk(store).record([Claim(tokens[1], 1.0)])
    (slow,) = await desk(store).record([Claim(tokens[0], 1.0)])
    await counted(here, store)
    await counted(there, store)

    assert (quick.is_learned, slow.is_learned) == (True, False)
    found = await totals(store)
    assert (found["decisions"], found["rewards"], found["unlearned_rewards"]) == (1, 1, 1)
    assert here.ledger.parcel().deltas[KEYRING.verify(tokens[0]).cell]["unlearned_decisions"] == 1


async def test_event_that_is_not_learned_from_leaves_the_trial_to_another_decision() -> None:
    store, here, there = MemoryStore(), worker(), worker()
    await store.open()
    first, second = await sent_in(here, b"ann"), await sent_in(there, b"ann")

    (other,) = await desk(store).record([Claim(first, 1.0, event="click")])
    (taught,) = await desk(store).record([Claim(second, 1.0)])

    assert (other.status, other.is_learned, taught.is_learned) == (202, False, True)
    found = await totals(store)
    assert (found["decisions"], found["rewards"], found["unlearned_rewards"]) == (1, 1, 1)


async def sent_in(on: Bench, unit: bytes) -> str:
    return (await on.predictor.predict(BODY, Context(30.0, unit))).decision


def test_unit_whose_request_failed_has_its_trial_still_before_it() -> None:
    on = worker()
    tag = tag_of(KEYRING, snapshot(**STICKY), b"ann", NOW)

    assert on.trials.is_new(tag)
    sent(on, b"ann")
    assert not on.trials.is_new(tag)


def test_who_names_no_unit_is_a_trial_of_its_own() -> None:
    on = worker()

    made = [KEYRING.verify(sent(on, b"")) for _ in range(20)]

    assert {one.mode for one in made} == {Mode.EXPERIMENT}
    assert {one.arm for one in made} == {0, 1}
    assert len({one.nonce[-TAG_BYTES:] for one in made}) == 20


def test_request_that_is_sent_again_repeats_its_nonce() -> None:
    on = worker()

    one, other = (KEYRING.verify(sent(on, b"ann", request_id=b"7")) for _ in range(2))

    assert one.nonce == other.nonce


def test_unit_is_the_clients_own_id_when_no_header_names_one() -> None:
    on = worker()
    decisions = [asyncio.run(on.predictor.predict(body_of(b"ann"), Context(30.0))).decision for _ in range(2)]
    named = asyncio.run(on.predictor.predict(body_of(b"bob"), Context(30.0, b"ann"))).decision

    assert [KEYRING.verify(one).mode for one in (*decisions, named)] == [Mode.EXPERIMENT, Mode.REPEAT, Mode.REPEAT]


def test_in_an_experiment_without_an_end_units_return_when_it_has_forgotten_them() -> None:
    of: Snapshot = snapshot(**STICKY, units_return=True, unit_memory_s=DAY_S)
    ends: Snapshot = snapshot(**STICKY, unit_memory_s=DAY_S)
    start = NOW - NOW % DAY_S

    assert tag_of(KEYRING, of, b"ann", start) == tag_of(KEYRING, of, b"ann", start + DAY_S - 1)
    assert tag_of(KEYRING, of, b"ann", start) != tag_of(KEYRING, of, b"ann", start + DAY_S)
    assert tag_of(KEYRING, ends, b"ann", start) == tag_of(KEYRING, ends, b"ann", start + 9 * DAY_S)
    assert tag_of(KEYRING, ends, b"ann", start) != tag_of(KEYRING, ends, b"bob", start)


def trial(unit: bytes) -> Reward:
    decision = KEYRING.verify(sent(worker(), unit))
    return trial_of(decision, snapshot(**STICKY))


def test_store_remembers_a_trial_longer_than_any_token_lives() -> None:
    one = trial(b"ann")

    assert one.event == ""
    assert one.fields == {"decisions": 1}
    assert one.expires_at >= NOW + 14 * DAY_S + 1800


def test_trials_wait_in_order_until_the_store_has_heard_of_them() -> None:
    trials = Trials()
    some = [trial(b"%d" % number) for number in range(4)]
    for one in some[:3]:
        trials.begin(one)
    sending = trials.waiting()
    trials.begin(some[3])

    recorded, conflict = RewardResult.RECORDED, RewardResult.CONFLICT
    assert trials.settle(sending, [recorded, conflict, RewardResult.DUPLICATE]) == [some[1].cell]
    assert trials.waiting() == [some[3]]


def test_while_the_store_is_away_for_long_new_units_wait_for_their_trial() -> None:
    on = worker(Trials(waiting_max=2))

    modes = [KEYRING.verify(sent(on, b"%d" % number)).mode for number in range(3)]
    for waiting in [on.trials.waiting()]:
        on.trials.settle(waiting, [RewardResult.RECORDED] * len(waiting))
    later = KEYRING.verify(sent(on, b"2")).mode

    assert modes == [Mode.EXPERIMENT, Mode.EXPERIMENT, Mode.REPEAT]
    assert later is Mode.EXPERIMENT


def test_worker_remembers_so_many_units_and_no_more() -> None:
    on = worker(Trials(units_max=2))

    modes = [KEYRING.verify(sent(on, unit)).mode for unit in (b"a", b"b", b"c", b"c", b"a")]

    # The worker has forgotten the first; the store has not, and will say so.
    assert [mode.name for mode in modes] == ["EXPERIMENT", "EXPERIMENT", "EXPERIMENT", "REPEAT", "EXPERIMENT"]


def test_units_stay_when_weights_change_but_for_those_that_must_move() -> None:
    live = [Live.of(snapshot(parts, PARTS - parts, **STICKY)) for parts in (PARTS // 2, PARTS * 6 // 10)]
    arms = [
        [choose(one, Context(30.0, b"%d" % unit), KEYRING, Trials(), NOW).arm for unit in range(3_000)] for one in live
    ]

    moved = [(before, after) for before, after in zip(*arms, strict=True) if before != after]
    assert set(moved) == {(1, 0)}
    assert len(moved) / 3_000 == pytest.approx(0.1, abs=4 * (0.09 / 3_000) ** 0.5)

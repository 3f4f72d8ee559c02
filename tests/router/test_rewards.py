"""Every claim has one outcome; a reward counts once, in the block of its decision, and only what may be learned is."""

import asyncio
import itertools
import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandits.sums import STEPS, quantise
from router.decisions import Decision, Keyring, Mode
from router.ledger import Ledger
from router.metrics import Metrics
from router.problems import Problem
from router.reward_calls import RewardCalls
from router.rewards import Claim, Outcome, RewardDesk
from router.routes import Routes
from router.store import FIELDS, Cell, Reward, RewardResult, StoreUnavailable
from router.store.memory import MemoryStore
from tests.router.samples import BACKEND, EPOCH, KEYS, MODEL, NOW, snapshot

KEYRING = Keyring(KEYS)
WINDOW_S = 1800.0
OTHER_EPOCH = EPOCH - 1

# Distinct decisions in the order of their nonces.
_NONCES = itertools.count(1)


def token(
    number: int | None = None, *, age_s: float = 0.0, rows: int = 1, keys: Keyring = KEYRING, **changes: Any
) -> str:
    """A decision that is `age_s` seconds old; a new one unless `number` says which."""
    nonce = (next(_NONCES) + 10**6 if number is None else number).to_bytes(16)
    facts: dict[str, Any] = {
        "mode": Mode.EXPERIMENT,
        "segment": 0,
        "epoch": EPOCH,
        "arm": 1,
        "parts": 2**30,
        "weights_version": 7,
    }
    facts |= {"block": 3, "time_us": round((NOW - age_s) * 1e6), "rows": rows, "nonce": nonce, **changes}
    return keys.sign(Decision(**facts))


class Bench:
    """A desk over a store in memory. Mutable: the store, the clock, the metrics."""

    def __init__(self, store: MemoryStore | None = None, **changes: Any) -> None:
        self.store = store or MemoryStore()
        self.now = NOW
        self.metrics = Metrics()
        self.ledger = Ledger()
        self.calls = RewardCalls()
        routes = Routes({BACKEND: (MODEL,)})
        routes.update(snapshot(**changes))
        self.desk = RewardDesk(
            keys=KEYRING,
            routes=routes,
            store=self.store,
            metrics=self.metrics,
            unix_now=lambda: self.now,
            ledger=self.ledger,
            calls=self.calls,
        )

    def record(self, *claims: Claim) -> list[Outcome]:
        """Record claims in one call."""

        async def play() -> list[Outcome]:
            await self.store.open()
            return await self.desk.record(claims)

        return asyncio.run(play())

    def sums(self, epoch: int = EPOCH) -> dict[tuple[int, int], dict[str, int]]:
        """What was counted, without the zeros."""
        cells = asyncio.run(self.store.sums(epoch))
        return {place: {name: n for name, n in cell.items() if n} for place, cell in cells.items()}

    def count(self, result: str) -> float:
        """The metric of this result."""
        return self.metrics.registry.get_sample_value("turpin_rewards_total", {"result": result}) or 0.0


def of(outcomes: Sequence[Outcome]) -> list[tuple[int, Problem | None]]:
    return [(outcome.status, outcome.problem) for outcome in outcomes]


def test_reward_is_counted_in_the_block_of_its_decision_whenever_it_comes() -> None:
    on = Bench(block=9)

    outcomes = on.record(Claim(token(age_s=12.5), 0.25))

    assert of(outcomes) == [(202, None)]
    assert outcomes[0].is_learned
    q = STEPS // 4
    assert on.sums() == {(1, 3): {"rewards": 1, "reward_q": q, "reward_q2": q * q, "delay_ms": 12_500}}


def test_late_reports_are_counted_for_their_arm_and_never_learned() -> None:
    on = Bench()
    late = Claim(token(age_s=WINDOW_S + 1.0), 1.0)

    # What was not the experiment's to learn from can't be late for it.
    on.record(late, late, Claim(token(age_s=WINDOW_S + 1.0, mode=Mode.WARMUP), 1.0))

    assert on.ledger.parcel().deltas == {Cell(EPOCH, 1, 3): {"late_rewards": 2}}
    assert on.sums() == {}


def test_calls_are_counted_for_the_arm_they_speak_of_whatever_becomes_of_them() -> None:
    on = Bench()
    claim = Claim(token(), 1.0)

    assert on.calls.last_at(EPOCH) is None
    on.record(claim)
    on.record(claim, Claim(claim.decision, 0.0), Claim(token(age_s=WINDOW_S + 1.0), 1.0), Claim(token(arm=0), 7.0))
    # Nobody knows of which arm a forged token speaks.
    on.record(Claim("x" * 94, 1.0))

    assert on.calls.of(EPOCH, 1) == {"recorded": 1, "duplicate": 1, "conflict": 1, "late": 1}
    assert on.calls.of(EPOCH, 0) == {"invalid": 1}
    assert on.calls.of(OTHER_EPOCH, 0) == {}
    assert on.calls.last_at(EPOCH) == NOW


@pytest.mark.parametrize(("age_s", "number"), [(0.0, 0), (12.5, 9), (900.0, 21), (901.0, 22), (1800.0, 23)])
def test_conversion_is_counted_in_its_part_of_the_window(age_s: float, number: int) -> None:
    on = Bench(feedback="conversions")

    on.record(Claim(token(age_s=age_s), 1.0))

    counted = {"rewards": 1, "reward_q": STEPS, "reward_q2": STEPS**2, f"delay_bin_{number:02d}": 1}
    assert on.sums() == {(1, 3): counted | ({"delay_ms": int(age_s * 1e3)} if age_s else {})}


@pytest.mark.parametrize("mode", [mode for mode in Mode if not mode.is_learned])
def test_reward_of_a_decision_beside_the_experiment_is_accepted_and_kept_apart(mode: Mode) -> None:
    on = Bench()

    outcomes = on.record(Claim(token(mode=mode), 0.5))

    assert of(outcomes) == [(202, None)]
    assert not outcomes[0].is_learned
    assert on.sums() == {(1, 3): {"unlearned_rewards": 1, "unlearned_reward_q": STEPS // 2}}


def test_rewards_of_rows_enter_as_their_mean() -> None:
    on = Bench()

    on.record(Claim(token(rows=4), rewards=(1.0, 0.0, 0.0, 1.0)))

    assert on.sums()[1, 3]["reward_q"] == STEPS // 2
    assert on.sums()[1, 3]["rewards"] == 1


def test_range_of_the_reward_is_scaled_to_the_steps() -> None:
    on = Bench(reward_low=-10.0, reward_high=30.0)

    on.record(Claim(token(), -10.0), Claim(token(), 30.0), Claim(token(), 0.0))

    assert on.sums()[1, 3]["reward_q"] == STEPS + STEPS // 4


REFUSALS: dict[str, tuple[Any, Problem, str]] = {
    "forged": (lambda: Claim(token(keys=Keyring([("k1", b"another secret!!")])), 1.0), Problem.FORGED, "signature"),
    "garbage": (lambda: Claim("x" * 94, 1.0), Problem.FORGED, "token"),
    "short": (lambda: Claim("", 1.0), Problem.FORGED, "94 characters"),
    "from the future": (lambda: Claim(token(age_s=-301.0), 1.0), Problem.FORGED, "301 s in the future"),
    "late": (lambda: Claim(token(age_s=WINDOW_S + 0.001), 1.0), Problem.LATE, "window is 1800 s"),
    "other epoch": (lambda: Claim(token(epoch=OTHER_EPOCH), 1.0), Problem.UNKNOWN_EPOCH, "not known"),
    "no such arm": (lambda: Claim(token(arm=2), 1.0), Problem.UNKNOWN_EPOCH, "not known"),
    "too high": (lambda: Claim(token(), 1.0001), Problem.INVALID, r"within \[0, 1\], got 1.0001"),
    "too low": (lambda: Claim(token(), -1e-9), Problem.INVALID, r"got -1e-09"),
    "NaN": (lambda: Claim(token(), math.nan), Problem.INVALID, "got nan"),
    "infinite": (lambda: Claim(token(), math.inf), Problem.INVALID, "got inf"),
    "NaN in a row": (lambda: Claim(token(rows=2), rewards=(1.0, math.nan)), Problem.INVALID, "got nan"),
    "one row out of range": (lambda: Claim(token(rows=2), rewards=(0.0, 2.0)), Problem.INVALID, "got 2"),
    "too few rows": (lambda: Claim(token(rows=2), rewards=(1.0,)), Problem.INVALID, "2 rows, got 1"),
    "too many rows": (lambda: Claim(token(rows=2), rewards=(1.0,) * 3), Problem.INVALID, "2 rows, got 3"),
    "no rows": (lambda: Claim(token(), rewards=()), Problem.INVALID, "1 rows, got 0"),
    "both": (lambda: Claim(token(), 1.0, (1.0,)), Problem.INVALID, "exactly one"),
    "neither": (lambda: Claim(token()), Problem.INVALID, "exactly one"),
    "no event": (lambda: Claim(token(), 1.0, event=""), Problem.INVALID, "1 to 64 characters, got 0"),
    "long event": (lambda: Claim(token(), 1.0, event="e" * 65), Problem.INVALID, "got 65"),
    "event that is no text": (lambda: Claim(token(), 1.0, event="\ud800"), Problem.INVALID, "event"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refused_claim_says_why_and_counts_nothing(case: str) -> None:
    make, problem, words = REFUSALS[case]
    on = Bench()

    (outcome,) = on.record(make())

    assert (outcome.status, outcome.problem, outcome.is_learned) == (problem.status, problem, False)
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(outcome.detail)
    assert on.sums() == {}
    assert on.sums(OTHER_EPOCH) == {}
    assert on.count(problem.label) == 1.0


@pytest.mark.parametrize("age_s", [WINDOW_S, 0.0, -299.0])
def test_window_is_open_to_its_end_and_clocks_may_differ(age_s: float) -> None:
    on = Bench()

    assert of(on.record(Claim(token(age_s=age_s), 1.0))) == [(202, None)]
    assert on.sums()[1, 3].get("delay_ms", 0) == max(0, round(age_s * 1e3))


def test_outcomes_come_in_the_order_of_the_claims() -> None:
    on = Bench()

    outcomes = on.record(
        Claim("", 1.0),
        Claim(token(1), 1.0),
        Claim(token(age_s=9e6), 1.0),
        Claim(token(1), 1.0),
        Claim(token(1), 0.0),
        Claim(token(), 7.0),
        Claim(token(2), 0.0),
    )

    assert of(outcomes) == [
        (401, Problem.FORGED),
        (202, None),
        (410, Problem.LATE),
        (200, None),
        (409, Problem.CONFLICT),
        (422, Problem.INVALID),
        (202, None),
    ]
    assert on.sums()[1, 3]["rewards"] == 2
    assert [on.count(result) for result in ("recorded", "duplicate", "conflict", "late")] == [2.0, 1.0, 1.0, 1.0]


def test_duplicate_later_is_counted_once_and_a_conflict_leaves_the_first() -> None:
    on = Bench()
    first = on.record(Claim(token(1), 1.0))
    on.now += 60.0

    later = on.record(Claim(token(1, age_s=0.0), 1.0), Claim(token(1), 0.0))

    assert [*of(first), *of(later)] == [(202, None), (200, None), (409, Problem.CONFLICT)]
    assert on.sums()[1, 3]["rewards"] == 1
    assert on.sums()[1, 3]["reward_q"] == STEPS


def test_reward_is_not_forgotten_while_its_window_is_open() -> None:
    on = Bench()
    claim = Claim(token(1), 1.0)
    on.record(claim)

    async def let_time_pass(seconds: float) -> None:
        on.now += seconds
        await on.store.flush("gw-1", int(on.now), {}, b"", on.now)

    asyncio.run(let_time_pass(WINDOW_S - 1.0))
    again = on.record(claim)
    asyncio.run(let_time_pass(2.0))
    late = on.record(claim)

    assert [*of(again), *of(late)] == [(200, None), (410, Problem.LATE)]
    assert on.sums()[1, 3]["rewards"] == 1


@pytest.mark.parametrize("order", [("click", "purchase"), ("purchase", "click")])
@pytest.mark.parametrize("at_once", [True, False])
def test_one_event_of_a_decision_is_learned_and_others_are_kept_apart(order: tuple[str, ...], at_once: bool) -> None:
    on = Bench(reward_event="purchase", feedback="conversions")
    claims = [Claim(token(1), 1.0 if event == "click" else 0.5, event=event) for event in order]

    first = on.record(*claims) if at_once else [outcome for claim in claims for outcome in on.record(claim)]
    again = on.record(*claims)
    conflict = on.record(*(Claim(token(1), 0.25, event=event) for event in order))

    assert of(first) == [(202, None)] * 2
    assert of(again) == [(200, None)] * 2
    assert of(conflict) == [(409, Problem.CONFLICT)] * 2
    assert [outcome.is_learned for outcome in (*first, *again)] == [event == "purchase" for event in order * 2]
    q = STEPS // 2
    learned = {"rewards": 1, "reward_q": q, "reward_q2": q * q, "delay_bin_00": 1}
    kept = {"unlearned_rewards": 1, "unlearned_reward_q": STEPS}
    others = {"other_event_rewards": 1, "other_event_reward_q": STEPS}
    assert on.sums() == {(1, 3): learned | kept | others}


def test_event_that_is_not_learned_from_is_no_sign_of_those_that_are() -> None:
    on = Bench(reward_event="purchase")
    old = token(age_s=WINDOW_S + 1.0)

    on.record(Claim(token(), 1.0, event="click"), Claim(old, 1.0, event="click"))

    assert on.calls.of(EPOCH, 1) == {"other_event": 2}
    assert on.calls.last_at(EPOCH) is None
    assert on.ledger.parcel().deltas == {}


reports = st.lists(st.tuples(st.integers(0, 6), st.sampled_from(["default", "click", "sale", "like"])), max_size=60)


@settings(deadline=None, max_examples=50)
@given(reports)
def test_trials_are_never_more_than_decisions(reports: list[tuple[int, str]]) -> None:
    on = Bench()

    outcomes = on.record(*(Claim(token(number, arm=number % 2), 1.0, event=event) for number, event in reports))

    trials = {number for number, event in reports if event == "default"}
    for arm in range(2):
        counted = on.sums().get((arm, 3), {}).get("rewards", 0)
        assert counted == sum(number % 2 == arm for number in trials)
    assert [outcome.status for outcome in outcomes].count(202) == len(set(reports))


class Away(MemoryStore):
    """A store that is away for rewards."""

    async def add_rewards(self, rewards: Sequence[Reward]) -> list[RewardResult]:
        raise StoreUnavailable("the disk is full")


def test_store_that_is_away_refuses_what_was_good_and_nothing_else() -> None:
    on = Bench(Away())

    outcomes = on.record(Claim("", 1.0), Claim(token(), 1.0), Claim(token(), 9.0), Claim(token(), 0.0))

    away = (503, Problem.STORE_AWAY)
    assert of(outcomes) == [(401, Problem.FORGED), away, (422, Problem.INVALID), away]
    assert outcomes[1].detail == "the disk is full"
    assert on.count("store_away") == 2.0


def test_only_what_was_counted_has_a_delay() -> None:
    on = Bench()

    on.record(Claim(token(1), 1.0), Claim(token(1), 1.0), Claim(token(2), 5.0))
    Bench(Away()).record(Claim(token(), 1.0))

    delays = on.metrics.registry.get_sample_value("turpin_reward_delay_seconds_count", {"experiment": "digits-2026"})
    assert delays == 1.0


# (decision, event, reward in sixteenths): one value per decision and event, since of two that conflict the first wins.
events = st.lists(st.tuples(st.integers(0, 6), st.sampled_from(["default", "click"])), min_size=1, max_size=25)


def claim_of(decision: int, event: str) -> Claim:
    mode = Mode.FALLBACK if decision == 6 else Mode.EXPERIMENT
    text = token(decision, arm=decision % 2, block=decision // 3, mode=mode, age_s=decision)
    return Claim(text, (decision * 5 + len(event)) % 17 / 16, event=event)


@settings(deadline=None, max_examples=50)
@given(st.data(), events)
def test_neither_order_nor_repetition_nor_packing_changes_the_sums(
    data: st.DataObject, events: list[tuple[int, str]]
) -> None:
    at_once, in_pieces = Bench(), Bench()
    shuffled = data.draw(st.permutations(events))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(events)), max_size=4)))

    first = at_once.record(*(claim_of(*event) for event in events))
    second = [
        outcome
        for start, end in itertools.pairwise([0, *cuts, len(events)])
        for outcome in in_pieces.record(*(claim_of(*event) for event in shuffled[start:end]))
    ]

    assert at_once.sums() == in_pieces.sums()
    unique = {event for event in events if event[0] != 6 and event[1] == "default"}
    learned = sum(cell.get("rewards", 0) for cell in at_once.sums().values())
    total = sum(cell.get("reward_q", 0) for cell in at_once.sums().values())
    assert learned == len(unique)
    assert total == sum(quantise(claim_of(*event).reward or 0.0, 0.0, 1.0) for event in unique)
    assert [o.status for o in first].count(202) == [o.status for o in second].count(202) == len(set(events))


def test_fields_that_are_added_are_those_a_store_keeps() -> None:
    on = Bench()

    on.record(Claim(token(), 0.5), Claim(token(mode=Mode.WARMUP), 0.5))

    assert set(on.sums()[1, 3]) <= set(FIELDS)


def test_reward_of_an_epoch_that_is_over_is_accepted_and_not_learned() -> None:
    on = Bench(epoch=OTHER_EPOCH, former=(EPOCH,))
    claim = Claim(token(), 1.0)

    outcomes = [*on.record(claim), *on.record(claim)]

    assert of(outcomes) == [(202, None), (200, None)]
    assert [outcome.is_learned for outcome in outcomes] == [False, False]
    assert on.sums(OTHER_EPOCH) == {}
    assert on.sums(EPOCH) == {(1, 3): {"unlearned_rewards": 1, "unlearned_reward_q": STEPS}}

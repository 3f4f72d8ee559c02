"""The checker finds what is lost or counted twice, from the clients' books alone; and takes nothing else for a fault."""

import dataclasses
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from load.chaos.books import Book, Line, Outcome, outcome_of, read_books, read_token
from load.chaos.checker import Key, Sums, counted_in, judge, owed, settled
from router.decisions import Decision, Keyring, Mode
from router.store import Cell, Reward, Store, open_store

KEYS = Keyring([("k", b"0123456789abcdef")])
EPOCH = 2**63 + 5


def token(number: int, arm: int = 0, mode: Mode = Mode.EXPERIMENT) -> str:
    return KEYS.sign(
        Decision(
            mode=mode,
            segment=0,
            epoch=EPOCH,
            arm=arm,
            parts=7,
            weights_version=3,
            block=11,
            time_us=1,
            rows=1,
            nonce=number.to_bytes(16),
        )
    )


def line(number: int, steps: int, outcome: Outcome = "acknowledged", arm: int = 0) -> Line:
    return Line(token(number, arm), "default", steps, outcome)


def test_token_is_read_as_the_gateway_wrote_it() -> None:
    found = read_token(token(1, arm=2, mode=Mode.FALLBACK))

    assert dataclasses.astuple(found) == (Mode.FALLBACK, EPOCH, 2, 7, 3, 11)
    assert not found.is_learned
    assert [mode for mode in Mode if read_token(token(1, mode=mode)).is_learned] == [
        mode for mode in Mode if mode.is_learned
    ]


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        *((status, "acknowledged") for status in (200, 202)),
        *((status, "refused") for status in (400, 401, 409, 410, 422)),
        *((status, "open") for status in (429, 500, 503, None)),
    ],
)
def test_answer_tells_what_must_be_counted(status: int | None, outcome: str) -> None:
    assert outcome_of(status) == outcome


def test_last_word_on_a_reward_is_the_acknowledgement() -> None:
    found = settled([line(1, 5, "open"), line(1, 5), line(1, 5, "open"), line(2, 6, "open"), line(2, 6, "refused")])

    assert list(found.values()) == ["acknowledged", "open"]


def test_acknowledged_must_open_may_and_refused_must_not_be_counted() -> None:
    least, most = owed(settled([line(1, 5), line(2, 7, "open"), line(3, 9, "refused"), line(4, 1, arm=1)]))

    assert least == {Key(EPOCH, 0, True): Sums(1, 5), Key(EPOCH, 1, True): Sums(1, 1)}
    assert most == {Key(EPOCH, 0, True): Sums(2, 12), Key(EPOCH, 1, True): Sums(1, 1)}


def test_rewards_of_other_events_and_fallbacks_are_kept_apart() -> None:
    lines = [
        Line(token(1), "click", 5, "acknowledged"),
        Line(token(2, mode=Mode.FALLBACK), "default", 6, "acknowledged"),
    ]

    assert owed(settled(lines)).least == {Key(EPOCH, 0, False): Sums(2, 11)}


KEY = Key(EPOCH, 0, True)
TWO = [line(1, 5), line(2, 7)]


@pytest.mark.parametrize(
    ("lines", "counted", "lost", "double", "holds"),
    [
        (TWO, Sums(2, 12), 0, 0, True),
        (TWO, Sums(1, 5), 1, 0, False),
        (TWO, Sums(3, 17), 0, 1, False),
        # As many as there should be, but one of them twice.
        (TWO, Sums(2, 10), 0, 0, False),
        ([*TWO, line(3, 9, "open")], Sums(2, 12), 0, 0, True),
        ([*TWO, line(3, 9, "open")], Sums(3, 21), 0, 0, True),
        ([*TWO, line(3, 9, "open")], Sums(4, 30), 0, 1, False),
        ([*TWO, line(3, 9, "open"), line(3, 9)], Sums(2, 12), 1, 0, False),
        ([*TWO, line(3, 9, "refused")], Sums(3, 21), 0, 1, False),
    ],
)
def test_sums_that_are_not_owed_are_found(
    lines: list[Line], counted: Sums, lost: int, double: int, holds: bool
) -> None:
    verdict = judge(lines, {KEY: counted})

    assert (verdict.lost, verdict.double, verdict.holds) == (lost, double, holds)


def test_sums_of_an_arm_that_nobody_rewarded_are_found() -> None:
    verdict = judge(TWO, {KEY: Sums(2, 12), Key(EPOCH, 1, True): Sums(1, 1)})

    assert (verdict.double, verdict.holds) == (1, False)


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    opened = open_store("memory:")
    await opened.open()
    yield opened
    await opened.close()


async def test_books_and_store_agree_over_blocks_and_arms(store: Store, tmp_path: Path) -> None:
    rng = random.Random(4)
    books = [Book(tmp_path / f"client-{number}.jsonl") for number in range(3)]
    for number in range(200):
        steps, arm = rng.randint(0, 2**16), number % 3
        fields = {"rewards": 1, "reward_q": steps, "reward_q2": steps**2}
        await store.add_rewards(
            [Reward(Cell(EPOCH, arm, number % 7), number.to_bytes(16), "default", 0.5, fields, 2**40)]
        )
        books[number % 3].write([line(number, steps, arm=arm)])
    for book in books:
        book.close()
    lines = list(read_books(tmp_path))
    counted = await counted_in(store, [EPOCH])

    assert judge(lines, counted).holds
    assert judge(lines, counted).acknowledged == 200
    assert judge(lines[1:], counted).double == 1
    assert judge([*lines, line(200, 1)], counted).lost == 1

"""Each reward is sent until it is answered for good; what was answered is in the books, whatever comes after."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from router.sending import sender
from router.sending.lines import Line
from router.sending.sender import Books, Stopped
from turpin.errors import TooLarge, TurpinError, Unauthenticated, Unreachable

TAKEN = {"status": 202, "durability": "standard", "learned": True}
THERE = {"status": 200, "durability": "standard", "learned": True, "duplicate": True}
AWAY = {"status": 503, "detail": "the store is away"}
LATE = {"status": 410, "type": "urn:turpin:problem:late", "detail": "the window is 10 s"}
WRONG = {"status": 422, "type": "urn:turpin:problem:invalid", "detail": "a reward must be within [0, 1]"}


class Scripted:
    """Answers calls as it was told; errors are raised. Mutable: what is left to say, and what was asked."""

    def __init__(self, *answers: Sequence[Mapping[str, Any]] | TurpinError) -> None:
        self._answers = list(answers)
        self.asked: list[list[int]] = []

    def rewards(self, claims: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        self.asked.append([claim["n"] for claim in claims])
        answer = self._answers.pop(0)
        if isinstance(answer, TurpinError):
            raise answer
        return answer


def batch(*numbers: int) -> list[Line]:
    return [Line(number, {"n": number}, 10) for number in numbers]


def sent(client: Scripted, *all_batches: list[Line], patience_s: float = 5.0) -> tuple[Books, list[tuple[int, str]]]:
    books = Books()
    refusals: list[tuple[int, str]] = []
    sender.send(
        client,
        all_batches,
        books,
        patience_s=patience_s,
        on_batch=lambda one: None,
        on_refusal=lambda number, why: refusals.append((number, why)),
    )
    return books, refusals


def test_books_say_what_became_of_each() -> None:
    client = Scripted([TAKEN, THERE, LATE], [{**TAKEN, "durability": "spooled", "learned": False}])

    books, refusals = sent(client, batch(1, 2, 4), batch(5))

    assert books.document() == {
        "recorded": 2,
        "learned": 2,
        "spooled": 1,
        "duplicates": 1,
        "refused": {"late": 1},
        "next_line": 6,
    }
    assert refusals == [(4, "late: the window is 10 s")]
    assert not books.is_bad_input


def test_reward_that_is_wrong_in_itself_is_bad_input() -> None:
    books, refusals = sent(Scripted([WRONG]), batch(1))

    assert books.is_bad_input
    assert refusals == [(1, "invalid: a reward must be within [0, 1]")]


def test_only_what_may_be_sent_again_is_sent_again() -> None:
    client = Scripted([TAKEN, AWAY, LATE, AWAY], [TAKEN, THERE])

    books, _ = sent(client, batch(1, 2, 3, 4))

    assert client.asked == [[1, 2, 3, 4], [2, 4]]
    assert (books.recorded, books.duplicates, books.refused.total()) == (2, 1, 1)


def test_gateway_that_is_away_for_a_moment_is_waited_for() -> None:
    client = Scripted(Unreachable("nobody"), [TAKEN])

    books, _ = sent(client, batch(1))

    assert (client.asked, books.recorded) == ([[1], [1]], 1)


@pytest.mark.parametrize(
    ("second", "why"), [(Unreachable("nobody is there"), "nobody is there"), ([AWAY], "the store is away")]
)
def test_without_patience_it_stops_and_knows_where(second: Sequence[Mapping[str, Any]] | TurpinError, why: str) -> None:
    books = Books()

    with pytest.raises(Stopped, match=why):
        sender.send(
            Scripted([TAKEN, TAKEN], second),
            [batch(1, 2), batch(7)],
            books,
            patience_s=0.0,
            on_batch=lambda one: None,
            on_refusal=lambda number, reason: None,
        )
    assert (books.recorded, books.next_line) == (2, 7)


def test_call_that_may_not_be_made_is_not_made_again() -> None:
    client = Scripted(Unauthenticated("send a token", status=401))

    with pytest.raises(Stopped, match="send a token"):
        sent(client, batch(1))
    assert len(client.asked) == 1


def test_answer_without_a_type_is_still_named() -> None:
    _, refusals = sent(Scripted([{"status": 418}]), batch(3))

    assert refusals == [(3, "status 418: no reason given")]


def test_call_that_is_too_large_is_halved_until_it_is_taken() -> None:
    large = TooLarge("the body is larger", status=413)
    client = Scripted(large, large, [TAKEN], [AWAY], [THERE, TAKEN], [TAKEN])

    books, _ = sent(client, batch(1, 2, 3, 4))

    assert client.asked == [[1, 2, 3, 4], [1, 2], [1], [2], [3, 4], [2]]
    assert (books.recorded, books.duplicates, books.next_line) == (3, 1, 5)


def test_reward_that_is_too_large_by_itself_is_refused_and_the_rest_goes_on() -> None:
    large = TooLarge("the body is larger", status=413)
    client = Scripted(large, large, [TAKEN], [TAKEN])

    books, refusals = sent(client, batch(1, 2), batch(3))

    assert refusals == [(1, "too_large: the body is larger")]
    assert (books.recorded, books.is_bad_input, books.next_line) == (2, True, 4)

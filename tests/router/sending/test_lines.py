"""Lines are read one at a time, refused by number, and put into batches that a gateway takes."""

import io
import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.sending.lines import BATCH_BYTES_MAX, LINE_BYTES_MAX, BadLine, Line, batches, read

ONE = b'{"decision": "a", "reward": 1}\n'


def test_rewards_keep_their_numbers_though_empty_lines_are_passed_over() -> None:
    found = list(read(io.BytesIO(ONE + b"\n  \n" + ONE.rstrip())))

    assert [(line.number, line.claim["reward"]) for line in found] == [(1, 1), (4, 1)]
    assert [line.size_bytes for line in found] == [len(ONE), len(ONE) - 1]


def test_lines_before_the_first_that_is_wanted_are_not_looked_at() -> None:
    assert [line.number for line in read(io.BytesIO(b"nonsense\n" + ONE + ONE), first=3)] == [3]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"nonsense", "no JSON"),
        (b"[1]", "must be an object"),
        (b'{"reward": 1}', "must be an object"),
        (b'{"decision": 5, "reward": 1}', "must be an object"),
        (b'{"decision": "a", "reward": NaN}', "a reward must be a finite number, got NaN"),
        (b"[" * 100_000, "no JSON"),
        (b'{"decision": "\xff"}', "no JSON"),
        (b" " * (LINE_BYTES_MAX + 1), f"longer than {LINE_BYTES_MAX} bytes"),
    ],
)
def test_bad_line_is_named_by_its_number(raw: bytes, words: str) -> None:
    lines = read(io.BytesIO(ONE + raw + b"\n"))
    next(lines)

    with pytest.raises(BadLine, match="line 2: ") as caught:
        next(lines)
    assert words in str(caught.value)


def test_file_is_read_no_further_than_is_asked_for() -> None:
    file = io.BytesIO(ONE * 10)

    list(itertools.islice(batches(read(file), 2), 2))

    # Two batches of two, and the first line of the third.
    assert file.tell() == 5 * len(ONE)


@given(st.lists(st.integers(1, BATCH_BYTES_MAX)), st.integers(1, 5))
def test_batches_hold_every_line_once_within_both_bounds(sizes: list[int], size_max: int) -> None:
    lines = [Line(number, {}, size) for number, size in enumerate(sizes, 1)]

    found = list(batches(lines, size_max))

    assert [line for batch in found for line in batch] == lines
    assert all(1 <= len(batch) <= size_max for batch in found)
    assert all(sum(line.size_bytes for line in batch) <= BATCH_BYTES_MAX for batch in found)


def test_line_is_read_as_it_is_sent() -> None:
    (line,) = read(io.BytesIO('{"decision": "a", "rewards": [0.5, 1], "event": "é"}'.encode()))

    assert json.loads(json.dumps(line.claim)) == {"decision": "a", "rewards": [0.5, 1], "event": "é"}

"""JSON that is written to a terminal has letters of all languages, and nothing that a terminal obeys."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.experiments_shown import write_json
from router.json_text import json_text

HOSTILE = ["\x1b[2J", "\x9b2J", "\x7f", "\x85", "a\u202eb", "\u2028", "\ud800", "\U000e0001"]
texts = st.text() | st.sampled_from(HOSTILE)


@given(st.recursive(texts | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(texts, inner)))
def test_it_reads_back_as_what_it_was_and_is_printable(value: Any) -> None:
    text = json_text(value)

    assert json.loads(text) == value
    assert text.isprintable()
    text.encode()


def test_letters_are_left_as_they_are() -> None:
    assert json_text({"größe": "数字 🙂"}) == '{"größe": "数字 🙂"}'


@pytest.mark.parametrize("hostile", HOSTILE)
def test_commands_write_no_controls(hostile: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_json({hostile: [hostile]})

    written = capsys.readouterr().out
    assert written.replace("\n", "").isprintable()
    assert json.loads(written) == {hostile: [hostile]}

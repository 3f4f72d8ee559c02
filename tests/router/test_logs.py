"""Log lines: JSON for machines, and never a secret in one."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from router.decisions import TOKEN_CHARS, Decision, Keyring, Mode
from router.logs import HIDDEN, configure_logs, redact


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """Send logs to a buffer, and give them back to pytest afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    out = io.StringIO()
    configure_logs(out)
    yield out
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def one(out: io.StringIO) -> dict[str, Any]:
    (line,) = out.getvalue().splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def token() -> str:
    decision = Decision(
        mode=Mode.EXPERIMENT,
        segment=0,
        epoch=1,
        arm=1,
        parts=1,
        weights_version=1,
        block=1,
        time_us=1,
        rows=1,
        nonce=bytes(range(16)),
    )
    return Keyring([("k1", b"0123456789abcdef")]).sign(decision)


def test_an_event_is_one_line_of_json(lines: io.StringIO) -> None:
    structlog.get_logger("router.control.leader").info("leading", fence=3, experiments=["digits"])

    line = one(lines)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "leading",
        "level": "info",
        "logger": "router.control.leader",
        "fence": 3,
        "experiments": ["digits"],
    }


def test_the_standard_library_s_logs_come_out_alike(lines: io.StringIO) -> None:
    logging.getLogger("serving.calls").warning("model is not batch-major", extra={"servable": "digits:1", "key": "x"})

    line = one(lines)
    assert (line["event"], line["level"], line["servable"]) == ("model is not batch-major", "warning", "digits:1")
    assert line["key"] == HIDDEN


def test_debug_and_access_logs_are_left_out(lines: io.StringIO) -> None:
    structlog.get_logger("x").debug("noise")
    logging.getLogger("aiohttp.access").info("GET /")

    assert lines.getvalue() == ""


def test_a_traceback_stays_in_its_line_and_is_redacted(lines: io.StringIO) -> None:
    try:
        raise RuntimeError(f"refused Bearer abcdefgh12345678 for {token()}")
    except RuntimeError:
        structlog.get_logger("x").exception("a turn failed")

    line = one(lines)
    assert "RuntimeError: refused Bearer ********" in line["exception"]
    assert token() not in lines.getvalue()


def test_a_terminal_gets_plain_text() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    root = logging.getLogger()
    handlers, level, out = list(root.handlers), root.level, Terminal()
    configure_logs(out)
    try:
        structlog.get_logger("terminal").info("leading", password="hunter2", fence=3)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.reset_defaults()

    assert "leading" in out.getvalue()
    assert "hunter2" not in out.getvalue()
    assert not out.getvalue().startswith("{")


@pytest.mark.parametrize(
    "key", ["authorization", "token", "api_key", "decision", "X-Auth-Token", "client_secret", "Password", "Set-Cookie"]
)
def test_a_secret_is_known_by_its_key(key: str) -> None:
    assert redact(None, "", {key: "abc"}) == {key: HIDDEN}
    assert redact(None, "", {"headers": {key: ["abc"]}}) == {"headers": {key: HIDDEN}}


@pytest.mark.parametrize("key", ["keyword", "monkey", "tokenizer", "decisions", "secretary"])
def test_a_word_that_only_sounds_secret_is_shown(key: str) -> None:
    assert redact(None, "", {key: "abc"}) == {key: "abc"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer abc.def-123456", f"Authorization: Bearer {HIDDEN}"),
        ("redis://user:pass@db:6379/0 is away", f"redis://{HIDDEN}@db:6379/0 is away"),
        ("https://turpin.example/docs", "https://turpin.example/docs"),
        ("the bearer of news", "the bearer of news"),
    ],
)
def test_a_secret_is_known_by_its_shape(text: str, shown: str) -> None:
    assert redact(None, "", {"event": text}) == {"event": shown}


@given(st.text(alphabet=" ,;:=()\"'\n", min_size=0, max_size=3), st.binary(min_size=16, max_size=16))
def test_no_decision_token_is_ever_written(around: str, secret: bytes) -> None:
    decision = Decision(Mode.EXPERIMENT, 0, 2**63, 1, 2**30, 7, 8, 10**15, 1, secret)
    written = Keyring([("k", secret)]).sign(decision)

    event = redact(None, "", {"event": f"got {around}{written}{around}", "facts": [{"n": (written,)}]})

    assert len(written) == TOKEN_CHARS
    assert written not in str(event)


def test_numbers_and_nothing_stay_as_they_are() -> None:
    assert redact(None, "", {"tokens": 3, "key": None, "is_token": True}) == {
        "tokens": 3,
        "key": None,
        "is_token": True,
    }


def test_deep_facts_end_as_text() -> None:
    deep: list[Any] = []
    for _ in range(50):
        deep = [deep]

    assert "[[" in str(redact(None, "", {"facts": deep}))


class Terminal(io.StringIO):
    """A buffer that says it is one."""

    def isatty(self) -> bool:
        """It is."""
        return True


@pytest.mark.parametrize("out", [io.StringIO(), Terminal()], ids=["a file", "a terminal"])
def test_controls_of_a_name_do_not_reach_what_shows_the_log(out: io.StringIO, lines: io.StringIO) -> None:
    configure_logs(out)

    structlog.get_logger("x").warning("refused", name="a\x9b2J\x85\u202eb", names=["\x1b[2J"], facts={"\x7f": "\x9b"})

    shown = out.getvalue()
    assert "refused" in shown
    for control in "\x9b\x85\x7f\u202e":
        assert control not in shown
    assert "[2J\x1b" not in shown


def test_client_that_left_before_its_error_is_no_line(lines: io.StringIO) -> None:
    log = logging.getLogger("grpc._cython.cygrpc")

    log.error("ExecuteBatchError raised in core by servicer method [%s]", "/x/Predict")
    log.error("a fault")

    assert [json.loads(line)["event"] for line in lines.getvalue().splitlines()] == ["a fault"]

"""A frame says what is going on, loudly where something is wrong, and obeys nothing that a gateway sends."""

from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from router.top.frame import frame
from router.top.source import Reading
from router.top.traffic import BackendTraffic, Traffic

TRAFFIC = Traffic(
    seconds=1.0,
    requests_per_s=300.0,
    by_code_per_s={"ok": 297.0, "unavailable": 3.0},
    error_ratio=0.01,
    shed_per_s=0.0,
    retries_per_s=2.0,
    rewards_per_s=290.0,
    rewards_refused_per_s=0.0,
    p50_s=0.004,
    p99_s=0.0123,
    overhead_p99_s=0.001,
    billed_usd_per_hour=0.5,
    store_up=1.0,
    backends={"tfs-a": BackendTraffic(25.0, 2.0, 12.0, 0.0)},
)
STATE: dict[str, Any] = {
    "name": "digits",
    "phase": "running",
    "leader": "v2",
    "snapshot_age_s": 0.4,
    "value_remaining": {"q95": 0.021, "threshold": 0.01, "drained": False},
    "not_ready": ["5 blocks are needed", "v3 is not refuted"],
    "alarms": [],
    "arms": [
        {"name": "v1", "state": "eligible", "weight": 0.25, "decisions": 1234, "errors": 0, "best_probability": 0.1}
        | {"value_usd_low": 5e-7, "value_usd": 6e-7, "value_usd_high": 7e-7},
        {"name": "v2", "state": "quarantined", "weight": 0.75, "decisions": 99, "errors": 7, "best_probability": None}
        | {"value_usd_low": None, "value_usd": None, "value_usd_high": None},
    ],
}
BACKEND: dict[str, Any] = {
    "name": "tfs-a",
    "replicas": [
        {
            "address": "10.0.0.1:8500",
            "answers": True,
            "problem": None,
            "models": {"digits": {"versions": [{"version": 1, "state": "AVAILABLE"}, {"version": 2, "state": "END"}]}},
        }
    ],
}


def reading(**changes: Any) -> Reading:
    return Reading(
        **{
            "at": 0.0,
            "admin": "http://127.0.0.1:8502",
            "version": "0.1.0",
            "experiments": (STATE,),
            "backends": (BACKEND,),
            "prices": ({"backend": "tfs-a", "usd_per_hour": 0.526, "warning": ""},),
            "traffic": TRAFFIC,
            "events": (),
            **changes,
        }
    )


def shown(one: Reading, lost: str = "", width: int = 160) -> str:
    console = Console(width=width, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(frame(one, columns=width, lost=lost))
    return capture.get()


def line(text: str, words: str) -> str:
    (found,) = [one for one in text.splitlines() if words in one]
    return found


def test_frame_says_what_is_going_on() -> None:
    text = shown(reading())

    assert "300 requests/s  p50 4 ms  p99 12.3 ms" in text
    assert "errors 1.00%" in text
    assert "not ok: unavailable 3.0/s" in text
    assert "2.0 sent again/s" in text
    assert "digits  running  leader v2  value remaining 2.10% (drained below 1.0%)" in text
    v1 = line(text, " 1,234 ").split()
    assert v1[:4] == ["v1", "eligible", "██▌", "25%"]
    assert v1[-7:] == ["0.60", "(0.50", "to", "0.70)", "0.100", "1,234", "0"]
    assert "waits for: 5 blocks are needed (and 1 more)" in text
    backend = line(text, "tfs-a").split()
    assert backend == ["tfs-a", "1/1", "0.526", "25", "2", "12.0", "digits/1"]


def test_nothing_but_intervals_is_left_out_on_80_columns() -> None:
    text = shown(reading(), width=80)

    assert max(len(row) for row in text.splitlines()) <= 80
    assert "…" not in text
    assert line(text, " 1,234 ").split()[:4] == ["v1", "eligible", "█▌", "25%"]
    assert line(text, " 1,234 ").split()[-4:] == ["0.60", "0.100", "1,234", "0"]


def test_first_reading_has_no_rates() -> None:
    assert "known after the next reading" in shown(reading(traffic=None))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"alarms": [{"name": "split", "words": "v2 gets too little"}]}, "ALARM split: v2 gets too little"),
        ({"snapshot_age_s": 31.0}, "its weights are 31 s old: nobody learns now"),
        ({"winner": "v1", "phase": "concluded"}, "concluded  winner v1"),
        ({"reason": "paused by ops: lunch"}, "paused by ops: lunch"),
    ],
)
def test_what_matters_of_an_experiment_is_said(change: dict[str, Any], words: str) -> None:
    assert words in shown(reading(experiments=({**STATE, **change},)))


def test_experiment_that_nothing_is_published_of_is_named() -> None:
    text = shown(reading(experiments=({"name": "new", "phase": "draft", "leader": None},)))

    assert "new  draft" in text


def test_replica_that_does_not_answer_is_said_with_its_words() -> None:
    away = {"address": "10.0.0.2:8500", "answers": False, "problem": "connection refused", "models": {}}
    text = shown(reading(backends=({**BACKEND, "replicas": [*BACKEND["replicas"], away]},)))

    assert line(text, "tfs-a").split()[1] == "1/2"
    assert "10.0.0.2:8500: connection refused" in text


def test_price_that_waits_is_said() -> None:
    assert "waits for an operator" in shown(
        reading(prices=({"backend": "tfs-a", "usd_per_hour": 0.5, "warning": "5 waits for an operator"},))
    )


def test_store_that_is_away_is_said() -> None:
    assert "the store does not answer" in shown(reading(traffic=replace(TRAFFIC, store_up=0.0)))


def test_gateway_that_is_gone_is_said_above_what_was_last_known() -> None:
    text = shown(reading(), lost="no gateway answers at http://127.0.0.1:8502")

    assert text.index("no gateway answers") < text.index("digits")


def test_last_events_are_told_with_their_cause() -> None:
    event = {
        "experiment": "digits",
        "now": 3661.0,
        "what": "v3",
        "before": "eligible",
        "after": "draining",
        "why": "refuted",
    }

    assert "01:01:01  v3 eligible → draining (refuted)" in shown(reading(events=(event,)))


def test_nothing_sent_controls_the_terminal() -> None:
    evil = "[red]\x1b[31mx\x1b]0;title\x07"
    text = shown(
        reading(
            version=evil,
            experiments=({**STATE, "name": evil, "reason": evil, "alarms": [{"name": evil, "words": evil}]},),
            backends=({**BACKEND, "name": evil},),
            events=({"experiment": evil, "now": 1.0, "what": evil, "why": evil},),
        )
    )

    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[red]?[31mx" in text


def test_without_its_store_the_rest_is_shown_and_the_age_of_what_was_seen() -> None:
    text = shown(reading(at=112.0, seen_at=100.0, store_away="the file is locked"))

    assert "the store can't be read (the file is locked)" in text
    assert "as they were 12 s ago" in text
    assert "300 requests/s" in text
    assert "tfs-a" in text


def test_nothing_seen_is_not_no_experiment() -> None:
    text = shown(reading(experiments=(), store_away="the file is locked"))

    assert "none of them was seen" in text
    assert "turpin experiments apply" not in text

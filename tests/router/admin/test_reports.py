"""The report: what happened, what it earned against control alone, and why it stopped, in words that claim no more."""

import asyncio
import math
import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from router.admin.report_facts import facts, money
from router.admin.report_plot import shares_svg
from router.admin.report_text import markdown
from router.shadow.sums import ShadowSums
from tests.router.admin.test_reading import EXPERIMENTS, Answer, Bench, get, listening

PATH = f"{EXPERIMENTS}/digits/report"


class Reporting(Bench):
    """The admin port with the report."""

    def ask(self, path: str, *, ticks: int = 10, until: str = "", **headers: str) -> Answer:
        """Publish, and ask once; `until` a phase, the world goes on first."""

        async def play() -> Answer:
            if until:
                self.world.run(lambda world: world.phase == until)
            await self.publish(ticks)
            async with listening(self.application()) as session:
                return await get(session, path, **headers)

        return asyncio.run(play())


def arm(name: str, decisions: int, value_usd: float | None, half_usd: float = 0.0) -> dict[str, Any]:
    low, high = (None, None) if value_usd is None else (value_usd - half_usd, value_usd + half_usd)
    return {"name": name, "decisions": decisions, "value_usd": value_usd, "value_usd_low": low, "value_usd_high": high}


def test_money_is_the_difference_to_control_alone_with_its_interval() -> None:
    arms = [arm("v1", 100, 1.0, 0.1), arm("v2", 300, 3.0, 0.2), arm("v3", 0, 9.0, 5.0)]

    found = money(arms, "v1")

    assert (found["requests"], found["always_control_usd"], found["earned_usd"]) == (400, 400.0, 1000.0)
    assert found["difference_usd"] == 600.0
    # 300 requests went elsewhere: their own interval, and that of what control would have made of them.
    half = math.hypot(300 * 0.2, 300 * 0.1)
    assert found["difference_usd_low"] == pytest.approx(600.0 - half)
    assert found["difference_usd_high"] == pytest.approx(600.0 + half)


def test_money_of_an_arm_whose_value_is_not_known_is_null_and_not_nothing() -> None:
    assert money([arm("v1", 1, 1.0), arm("v2", 1, None)], "v1")["difference_usd"] is None
    # One that had no request has no part in it.
    assert money([arm("v1", 1, 1.0), arm("v2", 0, None)], "v1")["difference_usd"] == 0.0


STATE = {
    "name": "digits",
    "model": "digits",
    "phase": "concluded",
    "outcome": "replaced",
    "winner": "v2",
    "control": "v1",
    "epoch": "0f",
    "objective": "net",
    "reason": "the losers are unloaded",
    "not_ready": [],
    "value_remaining": {"q95": 0.5, "threshold": 0.01},
    "continuing": {"worth_usd_day": 1.5, "cost_usd_day": 0.0},
    "retiring": {"frees_usd_day": 0.0, "frees_capacity": True},
    "alarms": [],
    "arms": [
        {
            **arm(name, 100, 1e-6, 1e-7),
            "state": "eligible",
            "reason": "",
            "rewards": 100,
            "reward_sum": 90.0,
            "rate": 0.9,
            "refuted": False,
            "prediction_cost_usd": 1e-7,
            "best_probability": 0.5,
        }
        for name in ("v1", "v2")
    ],
}
SPEC = {"objective": {"value_usd": 1e-6}, "stop": {"alpha": 0.05}}
NUMBERS = {"certified_gap": 0.013, "margin": 0.02, "value_remaining_q95": 0.004, "threshold": 0.01}
HISTORY = [
    {"now": 10.0, "what": "phase", "before": "warmup", "after": "running", "why": "warm", "numbers": {}},
    {"now": 20.0, "what": "phase", "before": "confirming", "after": "draining", "why": "v2 wins", "numbers": NUMBERS},
    {"now": 30.0, "what": "phase", "before": "draining", "after": "concluded", "why": "unloaded", "numbers": {}},
]


def test_reason_is_told_in_the_words_of_the_confidence_sequence_and_no_more() -> None:
    report = facts(STATE, SPEC, HISTORY, [])
    text = markdown(report)

    assert report["why"]["claim"] == "no live challenger is more than 1.30 % better, 95 %"
    assert (report["started_at"], report["ended_at"]) == (10.0, 20.0)
    assert "No live challenger is more than 1.30 % better, 95 %: by a confidence sequence" in text
    assert "v2 wins." in text
    assert "0.40% of the leader's; drained below 1.00%" in text
    assert "retiring frees $0 a day, and capacity" in text
    assert not re.search(r"proved|worse|significan", text)


def test_claim_is_not_made_for_an_arm_that_a_person_put_in_the_winner_s_place() -> None:
    promoted = {"now": 40.0, "what": "winner", "before": "v2", "after": "v1", "why": "promoted by ops", "numbers": {}}
    ordered = STATE | {"winner": "v1", "outcome": "kept"}

    report = facts(ordered, SPEC, [*HISTORY, promoted], [])

    assert (report["why"]["claim"], report["why"]["overruled"]) == (None, "promoted by ops")
    assert "**v1 serves, by a person's word.**" in markdown(report)
    assert "Since then v1 serves: promoted by ops." in markdown(report)


def test_nothing_is_claimed_of_an_experiment_that_has_not_ended() -> None:
    running = STATE | {"phase": "running", "outcome": None, "winner": None, "not_ready": ["age 3 s of 10 s"]}

    report = facts(running, SPEC, HISTORY[:1], [])

    assert (report["why"]["claim"], report["ended_at"]) == (None, None)
    assert "It waits for: age 3 s of 10 s" in markdown(report)


def test_end_without_a_winner_is_told_as_undecided() -> None:
    undecided = STATE | {"outcome": "undecided", "winner": None}
    stopped = [HISTORY[0], {**HISTORY[2], "before": "running", "why": "stopped by ops"}]

    report = facts(undecided, SPEC, stopped, [])

    assert report["why"]["claim"] is None
    assert "Undecided" in markdown(report)
    assert "stopped by ops." in markdown(report)


def test_report_tells_of_copies_where_there_are_any() -> None:
    shadow = {"arm": "v2", **ShadowSums(mirrored=1234, errors={"backend": 3}).view()}

    report = facts(STATE | {"shadow": [shadow]}, SPEC, HISTORY, [])

    assert report["shadow"] == [shadow]
    assert "| v2 | 1,234 | 0 | – | 3 | 0 | – | – | 0 |" in markdown(report)
    assert "Copies" not in markdown(facts(STATE, SPEC, HISTORY, []))


def test_words_of_others_are_no_markup() -> None:
    note = {**HISTORY[0], "why": "by <script>alert(1)</script> | x\n# y"}

    text = markdown(facts(STATE, SPEC, [note], []))

    assert "<script" not in text
    assert "\\| x # y" in text


def test_shares_are_drawn_as_svg_with_a_line_for_each_arm() -> None:
    blocks = [{"at": 100.0 + step, "decisions": {"a<b": 50 - step // 20, "c": 50 + step}} for step in range(500)]

    svg = shares_svg(["a<b", "c"], [*blocks, {"at": 700.0, "decisions": {"a<b": 0, "c": 0}}])

    root = ET.fromstring(svg)
    lines = root.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 2
    assert all(len((line.get("points") or "").split()) <= 200 for line in lines)
    assert "a&lt;b" in svg
    assert shares_svg(["a"], []) == ""


def test_of_more_arms_than_colours_the_smallest_are_one_line() -> None:
    names = [f"v{number}" for number in range(50)]
    decisions = {name: 1000 - 10 * place if place % 7 == 3 else 2 for place, name in enumerate(names)}
    blocks = [{"at": 60.0 * number, "decisions": decisions} for number in range(3)]

    svg = shares_svg(names, blocks)

    root = ET.fromstring(svg)
    texts = [one.text for one in root.findall("{http://www.w3.org/2000/svg}text")]
    assert texts[-8:] == ["v3", "v10", "v17", "v24", "v31", "v38", "v45", "43 others"]
    lines = root.findall("{http://www.w3.org/2000/svg}polyline")
    total = sum(decisions.values())
    assert lines[-1].attrib["points"].split()[0].endswith(f",{10 + (1 - 43 * 2 / total) * 170:.1f}")


@pytest.mark.parametrize(
    ("query", "accept", "kind"),
    [
        ("", "", "text/markdown"),
        ("", "text/markdown, application/json;q=0.1", "application/json"),
        ("", "application/json", "application/json"),
        ("?format=markdown", "application/json", "text/markdown"),
        ("?format=json", "", "application/json"),
        ("?format=svg", "", "image/svg+xml"),
    ],
)
def test_form_is_that_which_is_asked_for(query: str, accept: str, kind: str) -> None:
    status, body, headers = Reporting().ask(PATH + query, Accept=accept or "*/*")

    assert (status, headers["content-type"].partition(";")[0]) == (200, kind)
    if kind == "application/json":
        assert body["name"] == "digits"
        assert {one["what"] for one in body["history"]} >= {"phase", "v1"}


def test_form_that_there_is_none_of_is_refused() -> None:
    status, body, _ = Reporting().ask(f"{PATH}?format=pdf")

    assert (status, body["detail"]) == (422, "format must be one of markdown, json, svg; got 'pdf'")


def test_experiment_that_does_not_exist_has_no_report() -> None:
    assert Reporting().ask(f"{EXPERIMENTS}/nobody/report")[0] == 404

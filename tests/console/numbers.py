"""Every number on a page, and what the gateway says it is: which the page marks, and which stand in its text unmarked."""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from playwright.async_api import Page

from tests.console.story import Story

# The page asks once a second; an answer on a busy machine takes some tenths.
LATELY_S: Final = 1.3
DAY_S: Final = 86_400.0
UNITS_S: Final = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "days": DAY_S}
PARTS: Final = ("busy", "idle", "egress")
# What the page itself says with digits in it.
OWN_WORDS: Final = re.compile(r"95 %:?|99 % within|stop\.max_duration")
# A number that stands alone: not the 2 of v2, and no part of a word or an address.
NUMBER: Final = re.compile(r"(?<![\w.:/-])[−+]?[$]?\d[\d,.]*+(?![\w:/-])")

MARKED: Final = """() => [...document.querySelectorAll('data.num')].map((one) => [one.dataset.of ?? '', one.value, one.textContent])"""
# Charts have the numbers of the tables below them, names and times are none; what an element says is read as one text.
UNMARKED: Final = """() => {
  const copy = document.querySelector('main').cloneNode(true);
  copy.querySelectorAll('data.num, time, code, svg, h1, h2, th, [aria-hidden=true]').forEach((one) => one.replaceWith('…'));
  copy.querySelectorAll('p, li, td, dd, dt, h3, small').forEach((one) => { one.prepend('\\n'); one.append('\\n'); });
  return copy.textContent.split('\\n').map((line) => line.replace(/\\s+/g, ' ').trim()).filter(Boolean);
}"""


@dataclass(slots=True)
class Known:
    """What the gateway has answered of an experiment lately. Mutable: it grows with each look."""

    name: str
    states: dict[str, tuple[float, Any]] = field(default_factory=dict)
    bills: dict[str, tuple[float, Any]] = field(default_factory=dict)
    beside: dict[str, Any] = field(default_factory=dict)
    maximum_s: float = 0.0

    async def look(self, story: Story) -> None:
        """Ask the gateway for all of it."""
        if not self.maximum_s:
            stop = (await story.get(f"experiments/{self.name}"))["spec"]["stop"]
            days = re.fullmatch(r"(\d+)d", stop["max_duration"])
            assert days, stop
            self.maximum_s = float(days[1]) * DAY_S
        state, bills = await story.state(self.name), await story.get("costs")
        history = (await story.get(f"experiments/{self.name}/history"))["history"]
        self.beside = {
            "report": await story.get(f"experiments/{self.name}/report?format=json"),
            "history": list(reversed(history)),
        }
        now = time.monotonic()
        self.states[str(state["snapshot_version"])] = (now, state)
        self.bills[json.dumps(bills)] = (now, bills)

    def documents(self) -> list[Any]:
        """Return all that the page may show now: what was answered within the last second, and what follows from it."""
        states, bills = (
            [one for at, one in kept.values() if time.monotonic() - at <= LATELY_S]
            for kept in (self.states, self.bills)
        )
        return [self._document(state, bill) for state in states for bill in bills]

    def _document(self, state: Mapping[str, Any], bills: Mapping[str, Any]) -> Any:
        total = sum(arm["decisions"] for arm in state["arms"]) or 1
        money, per_day, left = state["money"], state["requests_per_day"], state["sprint"]["requests"]
        return {
            **state,
            **self.beside,
            "arms": [arm | {"decisions_ratio": arm["decisions"] / total} for arm in state["arms"]],
            "money": money | {"difference_ratio": ratio(money)},
            "expected": {
                "end_s": left / per_day * DAY_S if per_day and left is not None else None,
                "latest_s": self.maximum_s - state["age_s"],
            },
            "costs": {arm["name"]: bill(self.name, arm, bills) for arm in state["arms"]},
        }


def ratio(money: Mapping[str, Any]) -> float | None:
    """Return the difference as a share of what control alone would have earned."""
    alone, difference = money["always_control_usd"], money["difference_usd"]
    return None if not alone or alone < 0 or difference is None else difference / alone


def bill(experiment: str, arm: Mapping[str, Any], bills: Mapping[str, Any]) -> dict[str, Any]:
    """Return an arm's bill, and what it comes to for each of the epoch's predictions, in its parts."""
    found = [one for one in bills["versions"] if (one["experiment"], one["arm"]) == (experiment, arm["name"])]
    if not found:
        return {}
    (own,) = found
    paid = own["busy_usd"] + own["egress_usd"]
    each = arm["cost_usd"] / arm["rows"] / paid
    parts = {f"{part}_per_prediction": own[f"{part}_usd"] * each for part in PARTS}
    return {**own, **parts, "per_prediction": sum(parts.values())}


def valued(document: Any, place: str) -> Any:
    """Return what is at a place of an answer: `arms.v2.weight` is the weight of the arm named v2; of a list its length."""
    for part in place.split("."):
        if isinstance(document, list):
            document = document[int(part)] if part.isdecimal() else named(document, part)
        else:
            document = document[part]
    return len(document) if isinstance(document, list) else document


def named(rows: list[Any], name: str) -> Any:
    """Return the row of a name."""
    (found,) = [one for one in rows if name in (one.get("name"), one.get("arm"))]
    return found


def said(text: str) -> tuple[float, float]:
    """Return the number that a text says, a duration in seconds, and by how much rounding may have moved it."""
    found = re.search(r"([−+-]?)\$?(\d[\d,]*)(?:\.(\d+))?", text)
    assert found, text
    unit = re.search(r"\s(ms|s|min|h|days)$", text)
    scale = UNITS_S[unit[1]] if unit else 1.0
    number = float(f"{found[2].replace(',', '')}.{found[3] or 0}") * scale
    # Whole numbers may be rounded up.
    moved = (0.501 * 10.0 ** -len(found[3]) if found[3] else 1.0) * scale
    return (-number if found[1] in ("−", "-") else number), moved


def differences(numbers: list[list[str]], document: Any) -> list[str]:
    """Return what the page shows otherwise than the answer has it."""
    different = []
    for of, value, text in numbers:
        try:
            known = valued(document, of)
        except (KeyError, ValueError, IndexError, TypeError) as error:
            different.append(f"{of!r}: shown {text!r}, is nowhere ({error!r})")
            continue
        if (value == "") != (known is None) or (value and float(value) != pytest.approx(known, rel=1e-9)):
            different.append(f"{of}: shown {value}, is {known}")
        elif known is None:
            assert text == "–", (of, text)
        elif not text.startswith(("<", ">", "less", "more", "±")):
            # As it is, in per cent, in millionths; in milliseconds by its unit.
            number, moved = said(text)
            sizes = [known * scale for scale in (1, 100, 1e6, 1e-3)]
            assert any(abs(number - size) <= moved for size in sizes), (of, text, known)
    return different


async def marked(page: Page) -> list[list[str]]:
    """Return the numbers that the page marks: where they are in the answers, their values, and how they are written."""
    numbers: list[list[str]] = await page.evaluate(MARKED)
    return numbers


async def unmarked(page: Page, documents: Any) -> list[str]:
    """Return what the page says with a number in it that is neither marked nor in the gateway's own words."""
    words = sorted(words_of(documents), key=len, reverse=True)
    found = []
    for line in await page.evaluate(UNMARKED):
        rest = line.lower()
        for one in words:
            rest = rest.replace(one, " ")
        if NUMBER.search(OWN_WORDS.sub(" ", rest)):
            found.append(line)
    return found


def words_of(document: Any) -> set[str]:
    """Return all texts of an answer that have digits in them, as they may stand in a sentence."""
    if isinstance(document, dict):
        return set[str]().union(*(words_of(one) for one in (*document, *document.values())))
    if isinstance(document, list):
        return set[str]().union(*(words_of(one) for one in document))
    return (
        {re.sub(r"\s+", " ", document).strip().lower()}
        if isinstance(document, str) and re.search(r"\d", document)
        else set()
    )

"""Numbers, durations and ticks as the page writes them: by its own modules, in Chromium."""

from typing import Final

import pytest
from playwright.async_api import Page

from tests.console.browser import Visit

pytestmark = pytest.mark.asyncio(loop_scope="session")

HOUR: Final = 3600
DAY: Final = 86_400
WRITTEN: Final[list[tuple[str, float | str, str | float]]] = [
    ("count", 1234567, "1,234,567"),
    ("digits", 0, "0"),
    ("digits", 0.97561, "0.9756"),
    ("digits", 12345.6, "12,346"),
    ("digits", -0.5, "−0.5000"),
    ("brief", 96.0, "96"),
    ("brief", 0.25, "0.25"),
    ("brief", 1000, "1,000"),
    ("change", 0.0271, "+2.7 %"),
    ("change", 0.008, "+0.8 %"),
    ("change", -0.0004, "±0 %"),
    ("change", -0.5, "−50 %"),
    ("usd", 0, "$0"),
    ("usd", 0.02, "$0.02"),
    ("usd", 0.526, "$0.526"),
    ("usd", 1234.5, "$1,234.50"),
    ("usd", 20.1, "$20.10"),
    ("usd", -0.0000158, "−$0.0000158"),
    ("usdPerMillion", 8.4e-7, "$0.840"),
    ("share", 0, "0 %"),
    ("share", 1, "100 %"),
    ("share", 0.1234, "12.3 %"),
    ("share", 0.0001, "<0.1 %"),
    ("share", 0.99999, ">99.9 %"),
    ("chance", 1, ">99.9 %"),
    ("chance", 0, "<0.1 %"),
    ("duration", 0.25, "250 ms"),
    ("duration", 90, "90 s"),
    ("duration", 600, "10 min"),
    ("duration", 16 * HOUR, "16 h"),
    ("duration", 13.9 * DAY, "14 days"),
    ("seconds", "14d", 14 * DAY),
    ("seconds", "1h30m", 1.5 * HOUR),
    ("seconds", "500ms", 0.5),
    ("seconds", "30", 30),
]


async def test_numbers_are_written_as_people_read_them(modules: Page) -> None:
    script = """async (rows) => {
      const units = await import('/console/units.js');
      return rows.map(([name, value]) => units[name](value));
    }"""

    written = await modules.evaluate(script, [list(row[:2]) for row in WRITTEN])

    # A number and its unit are never parted: the space between them is one that holds.
    assert [one.replace("\u00a0", " ") if isinstance(one, str) else one for one in written] == [
        row[2] for row in WRITTEN
    ]
    assert not [one for one in written if isinstance(one, str) and " " in one]


async def test_ticks_are_round_and_within(modules: Page) -> None:
    script = """async (rows) => {
      const { numberTicks, timeTicks } = await import('/console/plot.js');
      return rows.map(([from, to, isTime]) => isTime ? timeTicks(from, to, 8) : numberTicks(from, to, 8, String));
    }"""
    midnight = 1_700_006_400
    spans = [(midnight + 3, midnight + 15, True), (midnight, midnight + 14 * DAY, True), (0.834, 0.957, False)]

    seconds, days, money = await modules.evaluate(script, [list(span) for span in spans])

    assert [text for _, text in seconds][:2] == ["00:00:04", "00:00:06"]
    assert [text for _, text in days] == ["11-15", "11-17", "11-19", "11-21", "11-23", "11-25", "11-27", "11-29"]
    assert [round(value, 6) for value, _ in money] == [0.84, 0.86, 0.88, 0.9, 0.92, 0.94]


async def test_bands_are_shares_and_leave_out_blocks_without_requests(modules: Page) -> None:
    script = """async () => {
      const { stacked } = await import('/console/views/shares_chart.js');
      const blocks = [{ at: 0, decisions: { a: 1, b: 3 } }, { at: 10, decisions: { a: 0, b: 0 } }, { at: 20, decisions: { b: 5 } }];
      return stacked(['a', 'b'], blocks, 10, [1, 0], 50);
    }"""

    assert await modules.evaluate(script) == {"times": [0, 20, 30, 50], "sums": [[0.25, 0, 1, 1], [1, 1, 1, 1]]}


async def test_request_to_another_port_would_be_noticed(modules: Page) -> None:
    visit = Visit(modules, "http://127.0.0.1:8502")
    visit.requests += ["http://127.0.0.1:8502/admin/v1/events", "http://127.0.0.1:8501/v1/models/digits:predict"]

    assert visit.strangers == ["http://127.0.0.1:8501/v1/models/digits:predict"]

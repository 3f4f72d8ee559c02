"""What is drawn of an experiment is drawn to scale."""

import pytest

from router.experiments_shown import print_picture, print_shadows
from router.shadow.sums import ShadowSums
from serving.comparison import Difference


def drawn(capsys: pytest.CaptureFixture[str], *arms: dict[str, object]) -> list[str]:
    print_picture(arms)
    return capsys.readouterr().out.splitlines()


def arm(name: str, weight: float | None, *values: float | None) -> dict[str, object]:
    keys = ("value_usd_low", "value_usd", "value_usd_high")
    return {"name": name, "weight": weight, **dict(zip(keys, values, strict=False))}


def _bar_and_peak(row: str) -> tuple[int, float]:
    """Return how long the bar before the percentage is, and where the highest cells after it are."""
    share, _, value = row.partition("%")
    peaks = [place for place, char in enumerate(value) if char == "█"]
    return share.count("█"), sum(peaks) / len(peaks)


def test_shares_and_posteriors_are_drawn_to_scale(capsys: pytest.CaptureFixture[str]) -> None:
    head, first, second, axis, _ = drawn(capsys, arm("v1", 0.25, 0.0, 2e-7, 5e-7), arm("v2", 0.75, 5e-7, 6e-7, 1e-6))

    assert head.split() == ["name", "share", "value", "P(best)"]
    bars, peaks = zip(*(_bar_and_peak(row) for row in (first, second)), strict=True)
    assert bars == (5, 15)
    assert ("25.0%" in first, "75.0%" in second) == (True, True)
    # An axis of 36 cells from -$0.08 to $1.08: the second peak is 0.4 of a dollar further right.
    assert peaks[1] - peaks[0] == pytest.approx(36 * 0.4 / 1.16, abs=1)
    assert axis == "value: where it probably is, from $-0.08 to $1.08 per million predictions"


def test_what_is_not_known_is_not_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    lines = drawn(capsys, arm("v1", None), arm("v2", 1.0, None, None, None))

    assert [line.split() for line in lines[1:]] == [["v1", "-", "-"], ["v2", "█" * 20, "100.0%", "-"]]


def test_interval_of_one_point_needs_no_axis(capsys: pytest.CaptureFixture[str]) -> None:
    lines = drawn(capsys, arm("v1", 1.0, 1e-6, 1e-6, 1e-6))

    assert "where it probably is" not in "".join(lines)


def test_copies_are_shown_with_what_became_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    sums = ShadowSums(requests=5, mirrored=4)
    sums.compare({"x": Difference(0.5)}, 0.01, 0.02)
    sums.failed("deadline")
    sums.drop("busy")
    print_shadows([{"arm": "v3", "share": 0.1, "waits_for": "v3 is warming", **sums.view()}])

    head, row, waits = capsys.readouterr().out.splitlines()
    names = head.replace("answered ms p50", "answered_ms").replace("ms p50", "ms").split()
    shown = dict(zip(names, row.split(), strict=True))
    assert (shown["shadow"], shown["mirrored"], shown["compared"], shown["agreement"]) == ("v3", "4", "1", "0.5")
    assert (shown["errors"], shown["dropped"]) == ("1", "1")
    assert float(shown["ms"]) == pytest.approx(20.0, rel=0.1)
    assert float(shown["answered_ms"]) == pytest.approx(10.0, rel=0.1)
    assert waits == "v3 gets no copies: v3 is warming"


def test_nothing_is_said_of_copies_where_there_are_none(capsys: pytest.CaptureFixture[str]) -> None:
    print_shadows([])

    assert capsys.readouterr().out == ""

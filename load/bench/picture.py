"""Draws what a saturated request costs, as docs/explanation/speed.svg. `python -P -m load.bench.picture` draws the kept result."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure

RESULTS: Final = Path(__file__).parents[1] / "results" / "bench.json"
PICTURE: Final = Path(__file__).parents[2] / "docs" / "explanation" / "speed.svg"

# Okabe and Ito's blue for ours, as in load/figures.
_OURS, _OTHERS, _INK, _QUIET = "#0072B2", "#AAAAAA", "#222222", "#666666"
_WIDTH_INCHES, _BAR_INCHES, _REST_INCHES = 8.0, 0.36, 1.3


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw a bar for each system under saturation: the median of its rounds, with the lowest and the highest."""
    shown = [row for row in rows if row["load"] == "sat"]
    # As in load/figures: text stays text, and equal rows give equal files.
    with mpl.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": "turpin", "font.family": "sans-serif", "font.size": 10}
    ):
        figure = Figure(
            facecolor="white", figsize=(_WIDTH_INCHES, _REST_INCHES + _BAR_INCHES * len(shown)), layout="constrained"
        )
        axes = figure.subplots()
        names, values = [row["system"] for row in shown], [row["cpu_us"] for row in shown]
        spread = [
            [row["cpu_us"] - row["cpu_us_spread"][0] for row in shown],
            [row["cpu_us_spread"][1] - row["cpu_us"] for row in shown],
        ]
        colours = [_OURS if name.startswith("turpin") else _OTHERS for name in names]
        axes.barh(names, values, color=colours, height=0.7, xerr=spread, ecolor=_INK, capsize=2)
        for place, row in enumerate(shown):
            label = f"{row['cpu_us']:.0f} µs, {row['rps']:,.0f}/s"
            axes.annotate(
                label, (row["cpu_us_spread"][1], place), xytext=(6, 0), textcoords="offset points", va="center"
            )
        axes.invert_yaxis()
        axes.set_xlim(0, 1.3 * max(row["cpu_us_spread"][1] for row in shown))
        axes.set_xlabel("microseconds of processor time a request", color=_QUIET)
        axes.set_title("What a request costs: 64 in flight, one core", loc="left", weight="bold", color=_INK)
        axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


if __name__ == "__main__":
    draw(json.loads(RESULTS.read_text())["rows"], PICTURE)

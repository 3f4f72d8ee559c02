"""Draws a dashboard as Grafana would lay it out, from what its queries showed."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import FuncFormatter, Locator, LogLocator, MaxNLocator, MultipleLocator, NullFormatter

from load.dashboards.panel import COLUMNS, Dashboard, Panel
from load.dashboards.pictures.seen import Line, Seen
from load.dashboards.pictures.units import written

# Pixels: a page shows it half as wide, and the small print must still be read.
_WIDTH, _UNIT, _HEAD, _GAP, _DPI = 1600, 31, 84, 8, 100
_INK, _QUIET, _PAGE, _EDGE = "#1f2328", "#6b7280", "#f4f5f7", "#dddfe4"
# Okabe and Ito's for all kinds of colour vision, the two palest last.
COLOURS: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#7F7F7F", "#56B4E9", "#B8A800")
# Characters of a legend's line per column of the grid, at its size.
_LEGEND_CHARS: Final = 10.5
# What stands before and after a name in the legend, in characters.
_LEGEND_ROOM: Final = 5
_LEGEND_ROWS: Final = 2


class Colours:
    """A colour for each name, the same in all panels, but never two alike in one. Mutable: names get theirs as they come."""

    def __init__(self) -> None:
        self._by_name: dict[str, str] = {}

    def of(self, names: Sequence[str]) -> dict[str, str]:
        """Return the colours of a panel's names."""
        found: dict[str, str] = {}
        unique = dict.fromkeys(names)
        # Those that have one first, so that it is not given away.
        for name in sorted(unique, key=lambda name: name not in self._by_name):
            kept = self._by_name.get(name)
            if kept is None or kept in found.values():
                kept = next((colour for colour in COLOURS if colour not in found.values()), COLOURS[0])
            self._by_name.setdefault(name, kept)
            found[name] = kept
        return found


def draw(dashboard: Dashboard, seen: Seen, path: Path) -> None:
    """Draw it as PNG."""
    height = _HEAD + dashboard.rows * _UNIT + _GAP
    places = [panel["gridPos"] for panel in dashboard.to_json()["panels"]]
    with mpl.rc_context({"font.family": "sans-serif", "font.size": 9, "axes.linewidth": 0.8}):
        figure = Figure(figsize=(_WIDTH / _DPI, height / _DPI), dpi=_DPI, facecolor=_PAGE)
        figure.text(16 / _WIDTH, 1 - 34 / height, dashboard.title, fontsize=17, weight="bold", color=_INK)
        figure.text(16 / _WIDTH, 1 - 62 / height, f"{dashboard.question}  {seen.story}", fontsize=11, color=_QUIET)
        colours = Colours()
        for panel, queries, place in zip(dashboard.panels, seen.panels, places, strict=True):
            x, y = place["x"] * _WIDTH / COLUMNS, _HEAD + place["y"] * _UNIT
            width, tall = place["w"] * _WIDTH / COLUMNS, place["h"] * _UNIT
            box = (x + _GAP / 2, height - y - tall + _GAP / 2, width - _GAP, tall - _GAP)
            lines = [line for found in queries for line in found]
            _panel(figure, height, box, panel, lines, seen.seconds, colours.of([line.name for line in lines]))
        figure.savefig(path)


def _panel(
    figure: Figure,
    height: float,
    box: tuple[float, float, float, float],
    panel: Panel,
    lines: Sequence[Line],
    seconds: float,
    colours: Mapping[str, str],
) -> None:
    """Draw one panel within its box, in pixels from below."""
    x, y, width, tall = box

    def part(left: float, bottom: float, right: float, top: float) -> tuple[float, float, float, float]:
        inner = (x + left, y + bottom, width - left - right, tall - bottom - top)
        return (inner[0] / _WIDTH, inner[1] / height, inner[2] / _WIDTH, inner[3] / height)

    card = FancyBboxPatch(
        (x / _WIDTH, y / height),
        width / _WIDTH,
        tall / height,
        boxstyle="square,pad=0",
        facecolor="white",
        edgecolor=_EDGE,
        linewidth=0.8,
        transform=figure.transFigure,
        zorder=-1,
    )
    figure.add_artist(card)
    figure.text((x + 10) / _WIDTH, (y + tall - 19) / height, panel.title, fontsize=10, weight="bold", color=_INK)
    if panel.kind == "stat":
        _stat(figure.add_axes(part(0, 0, 0, 26)), panel, lines, seconds, colours)
        return
    legend = list(legend_rows([line.name for line in lines], panel.width))
    axes = figure.add_axes(part(62, 32 + 17 * len(legend), 24, 32))
    _series(axes, panel, lines, seconds, colours)
    for row, names in enumerate(legend):
        _legend(figure, names, colours, x + 12, (y + 10 + 17 * (len(legend) - 1 - row)), height)


def _stat(axes: Axes, panel: Panel, lines: Sequence[Line], seconds: float, colours: Mapping[str, str]) -> None:
    """Write the last value large, over its course; or the names of what there is at the end."""
    axes.set_axis_off()
    if panel.names:
        last = max((line.points[-1][0] for line in lines), default=0.0)
        words = "   ".join(line.name for line in lines if line.points[-1][0] >= last - 1.0)
    else:
        words = "   ".join(written(line.points[-1][1], panel.unit) for line in lines[:3])
        for line in lines[:1]:
            at, values = zip(*line.points, strict=True)
            axes.fill_between(at, values, color=colours[line.name], alpha=0.16, linewidth=0)
            axes.plot(at, values, color=colours[line.name], linewidth=1.2)
            axes.set_xlim(0, seconds)
            top = max(*values, 1e-12)
            # The course below, the number above it.
            axes.set_ylim(min(0.0, *values), 2.6 * top)
    axes.text(
        0.5,
        0.62 if not panel.names else 0.5,
        words or "no data",
        transform=axes.transAxes,
        ha="center",
        va="center",
        fontsize=19 if len(words) < 14 else 15,
        color=_INK if words else _QUIET,
    )


def _series(axes: Axes, panel: Panel, lines: Sequence[Line], seconds: float, colours: Mapping[str, str]) -> None:
    if panel.stack == "none":
        for line in lines:
            at, values = zip(*line.points, strict=True)
            axes.plot(at, values, color=colours[line.name], linewidth=1.5)
    elif lines:
        times, rows = stacked(lines, is_share=panel.stack == "percent")
        names = [colours[line.name] for line in lines]
        axes.stackplot(times, rows, colors=names, alpha=0.45, linewidth=0)
        for row, colour in zip(np.cumsum(rows, axis=0), names, strict=True):
            axes.plot(times, row, color=colour, linewidth=1.2)
    unit = "percentunit" if panel.stack == "percent" else panel.unit
    axes.set_xlim(0, seconds)
    if panel.log:
        axes.set_yscale("log")
        shown = [value for line in lines for _, value in line.points if value > 0.0]
        # Over less than two decades the powers of ten alone would be one mark.
        is_narrow = bool(shown) and max(shown) < 100.0 * min(shown)
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if is_narrow else (1.0,), numticks=6))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.yaxis.set_major_locator(_ticks(lines, unit))
        if not panel.signed:
            axes.set_ylim(bottom=0)
        if panel.maximum is not None or panel.stack == "percent":
            axes.set_ylim(top=panel.maximum or 1.0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: written(value, unit)))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f} s"))
    axes.grid(color="#eceef1", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_EDGE)
    axes.tick_params(which="both", colors=_QUIET, length=0, labelsize=8.5)
    axes.tick_params(axis="x", pad=6)


def _ticks(lines: Sequence[Line], unit: str) -> Locator:
    """Return where the axis has its marks: of bytes at powers of two, else where Matplotlib has them."""
    most = max((value for line in lines for _, value in line.points), default=0.0)
    if unit != "bytes" or most <= 0.0:
        return MaxNLocator(4)
    return MultipleLocator(2.0 ** math.ceil(math.log2(most / 4)))


def stacked(lines: Sequence[Line], *, is_share: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the times of all lines, and a row of values for each; where one has none it counts as 0."""
    at = sorted({moment for line in lines for moment, _ in line.points})
    rows = np.zeros((len(lines), len(at)))
    place = {moment: number for number, moment in enumerate(at)}
    for number, line in enumerate(lines):
        for moment, value in line.points:
            rows[number, place[moment]] = value
    if is_share:
        total = rows.sum(axis=0)
        rows = np.divide(rows, total, out=np.zeros_like(rows), where=total > 0)
    return np.array(at), rows


def legend_rows(names: Sequence[str], columns: int) -> Iterator[list[str]]:
    """Yield the names that fit into each row; what does not fit into two is counted."""
    unique = list(dict.fromkeys(names))
    most = columns * _LEGEND_CHARS
    rows: list[list[str]] = [[]]
    for name in unique:
        if rows[-1] and sum(len(one) + _LEGEND_ROOM for one in [*rows[-1], name]) > most:
            rows.append([])
        rows[-1].append(name)
    shown = rows[:_LEGEND_ROWS]
    left = len(unique) - sum(len(row) for row in shown)
    yield from shown[:-1]
    yield [*shown[-1], *([f"and {left} more"] if left else [])]


def _legend(
    figure: Figure, names: Sequence[str], colours: Mapping[str, str], x: float, y: float, height: float
) -> None:
    for name in names:
        is_more = name.startswith("and ")
        if not is_more:
            figure.add_artist(
                FancyBboxPatch(
                    (x / _WIDTH, (y + 3) / height),
                    12 / _WIDTH,
                    3 / height,
                    boxstyle="square,pad=0",
                    facecolor=colours[name],
                    edgecolor="none",
                    transform=figure.transFigure,
                )
            )
        figure.text((x + (0 if is_more else 17)) / _WIDTH, y / height, name, fontsize=8.5, color=_QUIET)
        x += 17 + 6.1 * (len(name) + 2)

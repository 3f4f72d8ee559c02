"""Draws the figures of docs/explanation/learning.md as SVG."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from load.figures.worlds import Curves, Shares, Stops

# Okabe and Ito's colours for all kinds of colour vision.
_COLOURS: Final = {
    "thompson": "#0072B2",
    "epsilon_greedy": "#E69F00",
    "exp3": "#CC79A7",
    "ucb1": "#009E73",
    "uniform": "#777777",
}
_NAMES: Final = {
    "thompson": "Turpin",
    "epsilon_greedy": "ε-greedy, 10 %",
    "exp3": "Exp3",
    "ucb1": "UCB1",
    "uniform": "equal split",
}
_RIGHT, _WRONG = "#0072B2", "#D55E00"
_INK, _QUIET = "#222222", "#666666"
_THOUSAND: Final = 1e3


def draw_regret(curves: Mapping[str, Curves], path: Path) -> None:
    """Draw what each policy lost over time: the mean of its runs, and a band of two standard errors."""
    with _page(path, "Rewards lost while learning", "3 arms: 5 %, 5 %, 6 %; without stopping") as axes:
        for policy, curve in curves.items():
            mean = curve.lost.mean(axis=0)
            error = 2 * curve.lost.std(axis=0) / np.sqrt(len(curve.lost))
            at = curve.at / _THOUSAND
            axes.plot(at, mean, color=_COLOURS[policy], linewidth=2.5 if policy == "thompson" else 1.6)
            axes.fill_between(
                at, np.maximum(mean - error, 0), mean + error, color=_COLOURS[policy], alpha=0.18, linewidth=0
            )
        _labels(
            axes, [(_NAMES[name], float(one.lost.mean(axis=0)[-1]), _COLOURS[name]) for name, one in curves.items()]
        )
        axes.set_ylabel("rewards lost against the best arm")
        axes.set_ylim(bottom=0)
        axes.set_xlim(0, 100)


def draw_rhythm(stops: Mapping[str, Stops], path: Path) -> None:
    """Draw, for each rule, the share of runs that have stopped by a time, on the right arm and on the wrong one."""
    subtitle = "2 arms, 5 % apart; rates swing by ±50 % over 100,000 requests"
    with _page(path, "Stopping under a daily rhythm", subtitle) as axes:
        ends = []
        for rule, (style, width) in {"Turpin": ("-", 2.5), "naive": ("--", 1.6)}.items():
            found = stops[rule]
            for what, times, colour in (("right", found.right, _RIGHT), ("wrong", found.wrong, _WRONG)):
                share = np.arange(times.size + 1) / found.runs
                axes.step(
                    np.append(np.append(0, times), 400e3) / _THOUSAND,
                    np.append(share, share[-1]),
                    where="post",
                    color=colour,
                    linestyle=style,
                    linewidth=width,
                )
                rule_name = "Turpin" if rule == "Turpin" else "“95 % sure”"
                ends.append((f"{rule_name}, {what} arm", float(share[-1]), colour))
        _labels(axes, ends)
        axes.set_ylabel("share of runs that have stopped")
        axes.set_ylim(-0.015, 1.015)
        axes.set_xlim(0, 400)


def draw_price(shares: Shares, path: Path) -> None:
    """Draw the share of an arm whose competitor becomes dearer: the mean of the runs, and nine of ten of them."""
    subtitle = "2 arms that earn the same; one becomes dearer at the dotted line"
    with _page(path, "A price that changes", subtitle, width=0.87) as axes:
        at = shares.at / _THOUSAND
        low, high = np.quantile(shares.share, (0.05, 0.95), axis=0)
        axes.fill_between(at, low, high, step="post", color=_RIGHT, alpha=0.18, linewidth=0)
        axes.step(at, shares.share.mean(axis=0), where="post", color=_RIGHT, linewidth=2.5)
        axes.axvline(shares.changed_at / _THOUSAND, color=_QUIET, linestyle=":", linewidth=1.2)
        axes.set_ylabel("share of the arm that is cheaper then")
        axes.set_ylim(-0.015, 1.015)
        axes.set_xlim(0, 100)


@contextmanager
def _page(path: Path, title: str, subtitle: str, width: float = 0.66) -> Iterator[Axes]:
    # Text stays text, so that it can be read and searched; no date and no random names, so that equal runs give equal
    # files.
    with mpl.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": "turpin", "font.family": "sans-serif", "font.size": 11}
    ):
        figure = Figure(figsize=(8, 4.2), facecolor="white")
        axes = figure.add_axes((0.09, 0.13, width, 0.68))
        figure.text(0.09, 0.925, title, fontsize=14, weight="bold", color=_INK)
        figure.text(0.09, 0.86, subtitle, fontsize=10.5, color=_QUIET)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.set_xlabel("thousand requests")
        yield axes
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _labels(axes: Axes, ends: list[tuple[str, float, str]]) -> None:
    """Write each line's name at its end, moved apart where two would touch."""
    low, high = (min(end for _, end, _ in ends), max(end for _, end, _ in ends))
    apart = 0.065 * max(high - low, high, 1e-9)
    place = -np.inf
    for name, end, colour in sorted(ends, key=lambda one: one[1]):
        place = max(end, place + apart)
        axes.annotate(
            name,
            (1.02, place),
            xycoords=("axes fraction", "data"),
            color=colour,
            va="center",
            annotation_clip=False,
        )

"""The shares over time as a picture: SVG for pages, PNG for everything else."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from load.demo import money, report
from load.demo.configuration import arm_title
from load.demo.plan import ARMS, VALUE_USD
from load.demo.result import Run
from load.demo.watch import MILLION

# Okabe and Ito's colours for all kinds of colour vision: blue, orange, bluish green. The winner is blue.
_WINNER = "#0072B2"
_OTHERS = ("#E69F00", "#9A9A9A", "#009E73")
_INK = "#222222"
_QUIET = "#666666"
# What the phases mean to someone who sees them for the first time.
_PHASES = {
    "confirming": "winner found,\nlosers drained",
    "draining": "losers drained",
    "concluded": "losers unloaded",
}


def draw(run: Run, paths: Sequence[Path]) -> None:
    """Draw the run into every path; the ending of its name says the format."""
    # Text stays text in the SVG: it can be read, searched and scaled; no date, so that equal runs give equal files.
    with mpl.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": "turpin", "font.family": "sans-serif", "font.size": 11}
    ):
        figure = Figure(figsize=(10, 5.2), dpi=150, facecolor="white")
        axes = figure.add_axes((0.065, 0.12, 0.655, 0.66))
        colours = _colours(run)
        _areas(axes, run, colours)
        _phases(axes, run)
        _arms(figure, run, colours)
        figure.text(0.065, 0.945, report.finding(run).split(";")[0] + ".", fontsize=15, weight="bold", color=_INK)
        figure.text(0.065, 0.89, _subtitle(run), fontsize=10.5, color=_QUIET)
        for path in paths:
            figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _colours(run: Run) -> dict[str, str]:
    others = iter(_OTHERS)
    return {arm: _WINNER if arm == run.winner else next(others) for arm in ARMS}


def _subtitle(run: Run) -> str:
    arms = run.arms()
    earned, equal = money.earned_usd(arms, VALUE_USD), money.equal_split_usd(arms, VALUE_USD)
    gain = f", {earned / equal - 1:+.1%} against an equal split" if equal > 0 else ""
    return f"Share of {run.books.answers:,} predictions per second of traffic{gain}; {run.books.failed_total} failed"


def _areas(axes: Axes, run: Run, colours: Mapping[str, str]) -> None:
    series, step_s = report.shares_over_time(run.books, steps_max=10**6)
    if not series:
        return
    times = [step * step_s for step in range(len(series[ARMS[0]]))]
    # The winner lies at the bottom, where its growth is read off the axis.
    order = sorted(ARMS, key=lambda arm: arm != run.winner)
    axes.stackplot(
        times,
        [series[arm] for arm in order],
        colors=[colours[arm] for arm in order],
        linewidth=0.8,
        edgecolor="white",
    )
    axes.set_xlim(0, max(times[-1], 1))
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
    axes.set_xlabel("seconds of traffic", color=_QUIET)
    axes.tick_params(colors=_QUIET, length=3)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_QUIET)


def _phases(axes: Axes, run: Run) -> None:
    """Mark where the phase changed, above the areas."""
    before = run.timeline[0].phase if run.timeline else ""
    for moment in run.timeline:
        if moment.phase != before and moment.phase in _PHASES:
            axes.axvline(moment.at_s, color=_INK, linewidth=1, linestyle=(0, (3, 2)))
            axes.annotate(
                _PHASES[moment.phase],
                (moment.at_s, 1.02),
                xycoords=("data", "axes fraction"),
                fontsize=9.5,
                color=_INK,
                ha="center",
                va="bottom",
            )
        before = moment.phase


def _arms(figure: Figure, run: Run, colours: Mapping[str, str]) -> None:
    """Label the arms beside the areas, in their order and colours, with what decided between them."""
    order = sorted(run.arms(), key=lambda arm: arm.name == run.winner)
    for place, arm in enumerate(order):
        top = 0.74 - 0.2 * place
        figure.text(
            0.74, top, f"{arm.name}  {arm_title(arm.name)}", fontsize=12, weight="bold", color=colours[arm.name]
        )
        facts = (
            f"{arm.rate:.1%} right, costs ${arm.cost_usd * MILLION:.3f}\n"
            f"earns ${arm.prediction_value_usd(VALUE_USD) * MILLION:.3f} per million"
        )
        figure.text(0.74, top - 0.025, facts, fontsize=10, color=_INK, va="top", linespacing=1.4)

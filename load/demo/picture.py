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
_OTHERS = ("#E69F00", "#999999", "#009E73")
_INK = "#222222"
_QUIET = "#666666"
# What the phases mean to someone who sees them for the first time.
_PHASES = {"draining": "a winner is found", "concluded": "the losers are unloaded"}
# Where the labels beside the areas begin, as a part of the figure's width.
_LABELS = 0.775


def draw(run: Run, paths: Sequence[Path]) -> None:
    """Draw the run into every path; the ending of its name says the format."""
    # Text stays text in the SVG: it can be read, searched and scaled; no date, so that equal runs give equal files.
    with mpl.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": "turpin", "font.family": "sans-serif", "font.size": 11}
    ):
        figure = Figure(figsize=(10, 5.2), dpi=150, facecolor="white")
        axes = figure.add_axes((0.065, 0.12, 0.69, 0.66))
        colours = _colours(run)
        _areas(axes, run, colours)
        _phases(axes, run)
        _arms(figure, run, colours)
        figure.text(0.065, 0.945, report.finding(run).split(";")[0].rstrip("."), fontsize=15, weight="bold", color=_INK)
        figure.text(0.065, 0.89, _subtitle(run), fontsize=10.5, color=_QUIET)
        for path in paths:
            figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _colours(run: Run) -> dict[str, str]:
    others = iter(_OTHERS)
    return {arm: _WINNER if arm == run.winner else next(others) for arm in ARMS}


def _subtitle(run: Run) -> str:
    arms = run.arms()
    earned, equal = money.earned_usd(arms, VALUE_USD), money.equal_split_usd(arms, VALUE_USD)
    gain = f"earned {earned / equal - 1:+.1%} against an equal split; " if equal > 0 else ""
    return (
        f"Each second's share of the traffic, {run.books.answers:,} predictions in all; "
        f"{gain}{run.books.failed_total} failed"
    )


def _order(run: Run) -> list[str]:
    """Return the arms from the bottom up: the winner lies where its growth is read off the axis."""
    return sorted(ARMS, key=lambda arm: arm != run.winner)


def _areas(axes: Axes, run: Run, colours: Mapping[str, str]) -> None:
    series, step_s = report.shares_over_time(run.books, steps_max=10**6)
    if not series:
        return
    # A second's share stands at its middle; the first and the last are drawn out to the edges.
    seconds = len(series[ARMS[0]]) * step_s
    times = [0.0, *(second + 0.5 for second in range(0, seconds, step_s)), float(seconds)]
    order = _order(run)
    axes.stackplot(
        times,
        [[series[arm][0], *series[arm], series[arm][-1]] for arm in order],
        colors=[colours[arm] for arm in order],
        linewidth=0.8,
        edgecolor="white",
    )
    axes.set_xlim(0, seconds)
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
    axes.set_xlabel("seconds of traffic", color=_QUIET)
    axes.tick_params(colors=_QUIET, length=3)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_QUIET)


def _phases(axes: Axes, run: Run) -> None:
    """Mark where the phase changed, above the areas; each mark's words a line above the last one's."""
    before = run.timeline[0].phase if run.timeline else ""
    marks = 0
    for moment in run.timeline:
        if moment.phase != before and moment.phase in _PHASES:
            height = 1.02 + 0.055 * marks
            marks += 1
            axes.plot(
                [moment.at_s] * 2, [0, height + 0.03], color=_INK, linewidth=1, linestyle=(0, (3, 2)), clip_on=False
            )
            axes.annotate(
                _PHASES[moment.phase] + " ",
                (moment.at_s, height),
                xycoords=("data", "axes fraction"),
                fontsize=9.5,
                color=_INK,
                ha="right",
                va="bottom",
            )
        before = moment.phase


def _arms(figure: Figure, run: Run, colours: Mapping[str, str]) -> None:
    """Label the arms beside the areas, in their order and colours, with what decided between them."""
    arms = {arm.name: arm for arm in run.arms()}
    for place, name in enumerate(reversed(_order(run))):
        arm, top = arms[name], 0.72 - 0.22 * place
        figure.text(_LABELS, top, f"{name}  {arm_title(name)}", fontsize=12, weight="bold", color=colours[name])
        facts = (
            f"{arm.rate:.1%} right, costs ${arm.cost_usd * MILLION:.3f},\n"
            f"earns ${arm.prediction_value_usd(VALUE_USD) * MILLION:.3f} per million"
        )
        figure.text(_LABELS, top - 0.025, facts, fontsize=10, color=_INK, va="top", linespacing=1.4)

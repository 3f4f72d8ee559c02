"""The run in words and tables, on the terminal."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from load.demo import money
from load.demo.books import Books
from load.demo.configuration import arm_title
from load.demo.plan import ARMS, PRICE_USD_PER_HOUR, VALUE_USD
from load.demo.result import Run
from load.demo.watch import MILLION

# Eight heights of one character: shares drawn as bars.
_BARS = " ▁▂▃▄▅▆▇█"
# Fits 80 columns with its labels.
_COLUMNS = 60


def show(run: Run, console: Console) -> None:
    """Print the finding, the table of arms, the shares over time and the money."""
    console.print()
    console.print(finding(run), style="bold", highlight=False)
    console.print(_table(run))
    console.print("Share of the traffic over time", style="bold")
    for row in sparklines(run.books):
        console.print(row, highlight=False, soft_wrap=True)
    console.print()
    for sentence in sentences(run):
        console.print(sentence, highlight=False)


def finding(run: Run) -> str:
    """Say in one sentence what came out."""
    if run.winner is None:
        return f"No winner after {run.books.elapsed_s():.0f} s of traffic."
    at_s = concluded_at_s(run)
    gone = " and ".join(arm for arm in run.losers if arm in run.unloaded) or "nothing yet"
    when = "" if at_s is None else f": settled after {at_s:.0f} s and {requests_until(run.books, at_s):,} requests"
    return f"{run.winner}, the {arm_title(run.winner)}, earns most{when}; unloaded: {gone}."


def concluded_at_s(run: Run) -> float | None:
    """Return when the experiment was first seen concluded, in seconds of traffic."""
    return next((moment.at_s for moment in run.timeline if moment.phase == "concluded"), None)


def requests_until(books: Books, at_s: float) -> int:
    """Return the answers of the whole seconds before `at_s`."""
    return sum(counts.total() for second, counts in books.seconds.items() if second < at_s)


def _table(run: Run) -> Table:
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, show_edge=False)
    grid.add_column("arm", no_wrap=True)
    for heading in ("requests", "share", "right (95 %)", "costs*", "earns*"):
        grid.add_column(heading, justify="right", no_wrap=True)
    grid.add_column("now", no_wrap=True)
    shares = run.books.shares()
    for arm in run.arms():
        low, high = money.interval(arm.right, arm.requests)
        state = run.state.arm(arm.name) if run.state is not None else None
        grid.add_row(
            f"{arm.name} {arm_title(arm.name)}",
            f"{arm.requests:,}",
            f"{shares[arm.name]:.1%}",
            f"{arm.rate:.1%} ({low * 100:.1f}-{high * 100:.1f})",
            f"{arm.cost_usd * MILLION:.3f}",
            f"{arm.prediction_value_usd(VALUE_USD) * MILLION:.3f}",
            "unloaded" if arm.name in run.unloaded else (state.state if state is not None else "–"),
            style="bold" if arm.name == run.winner else "",
        )
    return grid


def sparklines(books: Books) -> list[str]:
    """Draw each arm's share over time, a line per arm, at most 60 steps."""
    series, step_s = shares_over_time(books, _COLUMNS)
    if not series:
        return ["(no traffic)"]
    lines = [
        f"  {arm} {''.join(_BARS[round(share * (len(_BARS) - 1))] for share in series[arm])}  {series[arm][-1]:.0%}"
        for arm in ARMS
    ]
    columns = len(series[ARMS[0]])
    return [*lines, f"     0 s{f'{columns * step_s} s':>{max(columns - 3, 6)}}"]


def shares_over_time(books: Books, steps_max: int) -> tuple[dict[str, list[float]], int]:
    """Return ({arm: shares per step}, seconds a step); steps without traffic repeat the one before."""
    if not books.seconds:
        return {}, 1
    seconds = max(books.seconds) + 1
    step_s = -(-seconds // steps_max)
    series: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for start in range(0, seconds, step_s):
        counts = [books.seconds[second] for second in range(start, start + step_s) if second in books.seconds]
        total = sum(count.total() for count in counts)
        for arm in ARMS:
            before: Sequence[float] = series[arm][-1:] or (0.0,)
            series[arm].append(sum(count[arm] for count in counts) / total if total else before[0])
    return series, step_s


def sentences(run: Run) -> list[str]:
    """Say what the run earned against an equal split, and what it cost."""
    arms = run.arms()
    earned, equal = money.earned_usd(arms, VALUE_USD), money.equal_split_usd(arms, VALUE_USD)
    answers = run.books.answers
    found = [
        f"* $ per million predictions, at the reference size of {run.state.reference_rows if run.state else 0} rows. "
        f"A million digits read right are worth ${VALUE_USD * MILLION:.2f}; the machine costs ${PRICE_USD_PER_HOUR}/h.",
    ]
    if answers and equal > 0:
        found.append(
            f"Earned over {answers:,} requests: ${earned:.6f}, ${earned / answers * MILLION:.3f} per million. "
            f"An equal split would have earned ${equal:.6f}: {earned / equal - 1:+.1%}."
        )
    if run.state is not None:
        billed = sum(arm.cost_usd for arm in run.state.arms)
        found.append(f"Billed for the model server's busy time: ${billed:.6f}.")
        found.append(
            f"Rewards: {run.rewards_sent:,} sent, {run.state.rewards:,} counted. "
            f"Requests: {run.books.requests:,} sent, {run.books.failed_total} failed."
        )
    return found

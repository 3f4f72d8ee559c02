"""What a person sees while the experiment runs: a live table on a terminal, plain lines elsewhere."""

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from load.demo.books import Books
from load.demo.configuration import arm_title
from load.demo.plan import ARMS
from load.demo.state import ArmState, State

# Money per prediction is shown per million of them: dollars with two digits, instead of seven zeros.
MILLION = 1e6
# A log file needs no more than this; phases and arms that change are always said.
_LINE_EVERY_S = 5.0


class Watch:
    """Shows states as they come. Mutable: what was last said, and the live table."""

    def __init__(self, console: Console, books: Books) -> None:
        self._console = console
        self._books = books
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._said: dict[str, str] = {}
        self._line_at_s = 0.0

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, state: State, servers: Mapping[int, str]) -> None:
        """Show the newest state; `servers`: the model server's own states by version."""
        if self._live is not None:
            self._live.update(table(state, self._books, servers), refresh=True)
            return
        self._say_changes(state)
        elapsed_s = self._books.elapsed_s()
        if elapsed_s >= self._line_at_s:
            self._line_at_s = elapsed_s + _LINE_EVERY_S
            self._console.print(line(state, self._books), highlight=False, soft_wrap=True)

    def _say_changes(self, state: State) -> None:
        for name, now, why in (
            ("phase", state.phase, state.reason),
            *((arm.name, arm.state, arm.reason) for arm in state.arms),
        ):
            before = self._said.get(name)
            if before is not None and before != now:
                self._console.print(
                    f"  {self._books.elapsed_s():5.1f} s  {name}: {before} → {now}" + (f" ({why})" if why else ""),
                    highlight=False,
                    soft_wrap=True,
                )
            self._said[name] = now


def line(state: State, books: Books) -> str:
    """Describe a state in one line."""
    shares = books.shares()
    parts = ", ".join(f"{arm} {shares.get(arm, 0.0):.0%}" for arm in ARMS)
    values = ", ".join(f"{arm.name} {_value(arm)}" for arm in state.arms)
    return (
        f"  {books.elapsed_s():5.1f} s  {state.phase}: {books.requests:,} requests, {books.failed_total} failed; "
        f"shares {parts}; $ per million: {values}; remaining {_remaining(state)}"
    )


def table(state: State, books: Books, servers: Mapping[int, str]) -> Group:
    """Lay out a state for the live view."""
    # Fits a terminal of 80 columns.
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, show_edge=False)
    grid.add_column("arm", no_wrap=True)
    for heading in ("requests", "share", "earns*", "P(best)"):
        grid.add_column(heading, justify="right", no_wrap=True)
    grid.add_column("state", no_wrap=True, max_width=13)
    for number, arm in enumerate(state.arms, start=1):
        grid.add_row(
            Text(f"{arm.name} {arm_title(arm.name)}", style="bold" if arm.name == state.leader else ""),
            f"{books.arms[arm.name].requests:,}",
            f"{arm.weight:.0%}",
            _value(arm),
            "–" if arm.best_probability is None else f"{arm.best_probability:.3f}",
            _arm_state(arm, servers.get(number)),
        )
    head = Text.assemble(
        ("digits", "bold"),
        f"  {books.elapsed_s():.0f} s  phase ",
        (state.phase, "bold"),
        f"  {books.requests:,} requests, {books.failed_total} failed",
    )
    waiting = state.not_ready[0] if state.not_ready else ""
    if len(state.not_ready) > 1:
        waiting += f" (and {len(state.not_ready) - 1} more)"
    foot = Text.assemble(
        f"value remaining {_remaining(state)}",
        f"\nwaiting for: {waiting}" if waiting else "",
        "\n* $ per million predictions, 95 % intervals; share: of the traffic from now on",
        style="dim",
    )
    return Group(head, grid, foot)


def _arm_state(arm: ArmState, server: str | None) -> str:
    """Say the arm's state, and the model server's own word when it is more than that the model is there."""
    return arm.state if server in (None, "AVAILABLE") else f"{arm.state}, {server}"


def _value(arm: ArmState) -> str:
    if arm.value_usd is None:
        return "–"
    text = f"{arm.value_usd * MILLION:.2f}"
    if arm.value_usd_low is not None and arm.value_usd_high is not None:
        text += f" [{arm.value_usd_low * MILLION:.2f}, {arm.value_usd_high * MILLION:.2f}]"
    return text


def _remaining(state: State) -> str:
    remaining = state.value_remaining
    if remaining.q95 is None:
        return "–"
    bar = "" if remaining.threshold is None else f" of the leader's value (drained below {remaining.threshold:.1%})"
    return f"{remaining.q95:.2%}{bar}"

"""One frame of `turpin top`: what was read, laid out for a terminal. What a gateway sends is text, never markup."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from router.admin_call import plain
from router.drawn import Axis, axis_of, bar, density, ends_of, is_number
from router.experiments_shown import moment
from router.top.source import Reading
from router.top.traffic import Traffic

Document: TypeAlias = Mapping[str, Any]

_PER_MILLION: Final = 1e6
# From so many columns on the tables have room for intervals in numbers; below, they fit into 80.
_WIDE: Final = 110
_BAR_CELLS, _NARROW_BAR_CELLS = 10, 6
_AXIS_CELLS, _NARROW_AXIS_CELLS = 24, 14
_LEFT: Final = frozenset({"arm", "state", "share", "a million earns", "backend", "loaded"})
# Older lines are in `turpin experiments history`.
_EVENTS: Final = 6
# Weights are renewed each second, and each 5 s by a leader that changes: older ones say that nobody leads.
_OLD_S: Final = 10.0
_BAD: Final = "bold red"
_QUIET: Final = "dim"
_NOTHING: Final = "–"


def frame(reading: Reading, *, columns: int, lost: str = "") -> Group:
    """Lay out a reading for a terminal of so many columns; `lost` says why there is none newer."""
    parts: list[RenderableType] = [_head(reading)]
    if lost:
        parts.append(Text(lost, style=_BAD))
    parts.append(_traffic(reading.traffic))
    if reading.store_away:
        parts += [Text(), _without_store(reading)]
    elif not reading.experiments:
        parts += [Text(), Text("No experiment: turpin experiments apply FILE", style=_QUIET)]
    for state in reading.experiments:
        parts += [Text(), *_experiment(state, is_wide=columns >= _WIDE)]
    if reading.backends:
        parts += [Text(), _backends(reading)]
    if reading.events:
        parts += [Text(), *_events(reading.events, names=len(reading.experiments) > 1)]
    return Group(*parts)


def _head(reading: Reading) -> Text:
    return Text.assemble(
        ("Turpin", "bold"), f" {plain(reading.version)}  {reading.admin}  ", (f"{moment(reading.at)[:19]} UTC", _QUIET)
    )


def _without_store(reading: Reading) -> Text:
    """Say that what follows of experiments is old, and how old."""
    seen = "none of them was seen before it was away"
    if reading.seen_at is not None:
        seen = f"as they were {max(0.0, reading.at - reading.seen_at):.0f} s ago"
    return Text.assemble(
        (f"the store can't be read ({plain(reading.store_away) or 'no reason given'})", _BAD),
        f"\nPredictions go on with the last weights. Experiments: {seen}.",
    )


def _traffic(traffic: Traffic | None) -> Text:
    """Say what this gateway answers; of its first reading there is nothing to say yet."""
    if traffic is None:
        return Text("traffic of this gateway: known after the next reading", style=_QUIET)
    is_failing = bool(traffic.error_ratio)
    words: list[str | tuple[str, str]] = [
        (f"{traffic.requests_per_s:,.0f} requests/s", "bold"),
        f"  p50 {_ms(traffic.p50_s)}  p99 {_ms(traffic.p99_s)}  of it ours {_ms(traffic.overhead_p99_s)} (p99)  errors ",
        (_NOTHING if traffic.error_ratio is None else f"{traffic.error_ratio:.2%}", _BAD if is_failing else ""),
        f"\n{traffic.rewards_per_s:,.0f} rewards/s",
        *_if(traffic.rewards_refused_per_s, "refused rewards"),
        *_if(traffic.shed_per_s, "refused requests"),
        *_if(traffic.retries_per_s, "sent again"),
        f"  billed ${traffic.billed_usd_per_hour:,.3f}/h",
    ]
    if traffic.store_up == 0.0:
        words.append(("  the store does not answer", _BAD))
    codes = ", ".join(f"{plain(code)} {rate:,.1f}/s" for code, rate in traffic.by_code_per_s.items() if code != "ok")
    if codes:
        words.append(f"\nnot ok: {codes}")
    return Text.assemble(*words)


def _if(rate: float, what: str) -> list[tuple[str, str]]:
    return [(f"  {rate:,.1f} {what}/s", "yellow")] if rate > 0.0 else []


def _experiment(state: Document, *, is_wide: bool) -> Iterator[RenderableType]:
    """Yield the lines of one experiment: where it stands, its arms, what it waits for, what is wrong."""
    yield _standing(state)
    arms: Sequence[Document] = state.get("arms") or ()
    if arms:
        yield _arms(arms, str(state.get("leader")), is_wide=is_wide)
    for alarm in state.get("alarms") or ():
        yield Text(f"ALARM {plain(str(alarm.get('name')))}: {plain(str(alarm.get('words')))}", style=_BAD)
    waiting = [plain(str(one)) for one in state.get("not_ready") or ()]
    if waiting:
        more = f" (and {len(waiting) - 1} more)" if len(waiting) > 1 else ""
        yield Text(f"waits for: {waiting[0]}{more}", style=_QUIET)
    age_s = state.get("snapshot_age_s")
    if is_number(age_s) and age_s > _OLD_S:
        yield Text(f"its weights are {age_s:.0f} s old: nobody learns now", style=_BAD)


def _standing(state: Document) -> Text:
    words: list[str | tuple[str, str]] = [
        (plain(str(state.get("name"))), "bold"),
        "  ",
        (plain(str(state.get("phase"))), "bold cyan"),
    ]
    winner, leader = state.get("winner"), state.get("leader")
    if winner is not None:
        words += ["  winner ", (plain(str(winner)), "bold")]
    elif leader is not None:
        words += ["  leader ", (plain(str(leader)), "bold")]
    remaining = state.get("value_remaining") or {}
    if is_number(remaining.get("q95")):
        words.append(f"  value remaining {remaining['q95']:.2%}")
        if is_number(remaining.get("threshold")):
            words.append(f" (drained below {remaining['threshold']:.1%})")
    if state.get("reason"):
        words.append((f"  {plain(str(state['reason']))}", _QUIET))
    return Text.assemble(*words, overflow="ellipsis", no_wrap=True)


def _arms(arms: Sequence[Document], leader: str, *, is_wide: bool) -> Table:
    axis = axis_of(arms, _AXIS_CELLS if is_wide else _NARROW_AXIS_CELLS)
    bar_cells = _BAR_CELLS if is_wide else _NARROW_BAR_CELLS
    table = _table(
        "arm", "state", "share", "a million earns", "$ (95 %)" if is_wide else "$", "P(best)", "requests", "errors"
    )
    for arm in arms:
        errors = arm.get("errors")
        table.add_row(
            Text(plain(str(arm.get("name"))), style="bold" if arm.get("name") == leader else ""),
            Text(plain(str(arm.get("state"))), style="yellow" if arm.get("state") == "quarantined" else ""),
            _share(arm.get("weight"), bar_cells),
            Text("" if axis is None else density(arm, axis)),
            _money(arm, axis, has_ends=is_wide),
            _NOTHING if not is_number(arm.get("best_probability")) else f"{arm['best_probability']:.3f}",
            _whole(arm.get("decisions")),
            Text(_whole(errors), style="yellow" if errors else ""),
        )
    return table


def _share(weight: object, cells: int) -> Text:
    if not is_number(weight):
        return Text(_NOTHING)
    return Text(f"{bar(weight, cells):<{cells}} {weight:4.0%}")


def _money(arm: Document, axis: Axis | None, *, has_ends: bool) -> str:
    ends = ends_of(arm)
    if ends is None or axis is None:
        return _NOTHING
    # As many digits as tell arms apart on their axis.
    low, middle, high = (f"{end * _PER_MILLION:.{_digits(axis)}f}" for end in ends)
    return f"{middle} ({low} to {high})" if has_ends else middle


def _digits(axis: Axis) -> int:
    width = (axis.high - axis.low) * _PER_MILLION
    return next((digits for digits in range(6) if width * 10**digits >= 10.0), 6)


def _backends(reading: Reading) -> Table:
    prices = {price.get("backend"): price for price in reading.prices}
    going = reading.traffic.backends if reading.traffic is not None else {}
    table = _table("backend", "replicas", "$/h", "calls/s", "under way", "rows a call", "loaded")
    for backend in reading.backends:
        name = plain(str(backend.get("name")))
        replicas: Sequence[Document] = backend.get("replicas") or ()
        well = sum(bool(one.get("answers")) for one in replicas)
        calls = going.get(name)
        price = prices.get(name, {})
        table.add_row(
            Text(name),
            Text(f"{well}/{len(replicas)}", style="" if replicas and well == len(replicas) else _BAD),
            _NOTHING if not is_number(price.get("usd_per_hour")) else f"{price['usd_per_hour']:g}",
            *(
                (_NOTHING,) * 3
                if calls is None
                else (
                    f"{calls.calls_per_s:,.0f}",
                    f"{calls.calls_in_flight:.0f}",
                    _NOTHING if calls.rows_per_call is None else f"{calls.rows_per_call:.1f}",
                )
            ),
            _condition(replicas, str(price.get("warning") or "")),
        )
    return table


def _condition(replicas: Iterable[Document], warning: str) -> Text:
    """Say what is wrong with a backend, else what it has loaded."""
    wrong = [f"{one.get('address')}: {one['problem']}" for one in replicas if one.get("problem")]
    wrong += [warning] if warning else []
    if wrong:
        return Text(plain("; ".join(wrong)), style=_BAD)
    loaded = {
        f"{model}/{version.get('version')}"
        for one in replicas
        for model, shown in (one.get("models") or {}).items()
        for version in shown.get("versions") or ()
        if version.get("state") == "AVAILABLE"
    }
    return Text(plain(" ".join(sorted(loaded)) or _NOTHING))


def _events(events: Sequence[Document], *, names: bool) -> Iterator[Text]:
    for event in events[-_EVENTS:]:
        change = " → ".join(str(event[key]) for key in ("before", "after") if event.get(key))
        said = [str(event["experiment"])] if names else []
        said += [str(event.get("what")), change, f"({event['why']})" if event.get("why") else ""]
        line = Text.assemble(
            (moment(event.get("now"))[11:19], _QUIET), "  ", plain(" ".join(word for word in said if word))
        )
        line.no_wrap, line.overflow = True, "ellipsis"
        yield line


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, show_edge=False, header_style=_QUIET)
    for column in columns:
        # Numbers and names must not be cut; what is wrong with a backend may take lines.
        is_words = column == "loaded"
        table.add_column(
            column,
            justify="left" if column in _LEFT else "right",
            no_wrap=not is_words,
            min_width=None if is_words or column == "a million earns" else len(column),
        )
    return table


def _ms(seconds: float | None) -> str:
    return _NOTHING if seconds is None else f"{seconds * 1e3:.3g} ms"


def _whole(number: object) -> str:
    return f"{number:,.0f}" if is_number(number) else _NOTHING

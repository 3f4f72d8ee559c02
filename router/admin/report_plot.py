"""Each arm's share of the traffic over time, as inline SVG without scripts; every name is escaped."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

# Okabe and Ito's, told apart by colour-blind eyes too.
_COLOURS: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#7F7F7F")
_WIDTH: Final = 640
_HEIGHT: Final = 200
_LEFT: Final = 44
_BOTTOM: Final = 20
_LEGEND: Final = 110
# More steps than pixels show nothing more.
_STEPS_MAX: Final = 200


def shares_svg(names: Sequence[str], blocks: Sequence[Mapping[str, Any]]) -> str:
    """Draw the shares of the blocks, each {at: unix s, decisions: {arm: count}}; empty when there was no traffic.

    Of more arms than there are colours those with the least traffic are one line.
    """
    names, blocks = _foremost(names, [one for one in blocks if sum(one["decisions"].values())])
    steps = _steps(names, blocks)
    if not steps:
        return ""
    width, height = _WIDTH - _LEFT - _LEGEND, _HEIGHT - _BOTTOM - 10
    first, last = steps[0][0], max(steps[-1][0], steps[0][0] + 1.0)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{_WIDTH}" height="{_HEIGHT}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="12" fill="currentColor">',
        "<title>share of the traffic over time</title>",
        f'<text x="0" y="18">100 %</text><text x="0" y="{_HEIGHT - _BOTTOM}">0 %</text>',
        f'<text x="{_LEFT}" y="{_HEIGHT - 4}">0 s</text>',
        f'<text x="{_LEFT + width}" y="{_HEIGHT - 4}" text-anchor="end">{last - first:,.0f} s</text>',
    ]
    for place, name in enumerate(names):
        colour = _COLOURS[place % len(_COLOURS)]
        points = " ".join(
            f"{_LEFT + (at - first) / (last - first) * width:.1f},{10 + (1.0 - shares[place]) * height:.1f}"
            for at, shares in steps
        )
        y = 20 + 18 * place
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{_WIDTH - _LEGEND + 10}" y="{y}" fill="{colour}">{escape(name[:24])}</text>')
    return "".join([*parts, "</svg>"])


def _foremost(
    names: Sequence[str], blocks: Sequence[Mapping[str, Any]]
) -> tuple[Sequence[str], Sequence[Mapping[str, Any]]]:
    """Return names and blocks with as many arms as can be told apart, in their order, and all others as one."""
    if len(names) <= len(_COLOURS):
        return names, blocks
    totals = {name: sum(one["decisions"].get(name, 0) for one in blocks) for name in names}
    shown = set(sorted(names, key=lambda name: -totals[name])[: len(_COLOURS) - 1])
    kept = [name for name in names if name in shown]
    # No arm has a blank in its name.
    rest = f"{len(names) - len(kept)} others"
    found = []
    for one in blocks:
        counts = {name: one["decisions"].get(name, 0) for name in kept}
        found.append(
            {"at": one["at"], "decisions": {**counts, rest: sum(one["decisions"].values()) - sum(counts.values())}}
        )
    return [*kept, rest], found


def _steps(names: Sequence[str], blocks: Sequence[Mapping[str, Any]]) -> list[tuple[float, list[float]]]:
    """Return (time, each arm's share), neighbouring blocks put together where there are too many."""
    size = -(-len(blocks) // _STEPS_MAX) or 1
    found = []
    for start in range(0, len(blocks), size):
        group = blocks[start : start + size]
        counts = [sum(one["decisions"].get(name, 0) for one in group) for name in names]
        total = sum(counts)
        found.append((float(group[0]["at"]), [count / total for count in counts]))
    return found

"""Draws how long requests took, by how many took less: a curve for each phase, as SVG without any library."""

import math
from collections.abc import Sequence
from html import escape
from typing import Final

Curve = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 640, 320, 60, 30, 20, 50
# Of one hue after the other, told apart also without colour by their order in the legend.
_COLOURS: Final = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b")
_SHARES: Final = (0.5, 0.9, 0.99, 0.999, 0.9999)


def draw(curves: Sequence[tuple[str, Curve]]) -> str:
    """Return an SVG of these named curves of (share, seconds), from the median on: both axes are logarithmic."""
    points = [point for _, curve in curves for point in curve]
    if not points:
        points = [(0.5, 0.001)]
    share_max = max(max(share for share, _ in points), 0.99)
    low = 10.0 ** math.floor(math.log10(max(1e-6, min(seconds for _, seconds in points))))
    high = 10.0 ** math.ceil(math.log10(max(low * 1.01, *(seconds for _, seconds in points))))

    def x(share: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * math.log(0.5 / (1 - share)) / math.log(0.5 / (1 - share_max))

    def y(seconds: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * math.log(max(seconds, low) / low) / math.log(high / low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="11">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        f'<text x="{_LEFT}" y="16">Milliseconds that a share of the requests did not exceed</text>',
    ]
    for share in (one for one in _SHARES if one <= share_max + 1e-12):
        parts.append(_line(x(share), _TOP, x(share), _HEIGHT - _BOTTOM, "#ddd"))
        parts.append(f'<text x="{x(share):.1f}" y="{_HEIGHT - 34}" text-anchor="middle">{100 * share:g} %</text>')
    for power in range(round(math.log10(low)), round(math.log10(high)) + 1):
        parts.append(_line(_LEFT, y(10.0**power), _WIDTH - _RIGHT, y(10.0**power), "#ddd"))
        parts.append(
            f'<text x="{_LEFT - 6}" y="{y(10.0**power) + 4:.1f}" text-anchor="end">{1e3 * 10.0**power:g}</text>'
        )
    for number, (name, curve) in enumerate(curves):
        colour = _COLOURS[number % len(_COLOURS)]
        path = " ".join(f"{x(min(share, share_max)):.1f},{y(seconds):.1f}" for share, seconds in curve)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        place = _LEFT + 100 * number
        parts.append(f'<text x="{place}" y="{_HEIGHT - 10}" fill="{colour}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'

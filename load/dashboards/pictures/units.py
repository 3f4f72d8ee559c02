"""Values as Grafana writes them, by the id of their unit."""

from collections.abc import Callable, Mapping
from typing import Final

_SCALES: Final = ((1e9, "G"), (1e6, "M"), (1e3, "K"))
_BINARY: Final = ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"))
_SECONDS: Final = ((60.0, "min", 60.0), (1.0, "s", 1.0), (1e-3, "ms", 1e-3), (1e-6, "µs", 1e-6))


def written(value: float, unit: str) -> str:
    """Return a value with its unit, in three digits."""
    return _BY_UNIT.get(unit, _short)(value)


def _short(value: float) -> str:
    for scale, ending in _SCALES:
        if abs(value) >= scale:
            return f"{_three(value / scale)}{ending}"
    return _three(value)


def _three(value: float) -> str:
    # In three digits 99.96 has four characters too many: they stand on axes.
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _percent(value: float) -> str:
    return f"{_three(100.0 * value)} %"


def _seconds(value: float) -> str:
    if value == 0.0:
        return "0 s"
    for least, name, size in _SECONDS:
        if abs(value) >= least:
            return f"{_three(value / size)} {name}"
    return f"{_three(value / 1e-6)} µs"


def _dollars(value: float) -> str:
    return f"{'-' if value < 0 else ''}${_short(abs(value))}"


def _bytes(value: float) -> str:
    for scale, name in _BINARY:
        if abs(value) >= scale:
            return f"{_three(value / scale)} {name}"
    return f"{_three(value)} B"


def _per_second(value: float) -> str:
    return f"{_short(value)}/s"


_BY_UNIT: Final[Mapping[str, Callable[[float], str]]] = {
    "percentunit": _percent,
    "s": _seconds,
    "currencyUSD": _dollars,
    "bytes": _bytes,
    "reqps": _per_second,
    "ops": _per_second,
}

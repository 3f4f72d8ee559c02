"""Floating-point numbers as TF Serving writes them in JSON: by printf, with six digits where they suffice, else with all.

Source: WriteDecimal in tensorflow_serving/util/json_tensor.cc (commit 9d981c5c).
"""

import itertools
import struct
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

# What printf and Python call those that are no numbers, and what RapidJSON does.
SPECIAL: Final = {"nan": "NaN", "-nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}

# Between these printf writes no exponent; above, it depends on how many digits are asked for.
_FIXED_MIN: Final = 1e-4
_FIXED_SIX: Final = 1e6
_FIXED_NINE: Final = 1e9
# Where decades begin, and what brings a number of each to six or to nine digits before its point.
_DECADES: Final = np.array([10.0**power for power in range(-3, 9)])
_SIX_DIGITS: Final = np.array([10.0 ** (5 - power) for power in range(-4, 9)])
_NINE_DIGITS: Final = np.array([10.0 ** (8 - power) for power in range(-4, 9)])
# A product of nine digits is wrong by less than 2^-22: nearer to the middle it does not tell which way to round.
_NEAR_MIDDLE: Final = 0.5 - 1e-6
# So many random float32 are printed and read back, .4 us each, in the time of the arithmetic: 48 take 19 us and 20.
FEW_MAX: Final = 48
_READER: Final = msgspec.json.Decoder(list[float])


def decimals(values: NDArray[Any]) -> list[str]:
    """Write float32 or float64 values, flat.

    Six digits if they give the value back, else all (9 or 17); ".0" after a whole number; NaN and Infinity raw.
    """
    if len(values) <= FEW_MAX or values.dtype != np.float32:
        return _printed(values)
    return _singles(values)


def few_decimals(values: tuple[float, ...], *, is_single: bool) -> str:
    """Write some values, with commas between, by the rule itself: with six digits, and with all where those give another."""
    count = len(values)
    text = ("%g, " * count % values)[:-2]
    try:
        read = _READER.decode(f"[{text}]")
    except msgspec.DecodeError:
        # JSON has no NaN and no Infinity.
        read = list(map(float, text.split(", ")))
    layout, digits = (f"{count}f", "%.9g") if is_single else (f"{count}d", "%.17g")
    # Six digits of the largest float32 are beyond it, and infinite here.
    back = struct.unpack(layout, struct.pack(layout, *read))
    if back != values:
        text = ", ".join(["%g" if one == value else digits for one, value in zip(back, values, strict=True)]) % values
    # A point in each: nothing to finish.
    return text if text.count(".") == count else ", ".join(map(_finished, text.split(", ")))


def _singles(values: NDArray[Any]) -> list[str]:
    """Write float32 values: rounded to so many digits by arithmetic, since the shortest text of a double has no others.

    256 random ones take 35 us, and 256 zeros 26; printed and read back they took 76 and 131 (lowest of 7 x 300).
    """
    # Of what is infinite, too large or none nothing is used.
    with np.errstate(over="ignore", invalid="ignore"):
        size = np.abs(values.astype(np.float64))
        place = np.searchsorted(_DECADES, size, side="right")
        scale = _SIX_DIGITS[place]
        six = np.rint(size * scale) / scale
        scale = _NINE_DIGITS[place]
        wide = size * scale
        whole = np.rint(wide)
        nine = whole / scale
        is_six = six.astype(np.float32) == np.abs(values)
        is_fixed = (size >= _FIXED_MIN) & np.where(is_six, six < _FIXED_SIX, nine < _FIXED_NINE)
        is_plain = (is_fixed & (np.abs(wide - whole) < _NEAR_MIDDLE)) | (size == 0.0)
        rounded = np.where(is_plain, np.copysign(np.where(is_six, six, nine), values), 0.0)
    texts = msgspec.json.encode(rounded.tolist())[1:-1].decode().split(",")
    if not is_plain.all():
        others = np.flatnonzero(~is_plain)
        for index, text in zip(others.tolist(), _printed(values[others]), strict=True):
            texts[index] = text
    return texts


def _printed(values: NDArray[Any]) -> list[str]:
    """Write values by printf; of many only those that may be short are read back."""
    is_single = values.dtype == np.float32
    if len(values) <= FEW_MAX:
        return few_decimals(tuple(values.tolist()), is_single=is_single).split(", ") if len(values) else []
    digits, dtype = ("%.9g", np.float32) if is_single else ("%.17g", np.float64)
    texts = _formatted(digits, values)
    # A NaN may be a signalling one.
    with np.errstate(over="ignore", invalid="ignore"):
        candidates = np.flatnonzero(_may_be_short(values))
        short = _formatted("%g", values[candidates])
        is_same = np.array(list(map(float, short)), np.float64).astype(dtype) == values[candidates]
    for index, text in itertools.compress(zip(candidates.tolist(), short, strict=True), is_same.tolist()):
        texts[index] = text
    return [_finished(text) for text in texts]


def _finished(text: str) -> str:
    """Give what printf wrote a point, or RapidJSON's word."""
    return text if "." in text or "e" in text else SPECIAL.get(text) or text + ".0"


def _formatted(digits: str, values: NDArray[Any]) -> list[str]:
    """Format all values at once, which takes half the time of one by one."""
    return (f"{digits} " * len(values) % tuple(values.tolist())).split()


def _may_be_short(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell the values that six digits may give back; of those it rules out none is.

    Arithmetic is 20 times quicker than printing and reading back, and model outputs are rarely short. A value is
    ruled out when it is farther from its rounding to six digits than half a unit in its last place (2^-24 of it for
    float32, 2^-53 for float64, where the error of this arithmetic is larger and decides).
    """
    margin = 6.1e-8 if values.dtype == np.float32 else 1e-14
    size = np.abs(values.astype(np.float64))
    # Outside there are zero, NaN, the infinite, float32's denormals, and what overflows below.
    is_ordinary = (size > 1e-37) & (size < 1e37)
    size[~is_ordinary] = 1.0
    scale = 10.0 ** (5.0 - np.floor(np.log10(size)))
    is_near: NDArray[np.bool_] = np.abs(np.rint(size * scale) / scale - size) <= margin * size
    return is_near

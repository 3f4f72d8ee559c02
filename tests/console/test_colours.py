"""Colours of arms: seen on both backgrounds, and told apart by eyes that lack a kind of cone."""

import itertools
import re
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.console.test_files import PAGE

Floats = NDArray[np.float64]

PALETTE: Final = re.findall(r'"(#[0-9a-f]{6})"', (PAGE / "colours.js").read_text())
# pico's backgrounds, of the page and of a card.
BACKGROUNDS: Final = ["#ffffff", "#13171f", "#181c25"]
# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
CONES: Final[dict[str, list[list[float]]]] = {
    "all": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
XYZ: Final = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
# WCAG 2.1: what carries meaning has 3:1 to what is beside it.
CONTRAST_MIN: Final = 3.0
# Of the first four arms in CIE Lab; 2.3 is what eyes just notice.
DISTANCE_MIN: Final = 20.0
FIRST: Final = 4


def linear(colour: str) -> Floats:
    parts = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255.0
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def luminance(colour: str) -> float:
    return float(XYZ[1] @ linear(colour))


def lab(rgb: Floats) -> Floats:
    x, y, z = np.cbrt(np.maximum(XYZ @ rgb / (XYZ @ np.ones(3)), 0.008856))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_palette_is_found() -> None:
    assert len(set(PALETTE)) == len(PALETTE) == 8


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_every_colour_is_seen_on_both_backgrounds(background: str) -> None:
    below = luminance(background)
    contrasts = {one: (max(luminance(one), below) + 0.05) / (min(luminance(one), below) + 0.05) for one in PALETTE}

    assert min(contrasts.values()) >= CONTRAST_MIN, contrasts


@pytest.mark.parametrize("lacking", CONES)
def test_first_arms_are_told_apart_whatever_cones_an_eye_has(lacking: str) -> None:
    seen = {one: lab(np.clip(np.array(CONES[lacking]) @ linear(one), 0.0, 1.0)) for one in PALETTE[:FIRST]}
    distances = {
        (one, other): float(np.linalg.norm(seen[one] - seen[other])) for one, other in itertools.combinations(seen, 2)
    }

    assert min(distances.values()) >= DISTANCE_MIN, distances

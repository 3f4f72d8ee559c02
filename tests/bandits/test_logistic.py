"""Both sides of the logistic function, where they are small too."""

import numpy as np
import pytest
from scipy.special import expit

from bandits.logistic import sides


def test_both_sides_are_precise_where_they_are_small() -> None:
    logits = np.linspace(-690.0, 690.0, 13_801)

    rate, rest = sides(logits)

    assert rate == pytest.approx(expit(logits), rel=1e-14, abs=0.0)
    assert rest == pytest.approx(expit(-logits), rel=1e-14, abs=0.0)


def test_extreme_logits_give_certainty_and_no_warning() -> None:
    rate, rest = sides(np.array([-1e308, -1e4, 1e4, 1e308]))

    assert rate == pytest.approx([0.0, 0.0, 1.0, 1.0], abs=1e-300)
    assert rest.tolist() == [1.0, 1.0, 0.0, 0.0]

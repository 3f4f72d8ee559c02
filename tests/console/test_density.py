"""The curve of an arm's value is the learner's posterior: its density integrates to 1, and its interval holds 95 %."""

from typing import Any, Final

import numpy as np
import pytest
from playwright.async_api import Page
from scipy.special import expit, logit

pytestmark = pytest.mark.asyncio(loop_scope="session")

Z95: Final = 1.959964
WORTH: Final = 1e-6
COST: Final = 5e-8

CURVE: Final = """async ([arm, type, worth]) => {
  const { densityOf } = await import('/console/density.js');
  const found = densityOf(arm, type, worth);
  if (!found) return null;
  const values = Array.from({ length: 4001 }, (_, step) => found.from + (found.to - found.from) * step / 4000);
  return [values, values.map(found.at)];
}"""


async def curve(modules: Page, arm: dict[str, Any], kind: str) -> Any:
    return await modules.evaluate(CURVE, [arm, kind, WORTH])


def arm_of(low: float, high: float, value: float | None = None) -> dict[str, Any]:
    """An arm whose rate has this interval."""
    ends = {"value_usd_low": WORTH * low - COST, "value_usd_high": WORTH * high - COST}
    return {**ends, "value_usd": ends["value_usd_low"] if value is None else value, "prediction_cost_usd": COST}


@pytest.mark.parametrize(("eta", "spread"), [(3.0, 0.4), (-4.0, 1.2), (0.0, 0.05)])
async def test_binary_rewards_have_the_learners_own_posterior(modules: Page, eta: float, spread: float) -> None:
    arm = arm_of(expit(eta - Z95 * spread), expit(eta + Z95 * spread))
    values, heights = map(np.array, await curve(modules, arm, "binary"))

    rates = (values + COST) / WORTH
    # Normal on the logit scale, in units of value.
    normal = np.exp(-(((logit(rates) - eta) / spread) ** 2) / 2) / (spread * np.sqrt(2 * np.pi))
    expected = normal / (rates * (1 - rates)) / WORTH
    assert heights == pytest.approx(expected, rel=1e-6)
    assert np.trapezoid(heights, values) == pytest.approx(1.0, abs=1e-3)
    # But for the two steps that the ends of the interval fall into.
    inside = (values >= arm["value_usd_low"]) & (values <= arm["value_usd_high"])
    assert np.trapezoid(heights[inside], values[inside]) == pytest.approx(0.95, abs=5e-3)


async def test_other_rewards_are_normal_on_their_own_scale(modules: Page) -> None:
    arm = arm_of(2.0, 4.0)
    values, heights = map(np.array, await curve(modules, arm, "continuous"))

    assert values[heights.argmax()] == pytest.approx(WORTH * 3.0 - COST, rel=1e-3)
    assert np.trapezoid(heights, values) == pytest.approx(1.0, abs=1e-3)


async def test_nothing_is_drawn_of_what_is_not_known(modules: Page) -> None:
    unknown = {"value_usd": None, "value_usd_low": None, "value_usd_high": None, "prediction_cost_usd": None}

    assert await curve(modules, unknown, "binary") is None

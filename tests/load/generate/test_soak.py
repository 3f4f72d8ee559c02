"""The short form of ten minutes; and that growth, or a call that failed, would be seen."""

from pathlib import Path

from load.generate import soak
from tests.system.fronts import NO_ENVOY


@NO_ENVOY
async def test_calls_of_a_short_soak_end_as_they_are_meant_to(tmp_path: Path) -> None:
    result = await soak.soak(tmp_path, "envoy", minutes=0.03)

    assert {"answered", "taken back"} <= set(result["calls"]) <= {"answered", "taken back", "too late"}
    assert len(result["memory_mb"]) == 60


def test_growth_is_seen_under_what_comes_and_goes() -> None:
    flat = [100 + number % 7 for number in range(60)]

    assert soak.growth(flat) == 0.0
    assert soak.growth([*range(40, 46), *flat[6:]]) == 0.0
    assert soak.growth([one + number // 5 for number, one in enumerate(flat)]) > 0.05


def test_failed_call_and_growth_are_no_success() -> None:
    well = {"calls": {"answered": 9, "too late": 1}, "growth": 0.01}

    assert soak.is_well(well)
    assert not soak.is_well({**well, "growth": 0.05})
    assert not soak.is_well({**well, "calls": {"answered": 9, "unavailable": 1}})

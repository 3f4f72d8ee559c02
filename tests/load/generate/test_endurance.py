"""The short form of the million rows; and that a wrong row would be seen."""

from pathlib import Path

import pytest

from load.generate import endurance
from serving.wire import PredictRequest, PredictResponse


@pytest.mark.timeout(90)
async def test_nobody_gets_anothers_row_from_a_real_gateway_under_faults_and_cancels(tmp_path: Path) -> None:
    result = await endurance.endure(tmp_path, rows=4_000, cancels=600)

    seen = result["requests"]
    assert seen["answered"] > 0
    assert {"poisoned", "cancelled"} <= set(seen)
    assert not {"wrong", "blamed"} & set(seen)
    assert seen["rows"] >= 4_000
    # So few say nothing about the bytes of each, which the command measures.
    assert result["cancelled"] > 0


def test_a_row_of_another_is_seen() -> None:
    own = PredictResponse(outputs=PredictRequest.FromString(endurance.body_of_rows(5, 3)).inputs).SerializeToString()

    assert endurance.judge(own, 5, 3) == "answered"
    assert endurance.judge(own, 6, 3) == "wrong"
    assert endurance.judge(own, 5, 2) == "wrong"


def test_what_is_kept_of_each_request_shows_under_what_comes_and_goes() -> None:
    looks = [100_000_000 + 40 * 1_000 * number + (number % 10) * 3_000_000 for number in range(60)]

    assert endurance.slope(looks, 1_000) == 40.0

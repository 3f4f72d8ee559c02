"""The parts of the bench that can be judged on a busy machine."""

from pathlib import Path

import pytest

from load.generate import rig
from load.generate.run import closed_loop


@pytest.mark.timeout(60)
async def test_requests_reach_the_stand_in_in_batches_through_a_real_gateway(tmp_path: Path) -> None:
    async with (
        rig.stand_in(20.0, 0.25) as (backend, seen),
        rig.gateway(tmp_path, backend, rig.Setting(in_flight=2, rows=16)) as one,
        rig.clients(one.address, 2) as many,
    ):
        tally = await closed_loop(many.send, in_flight=32, seconds=1.0)

    assert tally.outcomes["ok"] == tally.sent > 0
    assert seen["rows_per_call"] > 4
    assert seen["in_flight_max"] == 2
    assert max(int(size) for size in seen["sizes"]) <= 16

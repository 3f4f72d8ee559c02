"""An arm that warms is asked, where that is wanted, whether its rows depend on one another."""

import asyncio

import msgspec
import numpy as np
import pytest

from serving import wire
from serving.arrays import from_numpy, to_numpy
from serving.errors import Unavailable
from tests.router.control.servers import Direct, fake_tfs
from tests.router.control.test_lifecycle import DOSSIER, WANTED, WARM_ALL, Bench, run, warmed


class Norming(Direct):
    """Version 2 answers each number less the mean of its batch."""

    async def call(self, method: str, body: bytes, timeout_s: float) -> bytes:
        answer = await super().call(method, body, timeout_s)
        if method != wire.PREDICT or wire.PredictRequest.FromString(body).model_spec.version.value != 2:
            return answer
        response = wire.PredictResponse.FromString(answer)
        (tensor,) = response.outputs.values()
        rows = to_numpy(tensor).astype(np.float64)
        tensor.CopyFrom(from_numpy(rows - rows.mean(axis=0)))
        return bytes(response.SerializeToString())


@pytest.mark.parametrize("is_asked", [True, False])
def test_arm_whose_rows_depend_on_one_another_is_found_where_that_is_asked_for(is_asked: bool) -> None:
    batching = WANTED.batching.model_copy(update={"probe": is_asked})
    asked = msgspec.structs.replace(DOSSIER, spec=WANTED.model_copy(update={"batching": batching}))

    async def scenario(on: Bench) -> None:
        while len(on.events) < 3:
            on.lifecycle.pursue(asked, WARM_ALL)
            await asyncio.sleep(0.01)
            on.events += on.lifecycle.take_events("digits")
        assert set(on.events) == warmed(0, 1, 2)
        merged = {name: cost.is_merged for name, cost in on.lifecycle.costs["digits"].items()}
        assert merged == {"v1": True, "v2": not is_asked, "v3": True}

    run(scenario, Norming(fake_tfs()))


def test_arm_whose_rows_can_not_be_compared_goes_alone() -> None:
    batching = WANTED.batching.model_copy(update={"probe": True})
    asked = msgspec.structs.replace(DOSSIER, spec=WANTED.model_copy(update={"batching": batching}))

    class Brief(Direct):
        """Answers calibration, whose calls have all the time, and no call of 5 s."""

        async def call(self, method: str, body: bytes, timeout_s: float) -> bytes:
            if method == wire.PREDICT and timeout_s == 5.0:
                raise Unavailable("tfs:1 is away")
            return await super().call(method, body, timeout_s)

    async def scenario(on: Bench) -> None:
        while len(on.events) < 3:
            on.lifecycle.pursue(asked, WARM_ALL)
            await asyncio.sleep(0.01)
            on.events += on.lifecycle.take_events("digits")
        assert not any(cost.is_merged for cost in on.lifecycle.costs["digits"].values())

    run(scenario, Brief(fake_tfs()))

"""After some traffic, good and bad, the scrape holds every metric of the table, with the sums that clients counted."""

import asyncio
import contextlib
import json
import re
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import pytest

from router.metrics import ARM_STATES, PHASES, TABLE
from serving import wire
from tests.system.client import Answer, Client, Refusal
from tests.system.gateway import Gateway, configuration, endless, serving, until
from tests.system.model_server import BYSTANDER, MODEL, DigitsServer
from tests.system.traffic import Nature, Traffic

pytestmark = pytest.mark.timeout(60)

LINES: Final = {1: (0.001, 0.0002), 2: (0.001, 0.0002), 3: (0.001, 0.0002), 8: (0.5, 0.0)}
# A queue that is soon full, and a retry for every request: how scarce retries are is not the matter here.
LIMITS: Final = {"queue_rows": 8, "retry_budget": 1.0}
PREDICTIONS: Final = 200


def total(samples: dict[str, float], name: str, **labels: str) -> float:
    """Add up the samples of a name that have these labels."""
    wanted = {f'{key}="{value}"' for key, value in labels.items()}
    return sum(
        value
        for sample, value in samples.items()
        if sample.partition("{")[0] == name and wanted <= set(re.findall(r'\w+="[^"]*"', sample))
    )


async def refusals(calls: int, predict: Callable[[], Coroutine[Any, Any, Answer]]) -> list[str | int]:
    """Predict so often at once, and return the codes of what was refused."""
    codes: list[str | int] = []

    async def ask() -> None:
        try:
            await predict()
        except Refusal as refusal:
            codes.append(refusal.code)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(calls):
            tasks.create_task(ask())
    return codes


async def test_scrape_holds_every_metric_with_the_clients_sums(tmp_path: Path) -> None:
    async with DigitsServer(LINES) as server:
        settings = configuration(tmp_path, server.address, workers=2, experiments=[endless()], limits=LIMITS)
        async with serving(tmp_path, settings) as gateway, Client.to(gateway) as client:
            await gateway.in_phase("running")
            traffic = Traffic(client, Nature(dict.fromkeys((1, 2, 3), 0.5), seed=6))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(traffic.run(4))
                await until("some traffic", lambda: len(traffic.acknowledged) >= PREDICTIONS)
                # Behind the gateway's back the model server lets go of a version: control answers for it.
                server.states[MODEL][2] = (wire.END, "")
                await until("a retry", lambda: has(gateway, "turpin_retries_total"))
                server.states[MODEL][2] = (wire.AVAILABLE, "")
                traffic.stop.set()
            again, worth = next(iter(traffic.acknowledged.items()))
            assert await client.reward(again, worth) == 200
            shed = await refusals(40, lambda: client.predict(model=BYSTANDER))
            late = await refusals(1, lambda: client.predict_rest(path=BYSTANDER, headers={"turpin-timeout-ms": "20"}))
            samples = await until("all counts", lambda: _settled(gateway, traffic, others=41))
            await gateway.stop()

    assert traffic.failed == []
    assert set(shed) == {"RESOURCE_EXHAUSTED"}
    assert late == [504]
    answered = sum(traffic.answers.values())
    ok = [total(samples, "turpin_requests_total", front=front, code="ok") for front in ("grpc", "rest")]
    assert sum(ok) == answered + 40 - len(shed)
    assert min(ok) >= PREDICTIONS / 4
    assert total(samples, "turpin_requests_total", code="queue_full") == len(shed)
    assert total(samples, "turpin_shed_total", reason="queue_full") == len(shed)
    assert total(samples, "turpin_deadline_exceeded_total") == len(late)
    assert total(samples, "turpin_request_duration_seconds_count") == sum(ok)
    assert total(samples, "turpin_overhead_seconds_count") == sum(ok)
    assert total(samples, "turpin_decisions_total") == answered
    for arm, count in traffic.answers.items():
        assert total(samples, "turpin_decisions_total", arm=arm) == count
    retries = total(samples, "turpin_retries_total")
    assert retries == total(samples, "turpin_decisions_total", mode="fallback") > 0
    assert total(samples, "turpin_rewards_total", result="recorded") == len(traffic.acknowledged)
    assert total(samples, "turpin_rewards_total", result="duplicate") == 1
    assert total(samples, "turpin_reward_delay_seconds_count") == len(traffic.acknowledged)
    # What was sent upstream, calibration and probes aside, which only add.
    assert total(samples, "turpin_batch_rows_sum") >= answered
    assert total(samples, "turpin_cost_usd_total", kind="busy") > 0
    assert total(samples, "turpin_arm_weight_ratio") == pytest.approx(1.0)
    assert total(samples, "turpin_experiment_phase", phase="running") == 1
    assert total(samples, "turpin_experiment_phase") == 1
    assert total(samples, "turpin_arm_state", state="eligible") == 3
    assert len([name for name in samples if name.startswith("turpin_arm_state{")]) == 3 * len(ARM_STATES)
    assert len([name for name in samples if name.startswith("turpin_experiment_phase{")]) == len(PHASES)
    assert total(samples, "turpin_store_up") == 1
    shown = {re.sub(r"_(bucket|sum|count)$", "", sample.partition("{")[0]) for sample in samples}
    missing = {name for name in TABLE if re.sub(r"_count$", "", name) not in shown}
    # An experiment without segments shows none of theirs: tests/system/test_segments.py does.
    # Nothing is divided into segments here, copied, or captured.
    idle = ("turpin_segment_", "turpin_shadow_", "turpin_captures_")
    assert missing == {name for name in TABLE if name.startswith(idle)}


async def has(gateway: Gateway, name: str) -> bool:
    """Say whether a metric is above 0."""
    return total(await gateway.scrape(), name) > 0


async def _settled(gateway: Gateway, traffic: Traffic, others: int) -> dict[str, float]:
    """Return a scrape that holds the last reports of the workers, which come every 250 ms; empty before that."""
    samples = await gateway.scrape()
    is_all = total(samples, "turpin_requests_total") >= sum(traffic.answers.values()) + others
    return samples if is_all and total(samples, "turpin_rewards_total") > len(traffic.acknowledged) else {}


# Of 100,000 at the metrics themselves tells tests/router/test_metrics.py: these go the whole way, through both fronts.
HOSTILE: Final = 200


async def test_names_that_clients_invent_add_no_series(tmp_path: Path) -> None:
    async with DigitsServer(LINES) as server:
        settings = configuration(tmp_path, server.address, workers=1, experiments=[endless()])
        async with serving(tmp_path, settings) as gateway, Client.to(gateway) as client:
            await gateway.in_phase("running")
            await _invent(client, "first")
            first = await until("what was counted", lambda: _counted(gateway, 4))
            for number in range(HOSTILE):
                await _invent(client, f"name-{number}")
            last = await until("what was counted", lambda: _counted(gateway, 4 * HOSTILE))
            await gateway.stop()

    assert not [sample for sample in last if "name-" in sample]
    # What the arms add that had not answered before; one series for each name would be twice as many.
    assert len(last) - len(first) < HOSTILE / 2


async def _counted(gateway: Gateway, requests: int) -> dict[str, float]:
    samples = await gateway.scrape()
    return samples if total(samples, "turpin_requests_total") >= requests else {}


async def _invent(client: Client, name: str) -> None:
    """Use a made-up name wherever there is room for one: four requests are counted."""
    with contextlib.suppress(Refusal):
        await client.predict(model=name)
    with contextlib.suppress(Refusal):
        await client.predict(signature_name=name)
    with contextlib.suppress(Refusal):
        await client.predict_rest(path=f"{MODEL}/labels/{name}")
    headers = {"turpin-unit": name, "turpin-segment": name, "turpin-request-id": name, "User-Agent": name}
    answer = await client.predict_rest(headers=headers)
    body = json.dumps({"decision": answer.decision, "reward": 1, "event": name}).encode()
    await client.http("POST", "/v1/rewards", body)
    for path in (f"/v1/rewards:{name}", f"/{name}"):
        with contextlib.suppress(Refusal):
            await client.http("GET", path)

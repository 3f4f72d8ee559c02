"""A real Prometheus scrapes a gateway under traffic: every panel of the dashboards and every rule shows something."""

import asyncio
import re
from pathlib import Path
from typing import Final

import pytest

from load.dashboards.__main__ import ALL
from serving import wire
from tests.deploy.test_rules import ALERTS, RULES
from tests.prometheus import Prometheus, program, prometheus
from tests.system.client import Client
from tests.system.gateway import configuration, experiment, serving, until
from tests.system.model_server import BYSTANDER, MODEL, DigitsServer
from tests.system.test_metrics import LIMITS, LINES, has, refusals
from tests.system.traffic import Nature, Traffic

pytestmark = pytest.mark.timeout(150)

# Two are so near that there is still something to be found.
RATES: Final = {1: 0.3, 2: 0.9, 3: 0.88}
# Long enough that nothing is over before Prometheus has seen it.
LASTING: Final = experiment(stop={"min_age": "10m"})
# A full disk and a replica that dies beside others are not part of this traffic.
STILL: Final = frozenset({"turpin_journal_dropped_total", "turpin_backend_ejections_total"})
# 0 is what they show once a leader is clear, or at a moment without traffic.
MAY_BE_ZERO: Final = frozenset(
    {
        "turpin_arm_best_probability_ratio",
        "turpin_batches_in_flight",
        "turpin_experiment_value_remaining_ratio",
        "turpin_pending_rewards",
    }
)


def queries() -> dict[str, str]:
    """Return what panels and recording rules ask, by where it stands; Grafana's variables as they would be."""
    found = {}
    for dashboard in ALL:
        for panel in dashboard.panels:
            for place, query in enumerate(panel.queries):
                text = query.expression.replace("$__rate_interval", "2m").replace("$experiment", ".*")
                found[f"{dashboard.uid}: {panel.title} {place}"] = text
    for group in RULES["groups"]:
        for rule in group["rules"]:
            if "record" in rule:
                found[rule["record"]] = rule["record"]
    return found


def shares() -> dict[str, str]:
    """Return the queries of panels whose values are parts of a whole."""
    titles = {
        f"{dashboard.uid}: {panel.title} "
        for dashboard in ALL
        for panel in dashboard.panels
        # What remains may be more than all that is earned now.
        if panel.unit == "percentunit" and panel.title != "Value remaining"
    }
    return {where: text for where, text in queries().items() if where.rstrip("0123456789") in titles}


async def silent(server: Prometheus, asked: dict[str, str]) -> dict[str, str]:
    """Return the queries that show nothing, or nothing but 0 where something moves, with what they show."""
    missing = {}
    for where, text in asked.items():
        metrics = set(re.findall(r"\bturpin_\w+", text))
        values = [value for _, value in await server.series(text)]
        if metrics <= STILL and metrics:
            continue
        if not values or (not any(values) and not metrics & MAY_BE_ZERO):
            missing[where] = f"{text}: {values}"
    return missing


async def test_every_panel_and_rule_shows_what_happens(tmp_path: Path) -> None:
    program("prometheus")
    async with DigitsServer(LINES) as server:
        settings = configuration(tmp_path, server.address, workers=2, experiments=[LASTING], limits=LIMITS)
        settings["backends"]["tfs-a"]["egress_usd_per_gib"] = 0.1
        async with (
            serving(tmp_path, settings) as gateway,
            Client.to(gateway) as client,
            prometheus(tmp_path, {"turpin": [f"127.0.0.1:{gateway.admin}"]}) as watching,
        ):
            await gateway.in_phase("running")
            traffic = Traffic(client, Nature(RATES, seed=6))
            missing = queries()

            async def is_all_shown() -> bool:
                # More than is answered, and later than is waited for: some of it each time, so that the rates show it.
                await refusals(20, lambda: client.predict(model=BYSTANDER))
                await refusals(1, lambda: client.predict_rest(path=BYSTANDER, headers={"turpin-timeout-ms": "20"}))
                # What has shown something has: a moment is over soon.
                still = await silent(watching, {where: text for where, text in queries().items() if where in missing})
                missing.clear()
                missing.update(still)
                return not missing

            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(traffic.run(4))
                await until("some traffic", lambda: len(traffic.acknowledged) > 50)
                # A counter's first value is no increase: it must have been seen before.
                await until("a scrape", lambda: watching.series("turpin_retries_total"))
                # Behind the gateway's back the model server lets go of a version: control answers for it.
                server.states[MODEL][2] = (wire.END, "")
                await until("a retry", lambda: has(gateway, "turpin_retries_total"))
                server.states[MODEL][2] = (wire.AVAILABLE, "")
                try:
                    await until("something in every panel", is_all_shown, patience_s=90.0)
                except AssertionError:
                    targets = (await watching.ask("targets"))["activeTargets"]
                    errors = [f"scraping: {target['lastError']}" for target in targets]
                    raise AssertionError("\n".join([*missing.values(), *errors])) from None
                finally:
                    traffic.stop.set()
            rules = (await watching.ask("rules"))["groups"]
            parts = {where: await watching.series(text) for where, text in shares().items()}
            await gateway.stop()

    assert len(parts) == 4
    assert [where for where, series in parts.items() if any(value > 1.001 for _, value in series)] == []
    found = {rule["name"]: rule for group in rules for rule in group["rules"]}
    assert {rule["alert"] for rule in ALERTS} <= set(found)
    assert {name: rule for name, rule in found.items() if rule["health"] != "ok"} == {}
    assert found["TurpinGatewayDown"]["state"] == "inactive"

"""What an order would do is told without doing it, and which orders would be obeyed is what obeying them says."""

from typing import Any

import pytest

from tests.router.admin.bench import EXPERIMENTS, Bench, specified

ARMS = f"{EXPERIMENTS}/digits/arms"
VERBS = ("start", "pause", "resume", "bypass", "rollback", "stop", "archive")


async def dry(on: Bench, path: str, body: Any = None) -> Any:
    return await on.call("POST", f"{path}?dryRun=true", body)


async def test_what_an_order_would_do_is_told_and_not_done(on: Bench) -> None:
    await on.started()
    etag = await on.etag()

    told = await dry(on, f"{EXPERIMENTS}/digits:pause", {"reason": "just asking"})

    assert (told.status, told.headers["etag"]) == (200, etag)
    before, after = told.body["before"], told.body["after"]
    assert (before["phase"], after["phase"]) == ("running", "paused")
    assert before["shares"] == pytest.approx({"v1": 1 / 3, "v2": 1 / 3, "v3": 1 / 3}, abs=1e-6)
    assert after["shares"] == {"v1": 1.0, "v2": 0.0, "v3": 0.0}
    assert [note["what"] for note in told.body["notes"]] == ["phase"]
    assert (await on.etag(), (await on.dossier()).life.phase) == (etag, "running")
    assert [row["what"] for row in (await on.call("GET", "/admin/v1/audit")).body["audit"]] == ["create", "start"]


async def test_bypass_that_is_only_asked_about_tells_no_worker(on: Bench) -> None:
    await on.started()

    told = await dry(on, f"{EXPERIMENTS}/digits:bypass")

    assert (told.body["after"]["bypassed"], on.told) == (True, [])


async def test_resume_that_is_only_asked_about_ends_no_bypass(on: Bench) -> None:
    await on.started()
    await on.store.close()
    assert (await on.order("bypass")).status == 202

    await dry(on, f"{EXPERIMENTS}/digits:resume")

    assert [order.is_on for order in on.told] == [True]
    assert (await on.order("resume")).status == 202


async def test_drained_arm_would_leave_its_share_to_the_others(on: Bench) -> None:
    await on.started()

    told = await dry(on, f"{ARMS}/v3:drain")

    assert told.body["after"]["shares"] == pytest.approx({"v1": 0.5, "v2": 0.5, "v3": 0.0}, abs=1e-6)
    assert {arm["name"]: arm["state"] for arm in told.body["after"]["arms"]}["v3"] == "draining"


async def test_what_is_refused_is_refused_when_only_asked_about(on: Bench) -> None:
    await on.started()

    refused = await dry(on, f"{ARMS}/v1:drain")

    assert (refused.status, refused.label) == (409, "state_conflict")
    assert (await dry(on, f"{EXPERIMENTS}/digits:pause", {"why": 1})).status == 422
    assert (await on.call("POST", f"{EXPERIMENTS}/digits:pause?dryRun=perhaps")).status == 422


async def test_order_given_on_what_was_foreseen_is_refused_when_that_has_changed(on: Bench) -> None:
    await on.started()
    told = await dry(on, f"{EXPERIMENTS}/digits:pause")
    await on.call("POST", f"{ARMS}/v3:drain")

    late = await on.call("POST", f"{EXPERIMENTS}/digits:pause", If_Match=told.headers["etag"])

    assert (late.status, late.label) == (412, "stale")


@pytest.mark.parametrize("phase", ["draft", "running", "paused", "concluded"])
async def test_listed_orders_are_those_that_are_obeyed(on: Bench, phase: str) -> None:
    if phase == "draft":
        await on.call("POST", EXPERIMENTS, specified())
    else:
        await on.started()
    if phase in ("paused", "concluded"):
        await on.order({"paused": "pause", "concluded": "stop"}[phase])

    listed = (await on.call("GET", f"{EXPERIMENTS}/digits/orders")).body

    assert listed["role"] == "operator"
    assert [row["order"] for row in listed["orders"] if row["arm"] is None] == list(VERBS)
    for row in listed["orders"]:
        is_of_arm = row["arm"] is not None and row["order"] != "promote"
        path = f"{ARMS}/{row['arm']}:{row['order']}" if is_of_arm else f"{EXPERIMENTS}/digits:{row['order']}"
        told = await dry(on, path, {"arm": row["arm"]} if row["order"] == "promote" else None)
        assert (told.status == 200) == (row["refusal"] == ""), row
        assert told.status == 200 or told.body["detail"] == row["refusal"]


async def test_caller_is_told_who_it_is(on: Bench) -> None:
    assert (await on.call("GET", "/admin/v1/whoami")).body == {"name": "local", "role": "admin"}
    async with on.session.get("/admin/v1/whoami") as open_to_all:
        assert await open_to_all.json() == {"name": "", "role": "viewer"}

"""Bad input to an experiment that runs is refused with a clear message, and nothing of it is applied."""

from typing import Any

import msgspec
import pytest

from tests.router.admin.bench import EXPERIMENTS, Bench, specified

ARMS = specified(1, 2)["arms"]
# What is asked for beside something that alone would be taken, and which field and words refuse it.
BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "arm names twice": ({"arms": [*ARMS, ARMS[1]]}, "arms[2].name", "'v2' is there twice"),
    "unknown backend": (
        {"arms": [*ARMS, {"name": "v3", "backend": "nowhere", "version": 3}]},
        "arms[2].backend",
        "no backend 'nowhere'; there are",
    ),
    "version the server does not have": (
        {"arms": [*ARMS, {"name": "v9", "backend": "tfs-a", "version": 9}]},
        "arms[2].version",
        "no version 9 of 'digits'; there are",
    ),
    "control dropped": ({"arms": specified(2, 3)["arms"]}, "control", "must name an arm"),
    "floor × arms": ({"policy": {"floor": 0.3}}, "policy.floor", "floor × arms ≤ 0.5"),
    "another version under a known name": (
        {"arms": [ARMS[0], ARMS[1] | {"version": 4}]},
        "arms[1]",
        "give another servable a name of its own",
    ),
    "another kind of reward": (
        {"objective": {"value_usd": 1e-6, "reward": {"type": "count", "range": [0, 5]}}},
        "objective.reward",
        "rewards were counted by their type, range, window, feedback and event",
    ),
    "unknown field": ({"stop": {"delta": 0.02, "gamma": 1}}, "stop.gamma", ""),
    "no number": ({"objective": {"value_usd": "much"}}, "objective.value_usd", "must be"),
}


async def everything(on: Bench) -> list[Any]:
    """All that a change would leave a trace in."""
    paths = ("/admin/v1/audit", f"{EXPERIMENTS}/digits/history", f"{EXPERIMENTS}/digits/arms", EXPERIMENTS)
    return [(await on.dossier()), *[(await on.call("GET", path)).body for path in paths]]


@pytest.mark.parametrize("how", ["PUT", "PATCH", "PUT ?dryRun=true", "PATCH ?dryRun=true"])
@pytest.mark.parametrize("case", BAD)
async def test_bad_edit_is_refused_and_nothing_of_it_applied(on: Bench, case: str, how: str) -> None:
    change, field, words = BAD[case]
    await on.started(1, 2)
    before = await everything(on)
    method, _, query = how.partition(" ")
    # Beside what is wrong stands something that is right.
    wanted = {"guardrails": [{"metric": "error_ratio", "max": 0.5}]} | change
    body = specified(1, 2) | wanted if method == "PUT" else wanted

    refused = await on.call(method, f"{EXPERIMENTS}/digits{query}", body, If_Match=await on.etag())

    assert (refused.status, refused.label) == (422, "invalid"), refused.body
    found = {error["field"]: error["message"] for error in refused.body["errors"]}
    assert words in found.get(field, f"nothing is said of {field}"), found
    assert await everything(on) == before


@pytest.mark.parametrize("case", [name for name in BAD if not name.startswith("another")])
async def test_bad_experiment_is_not_created(on: Bench, case: str) -> None:
    change, field, _ = BAD[case]

    for query in ("", "?dryRun=true"):
        refused = await on.call("POST", f"{EXPERIMENTS}{query}", specified(1, 2) | change)
        assert refused.status == 422
        assert field in {error["field"] for error in refused.body["errors"]}
    assert (await on.call("GET", EXPERIMENTS)).body == {"experiments": []}
    assert (await on.call("GET", "/admin/v1/audit")).body == {"audit": []}


async def test_model_of_another_experiment_can_not_be_taken_by_an_edit(on: Bench) -> None:
    await on.started(1, 2)
    other = specified(1, 2, name="other", model="letters")
    other["arms"] = [arm | {"model": "digits"} for arm in other["arms"]]
    assert (await on.call("POST", EXPERIMENTS, other)).status == 201

    refused = await on.edit("PATCH", {"model": "digits"}, name="other")

    assert (refused.status, refused.body["errors"][0]["field"]) == (409, "model")
    assert "'digits' has the model 'digits' already" in refused.body["errors"][0]["message"]
    assert (await on.dossier("other")).spec.model == "letters"


async def test_of_two_that_were_created_at_once_for_a_model_one_is_started(on: Bench) -> None:
    await on.started(1, 2)
    twin = await on.dossier()
    document = msgspec.structs.replace(
        twin.document, epoch=7, spec=twin.document.spec | {"name": "twin"}, life=twin.document.life | {"phase": "draft"}
    )
    await on.put(msgspec.structs.replace(twin, name="twin", revision=0, document=document))

    refused = await on.order("start", name="twin")

    assert (refused.status, refused.label) == (409, "state_conflict")
    assert "has the model 'digits' already" in refused.body["detail"]
    assert (await on.dossier("twin")).life.phase == "draft"

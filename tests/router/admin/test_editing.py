"""Specifications are created, edited and deleted whole, by revision, and refused with everything that is wrong."""

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandits.life import Note
from router.admin.editing import merged
from router.config.differences import differences
from tests.router.admin.bench import EXPERIMENTS, Bench, specified


async def test_created_experiment_is_a_draft_at_revision_1(on: Bench) -> None:
    made = await on.call("POST", EXPERIMENTS, specified())

    assert (made.status, made.body["phase"], made.body["revision"]) == (201, "draft", 1)
    assert made.headers["location"] == f"{EXPERIMENTS}/digits"
    shown = await on.call("GET", made.headers["location"])
    assert shown.headers["etag"] == made.headers["etag"]
    assert shown.body["spec"]["arms"][1]["version"] == 2
    assert (await on.call("GET", EXPERIMENTS)).body["experiments"][0]["phase"] == "draft"


def broken(**changes: Any) -> dict[str, Any]:
    return specified(**changes)


TWICE = [{"name": "v1", "backend": "tfs-a", "version": 1}, {"name": "v1", "backend": "tfs-a", "version": 2}]


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        (broken(arms=TWICE), {"arms[1].name": "'v1' is there twice"}),
        (specified(1, 9), {"arms[1].version": "no version 9 of 'digits'; there are 1, 2, 3, 4"}),
        (broken(control="v9"), {"control": "must name an arm"}),
        (broken(policy={"floor": 0.2}), {"policy.floor": "floor × arms ≤ 0.5"}),
        (
            broken(
                arms=[
                    {"name": "v1", "backend": "nowhere", "version": 1},
                    {"name": "V2", "backend": "no", "version": -1},
                ]
            ),
            {
                "arms[0].backend": "no backend 'nowhere'; there are",
                "arms[1].backend": "no backend 'no'",
                "arms[1].name": "must be 1 to 63 of a-z",
                "arms[1].version": "must be at least 0",
            },
        ),
        ({}, {"name": "is missing", "model": "is missing", "arms": "is missing", "objective": "is missing"}),
    ],
)
async def test_bad_specification_is_refused_with_every_field_at_once(
    on: Bench, spec: dict[str, Any], fields: dict[str, str]
) -> None:
    refused = await on.call("POST", EXPERIMENTS, spec)

    assert (refused.status, refused.label) == (422, "invalid")
    found = {error["field"]: error["message"] for error in refused.body["errors"]}
    assert all(words in found[place] for place, words in fields.items()), found
    assert (await on.call("GET", EXPERIMENTS)).body["experiments"] == []


@pytest.mark.parametrize(
    "raw", [b"{", b"[" * 100_000, b'{"name": NaN}', b'"text"', b"\xff", b"1e999", b"[]", b"null", b'{"name": 1e999}']
)
async def test_body_that_is_no_experiment_is_refused(on: Bench, raw: bytes) -> None:
    refused = await on.call("POST", EXPERIMENTS, raw)

    assert refused.status in (400, 422)


async def test_name_and_model_are_taken_once(on: Bench) -> None:
    await on.call("POST", EXPERIMENTS, specified())

    again = await on.call("POST", EXPERIMENTS, specified())
    other = await on.call("POST", EXPERIMENTS, specified(name="digits-2"))

    assert (again.status, again.label) == (409, "state_conflict")
    assert (other.status, other.body["errors"][0]["field"]) == (409, "model")


async def test_edit_wants_the_revision_it_was_made_to(on: Bench) -> None:
    await on.call("POST", EXPERIMENTS, specified())
    first = await on.etag()
    assert (await on.call("PUT", f"{EXPERIMENTS}/digits", specified())).status == 428
    assert (await on.call("DELETE", f"{EXPERIMENTS}/digits")).status == 428

    edited = await on.call("PUT", f"{EXPERIMENTS}/digits", specified(1, 2), If_Match=first)
    assert (edited.status, edited.body["revision"]) == (200, 2)
    assert edited.headers["etag"] != first

    for stale in (first, f"W/{edited.headers['etag']}", '"x"'):
        refused = await on.call("PUT", f"{EXPERIMENTS}/digits", specified(), If_Match=stale)
        assert (refused.status, refused.label) == (412, "stale")


@pytest.mark.parametrize("phase", ["draft", "warmup", "concluded"])
async def test_edit_that_changes_nothing_makes_no_revision(on: Bench, phase: str) -> None:
    await on.call("POST", EXPERIMENTS, specified())
    if phase != "draft":
        await on.order("start")
    if phase == "concluded":
        await on.order("stop")
    before, tag = await on.store.experiments(), await on.etag()
    (history, audit) = [await on.call("GET", path) for path in (f"{EXPERIMENTS}/digits/history", "/admin/v1/audit")]

    for edited in (await on.edit("PUT", specified()), await on.edit("PATCH", {"model": "digits"})):
        assert (edited.status, edited.headers["etag"], edited.body["phase"]) == (200, tag, phase)
        assert f'-{edited.body["revision"]}"' in tag
    assert await on.store.experiments() == before
    assert (await on.call("GET", f"{EXPERIMENTS}/digits/history")).body == history.body
    assert (await on.call("GET", "/admin/v1/audit")).body == audit.body


async def test_patch_changes_what_it_names_and_null_means_the_default(on: Bench) -> None:
    await on.call("POST", EXPERIMENTS, specified(policy={"floor": 0.05, "block": "5m"}))

    patched = await on.edit("PATCH", {"policy": {"floor": 0.02, "block": None}})

    assert patched.status == 200
    policy = (await on.call("GET", f"{EXPERIMENTS}/digits")).body["spec"]["policy"]
    assert (policy["floor"], policy["block"]) == (0.02, "15m")


async def test_experiment_keeps_its_name(on: Bench) -> None:
    await on.call("POST", EXPERIMENTS, specified())

    refused = await on.edit("PUT", specified(name="other"))

    assert refused.body["errors"] == [
        {"field": "name", "message": "is 'digits' in the path: an experiment keeps its name"}
    ]


async def test_arms_that_come_and_go_keep_their_numbers_and_never_another_s(on: Bench) -> None:
    await on.started(1, 2, 3)

    assert (await on.edit("PUT", specified(1, 3, 4))).status == 200
    assert (await on.edit("PUT", specified(4, 2, 1))).status == 200

    arms = (await on.call("GET", f"{EXPERIMENTS}/digits/arms")).body["arms"]
    assert [(arm["name"], arm["number"], arm["dropped"], arm["state"]) for arm in arms] == [
        ("v1", 0, False, "eligible"),
        ("v2", 1, False, "eligible"),
        ("v3", 2, True, "draining"),
        ("v4", 3, False, "warming"),
    ]
    dossier = await on.dossier()
    assert (
        [arm.name for arm in dossier.spec.arms] == [arm.name for arm in dossier.life.arms] == ["v1", "v2", "v3", "v4"]
    )


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"control": "v2"}, "control"),
        ({"model": "other"}, "model"),
        *(
            ({"objective": {"value_usd": 1e-6, "reward": reward}}, "objective.reward")
            for reward in (
                {"window": "1h"},
                {"feedback": "conversions"},
                {"event": "purchase"},
            )
        ),
        ({"policy": {"sticky": True, "segments": ["de", "fr"]}}, "policy.sticky"),
        *(
            ({"policy": {"segments": segments}}, "policy.segments")
            for segments in (["fr", "de"], ["de"], [], ["de", "fr", "it"], ["it", "de", "fr"])
        ),
    ],
)
async def test_what_was_counted_by_can_not_change_once_started(on: Bench, change: dict[str, Any], field: str) -> None:
    segments = {"policy": {"segments": ["de", "fr"]}}
    await on.started(**segments)
    before = await on.dossier()
    change = segments | change
    if "model" in change:
        change = change | {"arms": [{**arm, "model": "digits"} for arm in specified()["arms"]]}

    for method, path in (("PUT", ""), ("PATCH", ""), ("PUT", "?dryRun=true")):
        refused = await on.call(method, f"{EXPERIMENTS}/digits{path}", specified(**change), If_Match=await on.etag())

        assert refused.status == 422
        assert [error["field"] for error in refused.body["errors"]] == [field]
        assert "make another one for a new question" in refused.body["errors"][0]["message"]
    assert await on.dossier() == before


async def test_control_can_not_be_dropped_while_it_runs(on: Bench) -> None:
    await on.started()

    refused = await on.edit("PUT", specified(2, 3))

    assert (refused.status, refused.body["errors"][0]["field"]) == (422, "control")


async def test_arm_s_name_stands_for_one_servable(on: Bench) -> None:
    await on.started(1, 2)
    arms = [specified()["arms"][0], {"name": "v2", "backend": "tfs-a", "version": 4}]

    refused = await on.edit("PUT", specified(arms=arms))

    assert refused.body["errors"][0]["field"] == "arms[1]"
    assert "a name of its own" in refused.body["errors"][0]["message"]


async def test_draft_can_still_change_altogether(on: Bench) -> None:
    await on.call("POST", EXPERIMENTS, specified())

    edited = await on.edit("PUT", specified(4, 2, control="v4"))

    assert edited.status == 200
    assert [arm["name"] for arm in edited.body["arms"]] == ["v4", "v2"]


async def test_decided_experiment_is_not_edited(on: Bench) -> None:
    await on.started()
    await on.order("stop")

    refused = await on.edit("PATCH", {"policy": {"floor": 0.02}})

    assert (refused.status, refused.label) == (409, "state_conflict")


async def test_only_drafts_and_archived_experiments_are_deleted_and_history_stays(on: Bench) -> None:
    await on.started()
    refused = await on.call("DELETE", f"{EXPERIMENTS}/digits", If_Match="*")
    assert refused.status == 409
    assert (await on.order("stop")).status == (await on.order("archive")).status == 200

    assert (await on.call("DELETE", f"{EXPERIMENTS}/digits", If_Match=await on.etag())).status == 204

    assert (await on.call("GET", f"{EXPERIMENTS}/digits")).status == 404
    notes = msgspec.convert((await on.call("GET", f"{EXPERIMENTS}/digits/history")).body["history"], list[Note])
    assert (notes[0].after, notes[-1].why) == ("1", "deleted by local")


async def test_dry_run_shows_the_diff_and_what_would_come_of_it_and_changes_nothing(on: Bench) -> None:
    await on.started(1, 2)
    before = await on.store.experiments()

    shown = await on.call("PUT", f"{EXPERIMENTS}/digits?dryRun=true", specified(1, 2, 3, policy={"floor": 0.05}))

    assert shown.status == 200
    assert [change["field"] for change in shown.body["diff"]] == ["arms.v3", "policy.floor"]
    assert set(shown.body["predicted"]["before"]["shares"]) == {"v1", "v2"}
    after = shown.body["predicted"]["after"]
    assert set(after["shares"]) == {"v1", "v2", "v3"}
    assert sum(after["shares"].values()) == pytest.approx(1.0, abs=1e-6)
    assert min(after["shares"].values()) >= 0.05 - 1e-6
    assert await on.store.experiments() == before


async def test_dry_run_of_a_new_experiment_refuses_what_would_be_refused(on: Bench) -> None:
    shown = await on.call("POST", f"{EXPERIMENTS}?dryRun=true", specified())
    refused = await on.call("POST", f"{EXPERIMENTS}?dryRun=true", specified(1, 9))
    odd = await on.call("POST", f"{EXPERIMENTS}?dryRun=maybe", specified())

    assert (shown.status, shown.body["predicted"]["before"]) == (200, None)
    assert (refused.status, odd.status) == (422, 422)
    assert await on.store.experiments() == []


async def test_writes_at_once_are_all_done_one_after_another(on: Bench) -> None:
    await on.started()
    async with asyncio.TaskGroup() as tasks:
        calls = [
            tasks.create_task(on.call("POST", f"{EXPERIMENTS}/digits/arms/v2:{verb}"))
            for verb in ("drain", "restore") * 4
        ]

    assert {call.result().status for call in calls} <= {200, 409}
    done = sum(call.result().status == 200 for call in calls)
    assert (await on.dossier()).document.revision == 2 + done


documents = st.recursive(
    st.none() | st.integers(0, 3) | st.text("ab", max_size=2),
    lambda inner: st.dictionaries(st.text("xyz", min_size=1, max_size=1), inner, max_size=3),
    max_leaves=8,
)


@given(documents, documents)
def test_merge_patch_is_that_of_rfc_7396(target: Any, patch: Any) -> None:
    once = merged(target, patch)

    assert merged(once, patch) == once
    if isinstance(patch, dict):
        assert all(key not in once for key, value in patch.items() if value is None)
        kept = target if isinstance(target, dict) else {}
        assert all(once[key] == value for key, value in kept.items() if key not in patch)


@given(documents, documents)
def test_differences_are_empty_for_equals_alone(before: Any, after: Any) -> None:
    assert differences({"x": before}, {"x": before}) == ()
    if before != after:
        told = [change.field for change in differences({"x": before}, {"x": after})]
        # A key that is null and one that is not there mean the same.
        assert told or "None" in str((before, after)) or {} in (before, after)


async def test_what_can_not_be_tried_dry_is_refused_and_not_done(on: Bench) -> None:
    await on.started(1, 2)
    before = await on.store.experiments()

    found = await on.call("DELETE", f"{EXPERIMENTS}/digits?dryRun=true")

    assert (found.status, "nothing was done" in str(found.body)) == (422, True)
    assert await on.store.experiments() == before

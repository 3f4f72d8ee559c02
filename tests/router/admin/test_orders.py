"""People's orders: obeyed or refused with the reason, once per key, each with a row in the audit; bypass needs no store."""

import asyncio

import pytest

from router.link import Override
from router.store import Record
from tests.router.admin.bench import EXPERIMENTS, NOW, Bench, specified

ARMS = f"{EXPERIMENTS}/digits/arms"


async def test_order_is_obeyed_and_told_with_who_and_why(on: Bench) -> None:
    await on.started()

    done = await on.order("pause", {"reason": "the disk is full"})

    assert (done.status, done.body["phase"]) == (200, "paused")
    assert done.body["reason"] == "paused by local: the disk is full"
    (*_, row) = (await on.call("GET", "/admin/v1/audit")).body["audit"]
    assert row == {
        "at": NOW,
        "who": "local",
        "role": "admin",
        "what": "pause",
        "experiment": "digits",
        "revision": 3,
        "why": "the disk is full",
        "before": row["before"],
        "after": row["after"],
    }
    assert (row["before"]["phase"], row["after"]["phase"]) == ("running", "paused")


async def test_every_write_has_its_row_and_nothing_else_has(on: Bench) -> None:
    await on.started()
    await on.order("resume")
    await on.order("pause", {"reasons": "unknown field"})
    await on.edit("PATCH", {"policy": {"floor": 0.02}})
    await on.call("POST", f"{ARMS}/v3:drain")

    rows = (await on.call("GET", "/admin/v1/audit")).body["audit"]

    assert [row["what"] for row in rows] == ["create", "start", "patch", "drain v3"]
    assert (rows[0]["before"], rows[2]["before"]["spec"]["policy"]["floor"]) == (None, 0.01)
    assert rows[2]["after"]["spec"]["policy"]["floor"] == 0.02


@pytest.mark.parametrize("verb", ["pause", "resume", "stop", "promote", "rollback", "bypass", "archive"])
async def test_draft_is_only_started(on: Bench, verb: str) -> None:
    await on.call("POST", EXPERIMENTS, specified())

    refused = await on.order(verb, {"arm": "v2"} if verb == "promote" else None)

    assert (refused.status, refused.label) == (409, "state_conflict")
    assert refused.body["detail"].startswith("the experiment is draft")


@pytest.mark.parametrize("path", [f"{EXPERIMENTS}/nope:pause", f"{EXPERIMENTS}/nope:bypass", f"{ARMS}/v9:drain"])
async def test_what_is_not_there_is_not_found(on: Bench, path: str) -> None:
    await on.started()

    assert (await on.call("POST", path)).status == 404


async def test_unknown_verb_is_not_found(on: Bench) -> None:
    await on.started()

    assert (await on.order("explode")).status == 404


async def test_the_whole_life_by_hand(on: Bench) -> None:
    await on.started()

    promoted = await on.order("promote", {"arm": "v2", "reason": "we know better"})
    assert (promoted.body["phase"], promoted.body["winner"], promoted.body["outcome"]) == ("draining", "v2", "replaced")
    back = await on.order("rollback")
    assert (back.body["winner"], back.body["outcome"]) == ("v1", "kept")
    assert {arm["name"]: arm["state"] for arm in back.body["arms"]} == {
        "v1": "eligible",
        "v2": "draining",
        "v3": "draining",
    }
    refused = await on.order("rollback")
    assert (refused.status, refused.body["detail"]) == (409, "v1 serves already")


async def test_rollback_to_a_revision_brings_its_specification_back_as_a_new_one(on: Bench) -> None:
    await on.started(1, 2, policy={"floor": 0.03})
    await on.edit("PUT", specified(1, 2, 3))

    back = await on.order("rollback", {"revision": 2, "reason": "too many arms"})

    assert (back.status, back.body["revision"]) == (200, 4)
    spec = (await on.call("GET", f"{EXPERIMENTS}/digits")).body["spec"]
    assert ([arm["name"] for arm in spec["arms"]], spec["policy"]["floor"]) == (["v1", "v2"], 0.03)
    assert [arm.name for arm in (await on.dossier()).life.arms] == ["v1", "v2", "v3"]


async def test_rollback_to_a_revision_that_never_was_is_refused(on: Bench) -> None:
    await on.started(1, 2)
    before = (await on.dossier()).document.revision

    refused = await on.order("rollback", {"revision": before + 1})

    assert (refused.status, refused.body["detail"]) == (
        404,
        f"there is no revision {before + 1} of 'digits' yet: it is at {before}",
    )
    assert (await on.dossier()).document.revision == before


async def test_promotion_without_an_arm_wants_a_leader(on: Bench) -> None:
    await on.started()

    refused = await on.order("promote")

    assert (refused.status, refused.body["detail"]) == (422, 'no arm leads yet: say which, {"arm": …}')


async def test_arm_is_drained_restored_and_retired_by_hand(on: Bench) -> None:
    await on.started()

    drained = await on.call("POST", f"{ARMS}/v3:drain", {"reason": "slow"})
    restored = await on.call("POST", f"{ARMS}/v3:restore")
    retired = await on.call("POST", f"{ARMS}/v3:retire")
    control = await on.call("POST", f"{ARMS}/v1:drain")

    states = [answer.body["arms"][2]["state"] for answer in (drained, restored, retired)]
    assert states == ["draining", "eligible", "draining"]
    assert (control.status, control.body["detail"]) == (
        409,
        "v1 is control, and serves whenever no other arm can; promote another arm first",
    )


async def test_first_answer_is_given_again_for_the_same_key(on: Bench) -> None:
    await on.started()
    first = await on.order("pause", {"reason": "x"}, Idempotency_Key="k-1")

    again = await on.order("pause", {"reason": "x"}, Idempotency_Key="k-1")
    without = await on.order("pause", {"reason": "x"})
    other = await on.order("pause", {"reason": "y"}, Idempotency_Key="k-1")
    elsewhere = await on.order("resume", {}, Idempotency_Key="k-1")

    assert (again.status, again.body) == (first.status, first.body)
    assert again.headers["idempotent-replayed"] == "true"
    assert without.status == 409
    assert [(one.status, one.label) for one in (other, elsewhere)] == [(422, "key_reused")] * 2


async def test_refusal_is_no_first_answer(on: Bench) -> None:
    await on.started()
    assert (await on.order("resume", {}, Idempotency_Key="k")).status == 409
    await on.order("pause")

    assert (await on.order("resume", {}, Idempotency_Key="k")).status == 200


async def test_creation_is_repeated_by_its_key(on: Bench) -> None:
    first = await on.call("POST", EXPERIMENTS, specified(), Idempotency_Key="made")
    again = await on.call("POST", EXPERIMENTS, specified(), Idempotency_Key="made")

    assert (first.status, again.status, again.body) == (201, 201, first.body)


async def test_first_answers_are_forgotten_after_a_day(on: Bench) -> None:
    await on.started()
    await on.order("pause", {}, Idempotency_Key="k")
    on.clock["now"] += 86_401.0
    await on.order("resume", {}, Idempotency_Key="later")

    assert list((await on.dossier()).document.answers) == ["local:later"]


async def test_if_match_is_heeded_by_orders_too(on: Bench) -> None:
    await on.started()

    assert (await on.order("pause", {}, If_Match='"stale"')).status == 412
    assert (await on.order("pause", {}, If_Match=await on.etag())).status == 200


async def test_bypass_tells_the_workers_first_and_until_which_revision(on: Bench) -> None:
    await on.started()

    done = await on.order("bypass")

    assert (done.status, done.body["bypassed"], done.body["phase"]) == (200, True, "paused")
    assert on.told == [Override("digits", is_on=True), Override("digits", is_on=True, revision=done.body["revision"])]
    assert (await on.order("resume")).body["phase"] == "running"


async def test_bypass_that_is_refused_lets_the_traffic_go_on(on: Bench) -> None:
    await on.call("POST", EXPERIMENTS, specified())

    assert (await on.order("bypass")).status == 409
    assert on.told == [Override("digits", is_on=True), Override("digits", is_on=False)]


async def test_bypass_works_without_the_store_and_reaches_it_later(on: Bench) -> None:
    await on.started()
    await on.store.close()
    here = await on.order("bypass", {"reason": "it burns"})
    assert (here.status, here.body["applied"]) == (202, "here")
    assert on.told == [Override("digits", is_on=True)]

    await on.store.open()
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(on.bypasses.run())
        await on.heard(2)
        waiting.cancel()

    dossier = await on.dossier()
    assert (dossier.life.is_bypassed, dossier.life.reason) == (True, "bypassed by local: it burns")
    assert on.told[1] == Override("digits", is_on=True, revision=dossier.document.revision)


async def test_bypass_the_store_never_heard_of_can_be_ended_without_it(on: Bench) -> None:
    await on.started()
    await on.store.close()
    await on.order("bypass")

    ended = await on.order("resume")
    refused = await on.order("resume")

    assert (ended.status, refused.status) == (202, 503)
    assert on.told[-1] == Override("digits", is_on=False)


async def test_other_orders_need_the_store(on: Bench) -> None:
    await on.started()
    await on.store.close()

    refused = await on.order("pause")

    assert (refused.status, refused.label, refused.headers["retry-after"]) == (503, "store_away", "1")


async def test_bypass_is_not_taken_for_cancelled_while_the_store_is_being_told(on: Bench) -> None:
    await on.started()
    await on.store.close()
    await on.order("bypass")
    await on.store.open()
    asked, go_on = asyncio.Event(), asyncio.Event()
    read = on.store.experiments

    async def slow() -> list[Record]:
        asked.set()
        await go_on.wait()
        return await read()

    on.store.experiments = slow  # type: ignore[method-assign]  # a store that takes its time
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(on.bypasses.run())
        await asyncio.wait_for(asked.wait(), 10.0)
        ended = tasks.create_task(on.bypasses.cancel("digits"))
        # Its turn comes after that of the task.
        asyncio.get_running_loop().call_soon(go_on.set)
        was_here_alone = await ended
        waiting.cancel()

    # Everywhere by now: an order has to end it.
    assert not was_here_alone
    assert (await on.dossier()).life.is_bypassed
    assert all(order.is_on for order in on.told)

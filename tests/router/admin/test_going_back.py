"""An experiment that has ended goes back to an earlier revision: what served then serves, and what it specified holds."""

from collections.abc import AsyncIterator

import pytest

from bandits.experiment import receives, step
from bandits.life import ArmIdle, ArmWarmed, Assessed, Tick, Unloaded
from router.config.document import validate
from router.store import Entry
from tests.router.admin.bench import CONFIG, EXPERIMENTS, MODELS, NOW, Bench, bench, specified
from tests.router.control.world import BACKEND


@pytest.fixture
async def on() -> AsyncIterator[Bench]:
    async with bench() as made:
        yield made


async def settle(on: Bench) -> None:
    """Play the leader: what warms is warm, what drains is idle and unloaded."""
    dossier = await on.dossier()
    life = dossier.life
    for number, arm in enumerate(life.arms):
        if arm.state == "warming":
            life = step(life, ArmWarmed(NOW, number)).life
    for number in range(len(life.arms)):
        life = step(life, ArmIdle(NOW, number)).life
    life = step(life, Tick(NOW + 4e3)).life
    for number in range(len(life.arms)):
        life = step(life, Unloaded(NOW + 4e3, number)).life
    await on.put(dossier.with_life(life))


async def revision(on: Bench) -> int:
    return (await on.dossier()).document.revision


async def standing(on: Bench) -> tuple[str, str | None, dict[str, str]]:
    life = (await on.dossier()).life
    winner = None if life.winner is None else life.arms[life.winner].name
    return life.phase, winner, {arm.name: arm.state for arm in life.arms}


async def test_winner_of_an_earlier_revision_is_loaded_then_serves_and_what_went_out_is_unloaded(on: Bench) -> None:
    await on.started()
    await on.order("promote", {"arm": "v3"})
    await settle(on)
    then = await revision(on)
    await on.order("promote", {"arm": "v2"})
    await settle(on)
    epoch = (await on.dossier()).document.epoch

    back = await on.order("rollback", {"revision": then, "reason": "v2 is worse"})
    assert (back.status, back.body["winner"]) == (200, "v2")
    assert receives((await on.dossier()).life) == (False, True, False)
    await settle(on)

    assert await standing(on) == ("concluded", "v3", {"v1": "retired", "v2": "retired", "v3": "eligible"})
    assert (await on.dossier()).document.epoch == epoch
    last = (await on.call("GET", "/admin/v1/audit")).body["audit"][-1]
    assert (last["what"], last["why"], last["revision"]) == (f"rollback to {then}", "v2 is worse", then + 2)
    told = (await on.call("GET", f"{EXPERIMENTS}/digits/history")).body["history"]
    assert f"back at revision {then}, by local: v2 is worse" in [note["why"] for note in told]


async def test_winner_that_the_experiment_found_by_itself_is_what_served_when_its_revision_was_over(on: Bench) -> None:
    await on.started()
    then = await revision(on)
    dossier = await on.dossier()
    over = Assessed(NOW, 2, (0.1, 0.1, 0.8), is_drained=True, is_over=True)
    await on.put(dossier.with_life(step(dossier.life, over).life))
    await settle(on)
    await on.order("rollback")
    await settle(on)

    await on.order("rollback", {"revision": then})
    await settle(on)

    assert (await standing(on))[1] == "v3"


async def test_revision_without_a_winner_means_control_and_a_dropped_arm_is_an_arm_again(on: Bench) -> None:
    await on.started()
    then = await revision(on)
    await on.edit("PATCH", {"arms": specified(1, 2)["arms"], "policy": {"floor": 0.03}})
    await on.order("promote", {"arm": "v2"})
    await settle(on)

    back = await on.order("rollback", {"revision": then})
    await settle(on)

    assert back.status == 200
    assert await standing(on) == ("concluded", "v1", {"v1": "eligible", "v2": "retired", "v3": "retired"})
    document = (await on.dossier()).document
    assert [arm["name"] for arm in document.spec["arms"]] == ["v1", "v2", "v3"]
    assert document.spec["policy"]["floor"] != 0.03
    # It can be ordered about, as it could then.
    assert (await on.order("promote", {"arm": "v3"})).status == 200


async def test_arm_that_served_and_was_dropped_since_comes_back_under_its_number(on: Bench) -> None:
    await on.started()
    await on.order("promote", {"arm": "v3"})
    await settle(on)
    then = await revision(on)
    # An arm that is new begins the next epoch, in which v3 is only what others are compared with.
    await on.edit("PATCH", {"arms": specified(1, 2, 4)["arms"]})
    await settle(on)
    between = await revision(on)
    await on.order("promote", {"arm": "v4"})
    await settle(on)
    assert (await standing(on))[2]["v3"] == "retired"

    back = await on.order("rollback", {"revision": then})
    await settle(on)

    assert back.status == 200
    dossier = await on.dossier()
    assert await standing(on) == (
        "concluded",
        "v3",
        {"v1": "retired", "v2": "retired", "v3": "eligible", "v4": "retired"},
    )
    assert [arm.name for arm in dossier.life.arms] == ["v1", "v2", "v3", "v4"]
    assert [arm["name"] for arm in dossier.document.spec["arms"]] == ["v1", "v2", "v3"]
    # Between them the control of that epoch served, which is not the one that is specified: v3 serves already.
    again = await on.order("rollback", {"revision": between})
    assert (again.status, (await standing(on))[1]) == (200, "v3")
    assert [arm["name"] for arm in (await on.dossier()).document.spec["arms"]] == ["v1", "v2", "v4"]


async def test_rollback_to_what_is_there_is_refused(on: Bench) -> None:
    await on.started()
    await on.order("promote", {"arm": "v2"})
    await settle(on)
    now = await revision(on)

    refused = await on.order("rollback", {"revision": now})

    assert (refused.status, refused.body["detail"], await revision(on)) == (409, "v2 serves already", now)


async def test_rollback_of_what_was_put_away_is_refused(on: Bench) -> None:
    await on.started()
    await on.order("promote", {"arm": "v2"})
    await settle(on)
    await on.order("archive")

    refused = await on.order("rollback", {"revision": 2})

    assert refused.status == 409
    assert refused.body["detail"].startswith("the experiment is archived")


async def test_draft_whose_arms_never_took_part_or_that_counted_otherwise_is_refused(on: Bench) -> None:
    await on.call("POST", EXPERIMENTS, specified(1, 4))
    await on.edit("PUT", specified(policy={"sticky": True}))
    await on.edit("PUT", specified())
    await on.order("start")
    await on.order("stop")
    await settle(on)

    never = await on.order("rollback", {"revision": 1})
    other = await on.order("rollback", {"revision": 2})

    assert (never.status, never.body["detail"]) == (
        409,
        "revision 1 was a draft with v4, which never took part: make another experiment for it",
    )
    assert (other.status, [one["field"] for one in other.body["errors"]]) == (422, ["policy.sticky"])


async def test_backend_that_is_not_configured_any_more_is_named_and_does_no_harm_to_others() -> None:
    async with bench() as before:
        arms = [*specified(1, 2)["arms"], {"name": "far", "backend": "elsewhere", "version": 1}]
        await before.started(arms=arms)
        then = await revision(before)
        await before.edit("PATCH", {"arms": specified(1, 2)["arms"]})
        between = await revision(before)
        await before.order("promote", {"arm": "v2"})
        await settle(before)
        records, rows = await before.store.experiments(), await before.store.history("/audit", 100)

    kept = {BACKEND: {"target": "tfs:1", "price_usd_per_hour": 0.5, "control": "managed", "models": MODELS}}
    async with bench(validate(type(CONFIG), {"store": "memory:", "backends": kept})) as after:
        entries = tuple(Entry("/audit", row) for row in rows)
        await after.store.save_experiment("digits", records[0].document, 0, None, entries)
        refused = await after.order("rollback", {"revision": then})
        back = await after.order("rollback", {"revision": between})
        await settle(after)

        assert (refused.status, refused.body["errors"][0]["field"]) == (422, "arms[2].backend")
        assert "no backend 'elsewhere'" in refused.body["errors"][0]["message"]
        assert (back.status, (await standing(after))[1]) == (200, "v1")

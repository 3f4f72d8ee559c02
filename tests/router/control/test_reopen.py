"""The next epoch of an experiment that has ended: when it begins, and that nothing of the old one is in it."""

import msgspec
import pytest

from bandits.life import Promote
from router.config.document import validate
from router.config.experiment import Experiment
from router.config.settings import Backend
from router.control.amend import StateConflict, amend
from router.control.dossier import ArmCost, encode
from router.control.learner import refresh
from router.control.seen import Seen
from router.decisions import Mode
from router.snapshot import PARTS
from serving.cost import Line
from tests.router.control.world import BACKEND, EPOCH, World, read_again, spec

NEXT = 77
LINES = (Line(0.001, 0.0002), Line(0.001, 0.0002), Line(0.001, 0.0006))
BACKENDS = {
    name: validate(Backend, {"target": "tfs:1", "price_usd_per_hour": 1.0, "control": "managed", "models": models})
    for name, models in {
        one: {"digits": {"base_path": "/models", "versions": [1, 2, 3, 4]}} for one in (BACKEND, "tfs-g")
    }.items()
}


def clouds(**changes: object) -> World:
    """v2 is best where it is; v3, a little better, is too dear on its cloud."""
    wanted = spec(**changes)  # type: ignore[arg-type]  # sections
    arms = [arm.model_copy(update={"backend": "tfs-g" if arm.name == "v3" else BACKEND}) for arm in wanted.arms]
    world = World(wanted.model_copy(update={"arms": tuple(arms)}), (0.90, 0.93, 0.935), LINES)
    world.prices = {BACKEND: 2.0, "tfs-g": 2.0}
    world.run(lambda world: world.phase == "concluded")
    assert world.dossier.life.winner == 1
    return world


def test_price_that_moves_begins_an_epoch_in_which_nothing_was_counted() -> None:
    world = clouds()
    world.fresh_epoch = NEXT
    for _ in range(5):
        assert world.tick().dossier.document.epoch == EPOCH

    world.prices = {BACKEND: 2.0, "tfs-g": 0.01}
    refreshed = world.tick()

    document, last = refreshed.dossier.document, refreshed.snapshot
    assert (document.epoch, last.epoch, last.former) == (NEXT, NEXT, (EPOCH,))
    assert (refreshed.dossier.life.phase, last.control, last.serving, last.mode) == ("warmup", 1, 1, Mode.WARMUP)
    assert [arm.parts for arm in last.arms] == [0, PARTS, 0]
    assert (document.block_starts, document.numbers, document.since_end) == ((), None, None)
    assert [arm["decisions"] for arm in world.view()["arms"]] == [0, 0, 0]
    told = {note.what: (note.before, note.after) for note in refreshed.notes}
    assert told["epoch"] == (f"{EPOCH:016x}", f"{NEXT:016x}")
    assert all("v3 may be better" in note.why for note in refreshed.notes if note.what in ("phase", "epoch"))
    again = read_again(refreshed.dossier)
    assert (again.life, encode(again.document)) == (refreshed.dossier.life, encode(document))


def test_next_epoch_learns_for_itself_and_has_another_winner() -> None:
    world = clouds()
    world.fresh_epoch = NEXT
    world.prices = {BACKEND: 2.0, "tfs-g": 0.01}
    world.run(lambda world: world.dossier.document.epoch == NEXT, most_s=3)

    world.run(lambda world: world.phase == "concluded")

    assert (world.dossier.life.winner, world.dossier.life.outcome) == (2, "replaced")
    assert world.states() == ["retired", "retired", "eligible"]


@pytest.mark.parametrize("why", ["not asked for", "a person's word", "a price nobody can rely on", "no fresh number"])
def test_price_that_moves_begins_nothing_where_it_may_not(why: str) -> None:
    world = clouds(policy={"hold": "0s"})
    world.fresh_epoch = None if why == "no fresh number" else NEXT
    if why == "not asked for":
        world.dossier = msgspec.structs.replace(
            world.dossier, spec=world.dossier.spec.model_copy(update={"reopen_on": ("drift",)})
        )
    if why == "a person's word":
        world.tick(Promote(world.now, 0))
        world.run(lambda world: world.phase == "concluded" and world.dossier.life.winner == 0)
    if why == "a price nobody can rely on":
        world.warnings = {"tfs-g": "the price is stale"}
    world.prices = {BACKEND: 2.0, "tfs-g": 0.01}

    for _ in range(5):
        world.tick()

    assert (world.dossier.document.epoch, world.phase) == (EPOCH, "concluded")


def test_winner_whose_rewards_fall_is_put_in_question_after_whole_blocks() -> None:
    world = clouds()
    world.fresh_epoch = NEXT
    for _ in range(30):
        world.tick()
    assert world.dossier.document.epoch == EPOCH

    world.rates = (0.90, 0.6, 0.935)
    refreshed = world.run(lambda world: world.dossier.document.epoch == NEXT, most_s=15)

    (why,) = {note.why for note in refreshed.notes if note.what == "epoch"}
    assert why.startswith("drift: arm v2 earned 0.9")


def test_rewards_of_other_events_are_no_drift() -> None:
    world = clouds()
    world.fresh_epoch = NEXT
    for _ in range(30):
        world.tick()
        cell = world.cells[1, world.dossier.document.block]
        for name, kept in (("rewards", "unlearned_rewards"), ("reward_q", "unlearned_reward_q")):
            # As many again, all of them 0.
            count = 1000 * (name == "rewards")
            cell[kept] += count
            cell[f"other_event_{name}"] += count

    assert (world.dossier.document.epoch, world.phase) == (EPOCH, "concluded")


def test_marks_of_a_long_time_after_the_end_are_put_together() -> None:
    world = clouds()
    for _ in range(5 * 200):
        world.tick()

    since = world.dossier.document.since_end
    assert since is not None
    assert len(since.marks) <= 129
    assert since.marks == tuple(sorted(since.marks))


def with_arm(of: World, **changes: object) -> Experiment:
    written = of.dossier.document.spec
    more = {"name": "v4", "backend": BACKEND, "model": "digits", "version": 4}
    return validate(Experiment, {**written, **changes, "arms": [*written["arms"], more]})


def test_arm_that_is_new_begins_an_epoch_and_the_winner_serves_through_its_warm_up() -> None:
    world = clouds()

    document, notes = amend(world.dossier, with_arm(world), BACKENDS, now=world.now, who="ops", fresh_epoch=NEXT)

    assert (document.epoch, [one.epoch for one in document.former]) == (NEXT, [EPOCH])
    assert [arm["name"] for arm in document.arms] == ["v1", "v2", "v3", "v4"]
    assert [arm["state"] for arm in document.life["arms"]] == ["warming"] * 4
    assert document.life["control"] == 1
    assert [note.why for note in notes if note.what == "epoch"] == ["new_arm: v4, by ops"]


def test_other_edits_after_the_end_are_refused_as_before() -> None:
    world = clouds()
    same = validate(Experiment, {**world.dossier.document.spec, "policy": {"floor": 0.02}})

    with pytest.raises(StateConflict, match="concluded"):
        amend(world.dossier, same, BACKENDS, now=world.now, who="ops", fresh_epoch=NEXT)


def test_epoch_that_is_over_is_known_for_as_long_as_its_rewards_may_come() -> None:
    world = clouds()
    world.fresh_epoch, world.prices = NEXT, {BACKEND: 2.0, "tfs-g": 0.01}
    world.run(lambda world: world.dossier.document.epoch == NEXT, most_s=3)
    world.run(lambda world: world.phase == "concluded")

    def former(after_s: float) -> list[int]:
        edited = with_arm(world)
        document, _ = amend(world.dossier, edited, BACKENDS, now=world.now + after_s, who="ops", fresh_epoch=78)
        return [one.epoch for one in document.former]

    assert former(0.0) == [EPOCH, NEXT]
    # The window is 10 s, and clocks may differ by a minute.
    assert former(120.0) == [NEXT]


def test_refresh_of_nothing_at_all_begins_nothing() -> None:
    world = clouds()
    seen = Seen({}, (), world.prices, {}, ())

    assert (
        refresh(world.dossier, seen, version=999, now=world.now + 1, fresh_epoch=NEXT).dossier.document.epoch == EPOCH
    )


def test_arm_that_is_calibrated_anew_after_the_end_is_no_price() -> None:
    world = clouds()
    world.fresh_epoch = NEXT
    world.tick()
    # The machine was busy at the first calibration, say: now v3 seems to take next to nothing.
    world.calibrated = {"v3": ArmCost(1e-6, 1e-6)}

    for _ in range(5):
        world.tick()

    assert (world.dossier.document.epoch, world.phase) == (EPOCH, "concluded")

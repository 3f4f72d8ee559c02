"""Where a model name leads, and that no snapshot goes back."""

from collections.abc import Mapping

import msgspec
import pytest
import structlog

from router.labels import Labels
from router.routes import Live, Routes
from router.snapshot import PARTS, ArmRoute
from serving.errors import ModelNotFound
from serving.upstream import Servable
from tests.router.samples import EPOCH, MODEL, snapshot


def test_newer_snapshot_replaces_an_older_one() -> None:
    routes = Routes({"tfs-a": ()})

    taken = [routes.update(snapshot(version=version)) for version in (7, 7, 6, 8)]

    assert taken == [True, False, False, True]
    assert routes.by_model[MODEL].snapshot.version == routes.by_epoch[EPOCH].snapshot.version == 8


def test_another_epoch_begins_with_any_version_and_rewards_of_the_old_one_are_still_known() -> None:
    routes = Routes({"tfs-a": ()})
    routes.update(snapshot(version=700))

    assert routes.update(snapshot(version=1, epoch=5))
    assert routes.by_model[MODEL].snapshot.epoch == 5
    assert routes.by_epoch.keys() == {EPOCH, 5}


def test_epochs_that_are_over_are_known_while_the_snapshot_names_them() -> None:
    routes = Routes({"tfs-a": ()})
    routes.update(snapshot())
    routes.update(snapshot(epoch=5, former=(EPOCH, 4)))
    known = set(routes.by_epoch)

    routes.update(snapshot(epoch=6, former=(5,)))

    assert known == {EPOCH, 4, 5}
    assert routes.by_epoch.keys() == {5, 6}
    assert {live.snapshot.epoch for live in routes.by_epoch.values()} == {6}


def test_snapshots_of_different_models_stand_side_by_side() -> None:
    routes = Routes({"tfs-a": ()})

    assert routes.update(snapshot())
    assert routes.update(snapshot(name="letters", model="letters", epoch=5, version=1))
    assert routes.by_model.keys() == {MODEL, "letters"}


def test_experiment_on_a_backend_that_is_not_configured_is_left_out_and_said_once() -> None:
    routes = Routes({"tfs-a": ("digits",)})
    arms = (ArmRoute("a", "tfs-a", "digits", 3, PARTS), ArmRoute("b", "tfs-gone", "digits", 1, 0))

    with structlog.testing.capture_logs() as logs:
        taken = [routes.update(snapshot(arms=arms, version=version)) for version in (1, 2, 3)]

    assert taken == [False] * 3
    assert (len(routes.by_model), len(routes.by_epoch)) == (0, 0)
    assert [(line["log_level"], line["experiment"], line["backends"]) for line in logs] == [
        ("error", "digits-2026", ["tfs-gone"])
    ]


def test_live_snapshot_has_running_sums_and_targets_in_the_order_of_the_arms() -> None:
    arms = (ArmRoute("a", "tfs-a", "digits", 3, PARTS // 4), ArmRoute("b", "tfs-b", "digits-b", 1, 3 * PARTS // 4))

    live = Live.of(snapshot(arms=arms))

    assert [split.cumulative for split in live.splits] == [(PARTS // 4, PARTS)]
    assert live.targets == (Servable("tfs-a", "digits", 3), Servable("tfs-b", "digits-b", 1))


def test_model_goes_to_the_backend_that_is_configured_with_it() -> None:
    routes = Routes({"tfs-a": ("digits",), "tfs-b": ("letters", "words")})

    assert [routes.backend_of(model) for model in ("digits", "letters", "words")] == ["tfs-a", "tfs-b", "tfs-b"]
    with pytest.raises(ModelNotFound, match=r"Servable not found for request: Latest\(other\)"):
        routes.backend_of("other")


def test_lone_backend_gets_every_other_model() -> None:
    assert Routes({"tfs-a": ("digits",)}).backend_of("other") == "tfs-a"


LABELS: Mapping[tuple[str, str], Mapping[str, int]] = {
    ("tfs-a", "digits"): {"stable": 3, "old": 1},
    ("tfs-b", "digits-b"): {"new": 4},
}


def labelled(*, has_experiment: bool) -> Routes:
    """Two backends with labels; an experiment on `digits` over both, or none."""
    routes = Routes({"tfs-a": ("digits",), "tfs-b": ("digits-b",)}, Labels(LABELS))
    if has_experiment:
        arms = (ArmRoute("a", "tfs-a", "digits", 3, PARTS), ArmRoute("b", "tfs-b", "digits-b", 1, 0))
        routes.update(snapshot(arms=arms, entry_labels=("entry",)))
    return routes


A, B = Servable("tfs-a", "digits", 3), Servable("tfs-b", "digits-b", 1)


@pytest.mark.parametrize(
    ("version", "label", "places"),
    [
        (None, "", (A,)),
        (None, "entry", (A,)),
        (3, "", (A,)),
        (1, "", (B,)),
        (9, "", (Servable("tfs-a", "digits", 9),)),
        (0, "", (Servable("tfs-a", "digits", 0), A)),
        # A label that is ours leads to its version, and to control while that is not loaded.
        (None, "old", (Servable("tfs-a", "digits", 1), A)),
        (None, "new", (Servable("tfs-b", "digits-b", 4), A)),
        # Whose it is not, the model server may know.
        (None, "nope", (Servable("tfs-a", "digits", None, "nope"),)),
    ],
)
def test_pins_of_an_experiment_lead_to_its_arms_its_labels_or_control(
    version: int | None, label: str, places: tuple[Servable, ...]
) -> None:
    assert labelled(has_experiment=True).places("digits", version, label) == places


@pytest.mark.parametrize(
    ("version", "label", "places"),
    [
        (None, "", (Servable("tfs-a", "digits", None),)),
        (1, "", (Servable("tfs-a", "digits", 1),)),
        (0, "", (Servable("tfs-a", "digits", 0), Servable("tfs-a", "digits", None))),
        (None, "old", (Servable("tfs-a", "digits", 1), Servable("tfs-a", "digits", None))),
        (None, "nope", (Servable("tfs-a", "digits", None, "nope"),)),
    ],
)
def test_without_an_experiment_labels_lead_to_their_version_or_the_latest(
    version: int | None, label: str, places: tuple[Servable, ...]
) -> None:
    assert labelled(has_experiment=False).places("digits", version, label) == places


@pytest.mark.parametrize(
    ("version", "label", "is_entry"),
    [(None, "", True), (None, "entry", True), (0, "", True), (3, "", False), (None, "old", False)],
)
def test_version_zero_is_no_pin_where_no_arm_has_it(version: int | None, label: str, is_entry: bool) -> None:
    live = labelled(has_experiment=True).by_model["digits"]

    assert live.is_entry(version, label) == is_entry


def test_models_are_those_of_backends_and_experiments() -> None:
    assert labelled(has_experiment=True).models() == ["digits", "digits-b"]


def test_arms_whose_rows_depend_on_one_another_are_told_by_backend() -> None:
    routes = Routes({"tfs-a": ()})
    arms = snapshot().arms
    assert routes.apart() == {}

    routes.update(snapshot(arms=(arms[0], msgspec.structs.replace(arms[1], is_merged=False))))

    assert routes.apart() == {"tfs-a": [Servable("tfs-a", MODEL, 2)]}

import logging
import threading
from pathlib import Path

import pytest

from serving import wire
from serving.errors import Code, FailedPrecondition, InvalidArgument, ModelNotFound
from serving.local.config import ModelSource
from serving.local.models import Models, not_available
from serving.local.versions import Step, Version, next_step
from tests.serving.local.stand_in import Loader, configured, put, spec, specific


def states(models: Models, name: str) -> dict[int, str]:
    return {version: wire.STATE_NAMES[state] for version, state, _ in models.status(name, None)}


def served(models: Models, *sources: ModelSource) -> None:
    """Take over a configuration and carry it out."""
    models.replace_config(configured(*sources))
    models.poll()


@pytest.mark.parametrize(
    ("wanted", "serving", "step"),
    [
        ({1, 2, 3}, set(), Step(True, 3)),
        ({1, 2, 3}, {3}, Step(True, 2)),
        ({1, 2}, {1, 2}, None),
        # A wanted one serves: what is unwanted goes first, and its memory with it.
        ({1, 2}, {1, 3}, Step(False, 3)),
        # None does: the new one comes before the last old one goes.
        ({4}, {3}, Step(True, 4)),
        ({4}, {3, 4}, Step(False, 3)),
        (set(), {2, 3}, Step(False, 2)),
    ],
)
def test_next_step_preserves_availability(wanted: set[int], serving: set[int], step: Step | None) -> None:
    versions = {number: Version(number, state=wire.AVAILABLE) for number in serving}

    assert next_step(wanted, versions) == step


def test_version_that_failed_or_is_on_its_way_is_not_loaded_again() -> None:
    versions = {
        1: Version(1, state=wire.END, has_failed=True),
        2: Version(2, state=wire.UNLOADING),
        3: Version(3, state=wire.LOADING),
    }

    assert next_step({1, 2, 3}, versions) is None


def test_version_leaves_and_comes_back(tmp_path: Path) -> None:
    base, loader = put(tmp_path / "digits", 1, 2, 3), Loader()
    models = Models(loader)
    served(models, specific("digits", base, 1, 2, 3))
    served(models, specific("digits", base, 1, 2))

    assert states(models, "digits") == {3: "END", 2: "AVAILABLE", 1: "AVAILABLE"}
    assert loader.closed() == ["digits/3"]
    with pytest.raises(ModelNotFound, match=r"Servable not found for request: Specific\(digits, 3\)"):
        models.use(spec("digits", 3)).__enter__()

    served(models, specific("digits", base, 1, 2, 3))

    assert states(models, "digits") == {3: "AVAILABLE", 2: "AVAILABLE", 1: "AVAILABLE"}


def test_config_changes_versions_only_at_the_next_poll(tmp_path: Path) -> None:
    base = put(tmp_path / "m", 1, 2)
    models = Models(Loader())
    served(models, specific("m", base, 1))

    assert models.replace_config(configured(specific("m", base, 2))) == set()

    assert states(models, "m") == {1: "AVAILABLE"}
    models.poll()
    assert states(models, "m") == {2: "AVAILABLE", 1: "END"}


def test_model_left_out_is_unloaded_and_remembered_and_bystanders_stay(tmp_path: Path) -> None:
    loader = Loader()
    models = Models(loader)
    gone, stays = specific("gone", put(tmp_path / "gone", 1), 1), specific("stays", put(tmp_path / "stays", 5), 5)
    served(models, gone, stays)

    assert models.replace_config(configured(stays, specific("new", tmp_path / "new", 1))) == {"new"}
    models.unload_left_out()

    assert states(models, "gone") == {1: "END"}
    assert states(models, "stays") == {5: "AVAILABLE"}
    assert loader.closed() == ["gone/1"]


def test_call_under_way_finishes_before_its_version_ends(tmp_path: Path) -> None:
    base, loader = put(tmp_path / "m", 1, 2), Loader()
    models = Models(loader)
    served(models, specific("m", base, 1, 2))
    old = loader.loaded[1]
    old.gate.clear()
    errors = list[BaseException]()

    def call() -> None:
        with models.use(spec("m", 1)) as (_, engine):
            try:
                engine.predict(wire.PredictRequest())
            except AssertionError as error:
                errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    assert old.entered.wait(10)

    served(models, specific("m", base, 2))
    assert states(models, "m") == {2: "AVAILABLE", 1: "UNLOADING"}
    # Wanted again while it is still in use: it has to end first.
    served(models, specific("m", base, 1, 2))
    assert states(models, "m") == {2: "AVAILABLE", 1: "UNLOADING"}
    with pytest.raises(ModelNotFound):
        models.use(spec("m", 1)).__enter__()
    assert loader.closed() == []

    old.gate.set()
    thread.join(10)

    assert loader.closed() == ["m/1"]
    assert not errors
    assert states(models, "m") == {2: "AVAILABLE", 1: "END"}
    models.poll()
    assert states(models, "m") == {2: "AVAILABLE", 1: "AVAILABLE"}


def test_failed_load_is_told_and_not_tried_again_until_it_was_unwanted(tmp_path: Path) -> None:
    base = put(tmp_path / "m", 1, 2)
    (base / "2" / "broken").write_text("no graph")
    models = Models(Loader())
    served(models, ModelSource("m", str(base)), specific("other", put(tmp_path / "other", 1), 1))
    version, state, error = models.status("m", 2)[0]

    assert (version, state) == (2, wire.END)
    assert error is not None
    assert (error.code, error.message) == (Code.NOT_FOUND, "no graph")
    assert states(models, "other") == {1: "AVAILABLE"}

    (base / "2" / "broken").unlink()
    models.poll()
    assert states(models, "m") == {2: "END"}
    served(models, specific("m", base, 1))
    served(models, ModelSource("m", str(base)))
    assert states(models, "m") == {2: "AVAILABLE", 1: "END"}
    assert models.status("m", 2)[0][2] is None


def test_old_version_goes_on_while_the_new_one_can_not_be_loaded(tmp_path: Path) -> None:
    base = put(tmp_path / "m", 1)
    models = Models(Loader())
    served(models, ModelSource("m", str(base)))
    put(base, 2)
    (base / "2" / "broken").write_text("no graph")

    models.poll()

    assert states(models, "m") == {2: "END", 1: "AVAILABLE"}


def test_bug_in_loading_ends_that_version_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    base = put(tmp_path / "m", 1, 2)
    (base / "2" / "bug").write_text("")
    models = Models(Loader())

    served(models, specific("m", base, 1, 2))

    assert states(models, "m") == {2: "END", 1: "AVAILABLE"}
    assert "a bug" in str(models.status("m", 2)[0][2])
    assert "load failed" in caplog.text


def test_new_version_on_disk_replaces_the_latest(tmp_path: Path) -> None:
    base = put(tmp_path / "m", 1)
    models = Models(Loader())
    served(models, ModelSource("m", str(base)))
    put(base, 2)

    models.poll()

    assert states(models, "m") == {2: "AVAILABLE", 1: "END"}


def test_base_path_that_is_away_unloads_nothing_and_is_complained_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = put(tmp_path / "m", 1)
    models = Models(Loader())
    served(models, ModelSource("m", str(base)))
    base.rename(tmp_path / "elsewhere")

    with caplog.at_level(logging.WARNING):
        models.poll()
        models.poll()

    assert states(models, "m") == {1: "AVAILABLE"}
    assert len(caplog.records) == 1
    assert "can't be listed: No such file" in caplog.text


@pytest.mark.parametrize(
    ("wanted", "complaint"), [((9,), "versions [9] are wanted"), ((), "No versions of servable m")]
)
def test_missing_versions_are_complained_of(tmp_path: Path, wanted: tuple[int, ...], complaint: str) -> None:
    models = Models(Loader())

    served(models, specific("m", put(tmp_path, *([1] if wanted else [])), *wanted))

    assert complaint in models.complaint("m")
    assert models.unready(["m"]) == {"m": ""}


def test_no_specific_versions_unloads_the_model(tmp_path: Path) -> None:
    base = put(tmp_path / "m", 1, 2)
    models = Models(Loader())
    served(models, specific("m", base, 1, 2))

    served(models, specific("m", base))

    assert states(models, "m") == {2: "END", 1: "END"}
    with pytest.raises(ModelNotFound, match=r"Latest\(m\)"):
        models.use(spec("m")).__enter__()


def test_spec_without_version_means_the_highest_and_labels_are_resolved(tmp_path: Path) -> None:
    base = put(tmp_path / "m", 1, 2, 10)
    models = Models(Loader())
    served(models, specific("m", base, 1, 2, 10))
    models.replace_config(configured(specific("m", base, 1, 2, 10, labels={"stable": 2})))

    for wanted, version in [(spec("m"), 10), (spec("m", 0), 10), (spec("m", 1), 1), (spec("m", label="stable"), 2)]:
        with models.use(wanted) as (used, engine):
            assert used == version
            assert Path(str(getattr(engine, "path", ""))).name == str(version)


def test_unknown_names_are_refused_with_tf_servings_words(tmp_path: Path) -> None:
    models = Models(Loader())
    served(models, specific("m", put(tmp_path, 1), 1))

    for wanted, error, message in [
        (spec(""), InvalidArgument, "ModelSpec has no name specified."),
        (spec("foo"), ModelNotFound, "Servable not found for request: Latest(foo)"),
        (spec("m", 2), ModelNotFound, "Servable not found for request: Specific(m, 2)"),
        (spec("foo", 0), ModelNotFound, "Servable not found for request: Specific(foo, 0)"),
        (spec("m", label="nope"), InvalidArgument, "Unrecognized servable version label: nope"),
        (spec("foo", label="nope"), InvalidArgument, "Unrecognized servable version label: nope"),
    ]:
        with pytest.raises(error) as raised:
            models.use(wanted).__enter__()
        assert raised.value.message == message
    with pytest.raises(ModelNotFound, match="Could not find any versions of model foo"):
        models.status("foo", None)
    with pytest.raises(ModelNotFound, match="Could not find version 5 of model m"):
        models.status("m", 5)


@pytest.mark.parametrize("is_allowed", [False, True])
def test_label_needs_a_version_that_serves(tmp_path: Path, is_allowed: bool) -> None:
    base = put(tmp_path / "m", 1, 2)
    models = Models(Loader(), allow_labels_for_unavailable=is_allowed)
    served(models, specific("m", base, 1, labels={"stable": 1} if is_allowed else {}))
    fresh = configured(specific("m", base, 1, 2, labels={"canary": 2}))
    moved = configured(specific("m", base, 1, 2, labels={"stable": 2}))

    refusal = "Request to assign label to version 2 of model m, which is not currently available for inference"
    if is_allowed:
        models.replace_config(fresh)
        models.replace_config(configured(specific("m", base, 1, labels={"stable": 1})))
    else:
        with pytest.raises(FailedPrecondition, match=refusal):
            models.replace_config(fresh)
        models.replace_config(configured(specific("m", base, 1, labels={"stable": 1})))
    with pytest.raises(FailedPrecondition, match=refusal):
        models.replace_config(moved)

    with models.use(spec("m", label="stable")) as (version, _):
        assert version == 1


def test_unready_models_are_named_with_the_reason(tmp_path: Path) -> None:
    good, bad = put(tmp_path / "good", 1), put(tmp_path / "bad", 3)
    (bad / "3" / "broken").write_text("no graph")
    models = Models(Loader())
    served(models, specific("good", good, 1), specific("bad", bad, 3))

    unready = models.unready(["good", "bad"])

    assert not_available(unready).message == (
        "1 servable(s) did not become available: {{name: bad version: 3 due to error: no graph}, }"
    )


def test_close_unloads_everything(tmp_path: Path) -> None:
    loader = Loader()
    models = Models(loader)
    served(models, specific("a", put(tmp_path / "a", 1, 2), 1, 2), specific("b", put(tmp_path / "b", 1), 1))

    models.close()

    assert loader.closed() == ["a/2", "a/1", "b/1"]

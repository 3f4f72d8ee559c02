"""A model is published where its backend is managed and has a folder for it; the folder never comes from a request."""

from pathlib import Path

import pytest

from router.config.document import BadInput, validate
from router.config.settings import Backend
from router.deploy.publishing import Publishing
from router.deploy.refusals import NoPlace


def backend(**changes: object) -> Backend:
    models = {"digits": {"base_path": "/models/digits", "versions": [1]}}
    document = {"target": "tfs:8500", "price_usd_per_hour": 1.0, "control": "managed", "models": models, **changes}
    return validate(Backend, document)


def publishing(**backends: Backend) -> Publishing:
    paths = {name: {model: files.base_path for model, files in one.models.items()} for name, one in backends.items()}
    return Publishing(backends, paths)


def test_model_lies_under_the_last_part_of_its_base_path() -> None:
    models = {"digits": {"base_path": "/models/hand-digits/", "versions": [1]}}

    spot = publishing(a=backend(publish="/mnt/models", models=models)).find("digits", None)

    assert (spot.backend, spot.place.root, spot.folder) == ("a", Path("/mnt/models"), "hand-digits")


def test_backend_is_named_where_there_are_several() -> None:
    both = publishing(a=backend(publish="/mnt/a"), b=backend(publish="/mnt/b"))

    assert both.find("digits", "b").place.root == Path("/mnt/b")
    assert set(both.places) == {"/mnt/a", "/mnt/b"}
    with pytest.raises(NoPlace, match="is published on a, b: say which"):
        both.find("digits", None)


@pytest.mark.parametrize(
    ("one", "model", "named"),
    [
        (backend(), "digits", None),
        (backend(publish="/mnt/a"), "letters", None),
        (backend(publish="/mnt/a"), "../etc", None),
        (backend(publish="/mnt/a"), "digits", "b"),
    ],
)
def test_what_has_no_place_is_refused(one: Backend, model: str, named: str | None) -> None:
    with pytest.raises(NoPlace, match="can't be published"):
        publishing(a=one).find(model, named)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"publish": "models"}, "must be an absolute path"),
        ({"publish": "/m", "control": "observed"}, "managed backend only"),
    ],
)
def test_folder_that_nothing_could_be_loaded_from_is_refused(changes: dict[str, object], word: str) -> None:
    with pytest.raises(BadInput, match=word):
        backend(**changes)

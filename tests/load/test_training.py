"""The models: trained in a process of their own on real images, exported under one signature."""

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from load.demo import training
from load.demo.plan import PLANS, Folder
from load.demo.processes import ChildFailed
from load.demo.training import NotOurs


# Most of it is importing TensorFlow, up to 10 s, and tracing three graphs.
@pytest.mark.timeout(120)
async def test_three_models_are_trained_and_exported(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "out")
    training.clear(folder)
    text = io.StringIO()

    trained = await training.train(folder, seed=1, console=Console(file=text, width=80), limit_s=110, epochs_max=1)

    assert [one.parameters for one in trained] == [650, 85_352, 2_099_156]
    assert [(folder.models / str(plan.version) / "saved_model.pb").exists() for plan in PLANS] == [True] * 3
    with np.load(folder.held_out) as held_out:
        pixels, digits = held_out["pixels"], held_out["digits"]
    assert pixels.shape == (719, 64)
    assert pixels.dtype == np.float32
    assert set(digits) == set(range(10))
    assert text.getvalue().count("parameters") == 3


async def test_training_that_fails_is_reported_with_its_log(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "out")
    training.clear(folder)

    with pytest.raises(ChildFailed, match="was not done after 0 s"):
        await training.train(folder, seed=1, console=Console(file=io.StringIO()), limit_s=0.2)


def test_folder_of_an_earlier_demo_is_emptied(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "out")
    training.clear(folder)
    folder.report.write_text("{}")
    (folder.models / "9").mkdir()

    training.clear(folder)

    assert not folder.report.exists()
    assert list(folder.models.iterdir()) == []


def test_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")

    with pytest.raises(NotOurs, match="holds other files"):
        training.clear(Folder(tmp_path))

    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_empty_folder_is_taken(tmp_path: Path) -> None:
    training.clear(Folder(tmp_path))

    assert Folder(tmp_path).models.is_dir()

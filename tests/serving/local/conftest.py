"""What needs TensorFlow, made once: the SavedModels and what loads them."""

from collections.abc import Callable
from typing import Any

import pytest

from serving.local.options import EngineOptions
from serving.local.versions import Engine
from tests.serving.local.saved_models import SavedModels, save_models


@pytest.fixture(scope="session")
def saved_models(tmp_path_factory: pytest.TempPathFactory) -> SavedModels:
    tf: Any = pytest.importorskip("tensorflow")
    return save_models(tf, tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def load(saved_models: SavedModels) -> Callable[[str], Engine]:
    """Make a real engine of a version's path."""
    from serving.local import engine  # it imports TensorFlow

    engine.prepare_tensorflow()
    options = EngineOptions(intra_op_threads=1, inter_op_threads=-1)
    return lambda path: engine.SavedModelEngine(path, options)

"""A deployed version joins the experiment on its model; where none takes it, the answer says which there are."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from bandits.life import Phase
from router.admin.desk import Desk
from router.control.dossier import encode
from router.deploy.joining import Joining, MayNotJoin
from router.deploy.place import Place
from router.deploy.publishing import Spot
from router.deploy.refusals import NoPlace
from router.store.memory import MemoryStore
from tests.router.control.world import BACKEND, seeded, spec


def join(folder: Path, phase: Phase, model: str = "digits") -> str:
    """The experiment on digits that is found for version 7 of a model."""
    dossier = seeded(spec(arms=2).model_copy(update={"reopen_on": ()}))
    dossier = dossier.with_life(replace(dossier.life, phase=phase))
    store = MemoryStore()
    joining = Joining(store=store, desk=Desk(store=store, backends={}, unix_now=lambda: 0.0))

    async def found() -> str:
        await store.open()
        await store.save_experiment(dossier.name, encode(dossier.document), 0, None, ())
        return (await joining.experiment_for(Spot(BACKEND, model, Place(folder), model), 7, "v7", None)).name

    return asyncio.run(found())


def test_version_joins_the_experiment_on_its_model(tmp_path: Path) -> None:
    assert join(tmp_path, "running") == "digits"


@pytest.mark.parametrize("phase", ["concluded", "archived"])
def test_experiment_that_takes_no_arm_is_named_with_its_phase(tmp_path: Path, phase: Phase) -> None:
    with pytest.raises(MayNotJoin, match=f"digits is {phase}; make another one"):
        join(tmp_path, phase)


def test_model_without_an_experiment_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(NoPlace, match="there is no experiment that letters could join"):
        join(tmp_path, "running", "letters")

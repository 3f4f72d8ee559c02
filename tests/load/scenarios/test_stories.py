"""Every story is whole: its files are what gateway and model servers accept, and its checks are named once."""

from pathlib import Path

import pytest

from load.demo.plan import Folder, Ports
from load.scenarios import files
from load.scenarios.stories import NAMES, TWO_CLOUDS, story
from router.config import load_config
from serving.model_config import read_config


@pytest.mark.parametrize("name", NAMES)
def test_files_of_a_story_are_accepted(name: str, tmp_path: Path) -> None:
    told, folder = story(name), Folder(tmp_path)

    files.write(told, folder, Ports(9500, model_servers=len(told.clouds)))

    config = load_config(folder.config)
    assert [arm.name for arm in config.experiments[0].arms] == [arm.name for arm in told.arms]
    assert set(config.backends) == {cloud.backend for cloud in told.clouds}
    for cloud in told.clouds:
        read_config(folder.models_of(cloud.backend).read_text())


@pytest.mark.parametrize("name", NAMES)
def test_ports_are_set_aside_for_each_of_its_servers(name: str) -> None:
    assert len(story(name).clouds) == (2 if name in TWO_CLOUDS else 1)


def test_two_servers_take_seven_ports_one_after_the_other() -> None:
    ports = Ports(9500, model_servers=2)

    assert ports.all == tuple(range(9500, 9507))
    assert [ports.of_server(0), ports.of_server(1)] == [(9503, 9504), (9505, 9506)]

"""Train and export a story's models: a process of its own, `python -m load.scenarios.train NAME FOLDER --seed S`."""

import argparse
from pathlib import Path

from load.demo.plan import Folder
from load.demo.train import say, train_all
from load.scenarios.moody import make_moody
from load.scenarios.stories import story


def main() -> None:
    """Read the command line, train, and say progress on stdout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    told, folder = story(options.name), Folder(options.folder)
    train_all(folder, options.seed, say, told.models)
    if told.moody is not None:
        make_moody(folder.models / str(told.moody), folder.mood)
    folder.aside.mkdir()
    for arm in told.later:
        (folder.models / str(arm.version)).rename(folder.aside / str(arm.version))


if __name__ == "__main__":
    main()

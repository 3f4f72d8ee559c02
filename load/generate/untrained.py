"""Writes the largest digits network of the demo as a SavedModel, untrained: how long it takes is all that is measured."""

import sys
from pathlib import Path

import numpy as np

from load.demo.train import build, export


def main() -> int:
    """Write it to the folder that is named."""
    export(build("wide"), Path(sys.argv[1]), np.zeros((1, 64), np.float32))
    return 0


if __name__ == "__main__":
    sys.exit(main())

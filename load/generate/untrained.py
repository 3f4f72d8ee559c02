"""Writes a large digits network as a SavedModel, untrained: how long it takes is all that is measured.

It is the 8.5-million-parameter one of the reference (tf-serving.md, §2.3), dense throughout: a row alone reads as many
weights as a batch does, which is what makes batches pay. The demo's largest is convolutions, of which each row needs
its own.
"""

import sys
from pathlib import Path

import keras
import numpy as np

from load.demo.plan import DIGITS, INPUT, PIXELS
from load.demo.train import export

# 64 x 2048 + 2048 x 4096 + 4096 x 10 weights and their biases: 8.57 million.
_WIDTHS = (2048, 4096)


def main() -> int:
    """Write it to the folder that is named."""
    hidden = [keras.layers.Dense(width, activation="relu") for width in _WIDTHS]
    model = keras.Sequential(
        [keras.Input((PIXELS,), name=INPUT), *hidden, keras.layers.Dense(DIGITS, activation="softmax")]
    )
    export(model, Path(sys.argv[1]), np.zeros((1, PIXELS), np.float32))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Exports small versions of one model: a process of its own, `python -m load.switching.models FOLDER VERSION…`."""

import sys
from pathlib import Path
from typing import Any

import tensorflow as tf

from load.demo.plan import DIGITS, INPUT, OUTPUT, PIXELS


def export(folder: Path) -> None:
    """Write one version: a product of matrices, of tens of microseconds, so that what is measured is the switching."""
    module = tf.Module()
    weights = tf.Variable(tf.ones([PIXELS, DIGITS]) / PIXELS)
    module.weights = weights

    @tf.function(input_signature=[tf.TensorSpec([None, PIXELS], tf.float32, name=INPUT)])  # type: ignore[untyped-decorator]  # TensorFlow publishes no types
    def serve(pixels: Any) -> dict[str, Any]:
        return {OUTPUT: tf.linalg.matmul(pixels, weights)}

    tf.saved_model.save(module, str(folder), signatures={"serving_default": serve})


if __name__ == "__main__":
    for version in sys.argv[2:]:
        export(Path(sys.argv[1]) / version)

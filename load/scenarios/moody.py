"""A model that is as slow as a file says: how an arm falls ill, and gets well, without anybody touching its server."""

import shutil
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.python.data.experimental.ops import testing

from load.demo.plan import INPUT, OUTPUT, PIXELS

# A dataset is asked for its element, and then for the end: it sleeps twice.
_SLEEPS = 2
_US_PER_MS = 1000


class _Moody(tf.Module):  # type: ignore[misc]  # TensorFlow publishes no types
    """The model, asleep for a while before each answer."""

    def __init__(self, inner: Any, mood: Path) -> None:
        super().__init__()
        self.inner = inner
        self._predict = inner.signatures["serving_default"]
        # A variable, for what is read from a constant name is read once, when the graph is optimised.
        self._mood = tf.Variable(str(mood.resolve()), trainable=False)

    @tf.function(input_signature=[tf.TensorSpec([None, PIXELS], tf.float32, name=INPUT)])  # type: ignore[untyped-decorator]  # TensorFlow publishes no types
    def serve(self, pixels: Any) -> dict[str, Any]:
        """Answer, after as many milliseconds as the file says."""
        pause_us = tf.strings.to_number(tf.io.read_file(self._mood), tf.int64) * (_US_PER_MS // _SLEEPS)
        slept = tf.data.Dataset.from_tensors(pixels).apply(testing.sleep(pause_us)).get_single_element()
        return {OUTPUT: self._predict(**{INPUT: tf.ensure_shape(slept, [None, PIXELS])})[OUTPUT]}


def make_moody(path: Path, mood: Path) -> None:
    """Put a moody model in the place of the one at `path`; `mood` gets the milliseconds it takes, 0 for now."""
    mood.write_text("0", encoding="utf-8")
    moody = _Moody(tf.saved_model.load(str(path)), mood)
    beside = path.with_name(f"{path.name}.moody")
    # The same signatures as those that Keras exports: an arm with others is refused.
    tf.saved_model.save(moody, str(beside), signatures={"serve": moody.serve, "serving_default": moody.serve})
    shutil.rmtree(path)
    beside.rename(path)

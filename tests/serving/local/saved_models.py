"""Tiny SavedModels, made with TensorFlow."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class SavedModels:
    """Folders of models.

    half: x/2 + 2, version 123. digits: x times its version, 1, 2 and 3. odd, version 1: see `_save_odd`.
    broken: version 1 loads but no call of it can run, version 2 is empty.
    """

    half: Path
    digits: Path
    odd: Path
    broken: Path


def save_models(tf: Any, base: Path) -> SavedModels:
    """Make them all below `base`."""
    models = SavedModels(base / "half", base / "digits", base / "odd", base / "broken")
    _save_line(tf, models.half / "123", 0.5, 2.0)
    for version in (1, 2, 3):
        _save_line(tf, models.digits / str(version), float(version), 0.0)
    _save_odd(tf, models.odd / "1")

    def read(x: Any) -> dict[str, Any]:
        return {"y": x + tf.cast(tf.strings.length(tf.io.read_file("/nowhere")), tf.float32)}

    function = tf.function(read, input_signature=[tf.TensorSpec([None, 1], tf.float32)])
    _save(tf, models.broken / "1", [], serving_default=function)
    (models.broken / "2").mkdir()
    return models


def _save(tf: Any, path: Path, variables: list[Any], **signatures: Callable[..., Any]) -> None:
    module = tf.Module()
    module.held = variables
    for name, signature in signatures.items():
        setattr(module, name, signature)
    tf.saved_model.save(module, str(path), signatures=signatures)


def _save_line(tf: Any, path: Path, slope: float, intercept: float) -> None:
    a, b = tf.Variable(slope), tf.Variable(intercept)

    def line(x: Any) -> dict[str, Any]:
        return {"y": a * x + b}

    _save(
        tf,
        path,
        [a, b],
        serving_default=tf.function(line, input_signature=[tf.TensorSpec([None, 1], tf.float32, name="x")]),
    )


def _save_odd(tf: Any, path: Path) -> None:
    """Two inputs and outputs; strings; types by the dozen; a call that takes the seconds it is told to."""

    def combine(a: Any, b: Any) -> dict[str, Any]:
        return {"sum": a + b, "difference": a - b}

    def wait(seconds: Any) -> dict[str, Any]:
        end = tf.timestamp() + tf.cast(seconds, tf.float64)
        ended = tf.while_loop(lambda now: now < end, lambda now: [tf.timestamp()], [tf.timestamp()])[0]
        return {"late": tf.cast(ended - end, tf.float32)}

    def upper(text: Any) -> dict[str, Any]:
        return {"upper": tf.strings.upper(text), "first": tf.strings.upper(text)[0]}

    def same(**tensors: Any) -> dict[str, Any]:
        return {f"{name}_out": tf.identity(tensor) for name, tensor in tensors.items()}

    numbers = [tf.int32, tf.int64, tf.float64, tf.bool, tf.uint8, tf.float16, tf.bfloat16]
    spec = tf.TensorSpec([None], tf.float32)
    _save(
        tf,
        path,
        [],
        serving_default=tf.function(combine, input_signature=[spec, spec]),
        wait=tf.function(wait, input_signature=[tf.TensorSpec([], tf.float32)]),
        upper=tf.function(upper, input_signature=[tf.TensorSpec([None], tf.string)]),
        same=tf.function(same).get_concrete_function(
            **{dtype.name: tf.TensorSpec([None], dtype, name=dtype.name) for dtype in numbers}
        ),
    )

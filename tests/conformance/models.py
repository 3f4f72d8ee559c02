"""The models of the conformance suite, made with TensorFlow as TF Serving's own tests describe theirs: y = x/2 + 2 and kin.

TF 1's builder, since only it writes signatures for Classify and Regress.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from serving import wire

VERSION: Final = 123
CLASSIFY: Final = "tensorflow/serving/classify"
REGRESS: Final = "tensorflow/serving/regress"
PREDICT: Final = "tensorflow/serving/predict"


@dataclass(frozen=True, slots=True)
class ModelFolders:
    """Base paths. `half_plus_two` and `half_plus_three` have version 123; `two_signatures` version 1; `lines` version
    n is x times n, for 1, 2 and 3."""

    half_plus_two: Path
    half_plus_three: Path
    two_signatures: Path
    lines: Path


def make_models(base: Path) -> ModelFolders:
    """Make those that are not there yet below `base`."""
    import tensorflow as tf

    folders = ModelFolders(base / "half_plus_two", base / "half_plus_three", base / "two_signatures", base / "lines")
    for path, intercept in ((folders.half_plus_two, 2.0), (folders.half_plus_three, 3.0)):
        _save_half_plus(tf, path / str(VERSION), intercept)
    _save_two_signatures(tf, folders.two_signatures / "1")
    for version in (1, 2, 3):
        _save_line(tf, folders.lines / str(version), float(version))
    return folders


def server_config(folders: ModelFolders, **changes: wire.Message) -> wire.Message:
    """Return the ModelServerConfig that the suite begins with; `changes` replace models by name."""
    models = {
        "default": model_config("default", folders.half_plus_two, VERSION, labels={"stable": VERSION}),
        "default_copy": model_config("default_copy", folders.half_plus_two, VERSION),
        "half_plus_three": model_config("half_plus_three", folders.half_plus_three, VERSION),
        "two_signatures": model_config("two_signatures", folders.two_signatures, 1),
        "lines": model_config("lines", folders.lines, 1, 2, labels={"old": 1}),
    } | changes
    config = wire.ModelServerConfig()
    config.model_config_list.config.extend(models.values())
    return config


def without_labels(config: wire.Message) -> wire.Message:
    """Return the config as a server can take it that has nothing loaded: labels are refused until their version serves."""
    bare = wire.ModelServerConfig()
    bare.CopyFrom(config)
    for model in bare.model_config_list.config:
        model.version_labels.clear()
    return bare


def model_config(name: str, base: Path, *versions: int, labels: dict[str, int] | None = None) -> wire.Message:
    """Return a ModelConfig with these versions."""
    config = wire.ModelConfig(name=name, base_path=str(base), model_platform="tensorflow", version_labels=labels or {})
    config.model_version_policy.specific.versions.extend(versions)
    return config


def _save_half_plus(tf: Any, path: Path, intercept: float) -> None:
    """Write x/2 + intercept, for tensors (Predict) and for Examples (Classify, Regress)."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        a, b = v1.Variable(0.5, name="a"), v1.Variable(intercept, name="b")
        serialized = v1.placeholder(tf.string, [None], name="tf_example")
        features = {name: tf.io.FixedLenFeature([1], tf.float32, [0.0]) for name in ("x", "x2")}
        parsed = tf.io.parse_example(serialized, features)
        x, x2 = tf.identity(parsed["x"], name="x"), tf.identity(parsed["x2"], name="x2")
        y, y3 = tf.add(a * x, b, name="y"), tf.add(a * x2, 3.0, name="y3")
        labels = tf.fill(tf.shape(y), "half")
        session.run(v1.global_variables_initializer())
        _save(
            tf,
            path,
            session,
            serving_default=(PREDICT, {"x": x}, {"y": y}),
            regress_x_to_y=(REGRESS, {"inputs": serialized}, {"outputs": y}),
            regress_x2_to_y3=(REGRESS, {"inputs": x2}, {"outputs": y3}),
            classify_x_to_y=(CLASSIFY, {"inputs": serialized}, {"scores": y}),
            classify_with_labels=(CLASSIFY, {"inputs": serialized}, {"classes": labels, "scores": y}),
        )


def _save_two_signatures(tf: Any, path: Path) -> None:
    """Write what answers 1.0 by default, and 2.0 under `custom_signature_key`."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None], name="x")
        one, two = tf.ones_like(x), 2.0 * tf.ones_like(x)
        pair = {"a": one, "b": two}
        # Variables are what the builder insists on.
        v1.Variable(0.0)
        session.run(v1.global_variables_initializer())
        _save(
            tf,
            path,
            session,
            serving_default=(PREDICT, {"x": x}, {"y": one}),
            custom_signature_key=(PREDICT, {"x": x}, {"y": two}),
            two_outputs=(PREDICT, {"x": x}, pair),
            scalar=(PREDICT, {"x": x}, {"sum": tf.reduce_sum(x), "one": one}),
            texts=(PREDICT, {"x": x}, {"text": tf.strings.as_string(x), "text_bytes": tf.strings.as_string(x)}),
        )


def _save_line(tf: Any, path: Path, slope: float) -> None:
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        a = v1.Variable(slope)
        x = v1.placeholder(tf.float32, [None, 1], name="x")
        y = a * x
        session.run(v1.global_variables_initializer())
        _save(tf, path, session, serving_default=(PREDICT, {"x": x}, {"y": y}))


def _save(tf: Any, path: Path, session: Any, **signatures: tuple[str, dict[str, Any], dict[str, Any]]) -> None:
    """Write the session's graph unless it is there."""
    if path.exists():
        return
    v1 = tf.compat.v1
    info = v1.saved_model.build_tensor_info
    definitions = {
        name: v1.saved_model.build_signature_def(
            {alias: info(tensor) for alias, tensor in inputs.items()},
            {alias: info(tensor) for alias, tensor in outputs.items()},
            method,
        )
        for name, (method, inputs, outputs) in signatures.items()
    }
    builder = v1.saved_model.builder.SavedModelBuilder(str(path))
    builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=definitions)
    builder.save()

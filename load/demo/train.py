"""Train and export the three models: a process of its own, so that TensorFlow's training memory ends with it.

Run as `python -m load.demo.train FOLDER --seed S`. It says how far it is in JSON lines on stdout (see `training.py`).
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from load.demo.plan import BATCH_ROWS, DIGITS, HELD_OUT, INPUT, OUTPUT, PIXELS, PLANS, Folder, ModelPlan

# Keras's own types are unknown to mypy; they stay inside this module.
KerasModel = Any
# A pixel of this set is a count of 0..16 ink marks.
PIXEL_MAX = 16.0
# The same share of the activations is dropped before both dense layers of the small CNN; 0.3 gained it .01 of accuracy.
DROPOUT = 0.3
# The exported graph and Keras's own forward pass may differ by rounding only.
EXPORT_TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True)
class Images:
    """Images [n, 64] of float32 in 0..16 and their digits [n]."""

    pixels: NDArray[np.float32]
    digits: NDArray[np.int64]


def split(seed: int) -> tuple[Images, Images]:
    """Split scikit-learn's bundled digits into (to learn from, held out for the traffic), every digit in proportion."""
    digits = load_digits()
    pixels = digits.data.astype(np.float32)
    learn_x, held_x, learn_y, held_y = train_test_split(
        pixels, digits.target, test_size=HELD_OUT, stratify=digits.target, random_state=seed
    )
    return Images(learn_x, learn_y), Images(held_x, held_y)


def build(network: str) -> KerasModel:
    """Build an untrained network: the same input and output, ever more inside."""
    return keras.Sequential(
        [
            keras.Input((PIXELS,), name=INPUT),
            layers.Rescaling(1 / PIXEL_MAX),
            *_HIDDEN[network](),
            layers.Dense(DIGITS, activation="softmax"),
        ]
    )


def _small() -> list[KerasModel]:
    return [
        layers.Reshape((8, 8, 1)),
        _convolution(16),
        _convolution(32),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dropout(DROPOUT),
        layers.Dense(154, activation="relu"),
        layers.Dropout(DROPOUT),
    ]


def _wide() -> list[KerasModel]:
    return [
        layers.Reshape((8, 8, 1)),
        _convolution(112),
        _convolution(192),
        _convolution(192),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(510, activation="relu"),
    ]


def _convolution(filters: int) -> KerasModel:
    return layers.Conv2D(filters, 3, padding="same", activation="relu")


# 650, 85,352 and 2,099,156 parameters; multiplications per image about 640, 390 thousand and 35 million.
_HIDDEN: dict[str, Callable[[], list[KerasModel]]] = {"linear": list, "small": _small, "wide": _wide}


def train(plan: ModelPlan, images: Images, seed: int, on_step: Callable[[int, int, float], None]) -> KerasModel:
    """Train the model of `plan`; `on_step(steps done, steps, training accuracy)` follows it, about 20 times."""
    keras.utils.set_random_seed(seed)
    model = build(plan.network)
    per_epoch = -(-len(images.pixels) // BATCH_ROWS)
    steps = plan.epochs * per_epoch
    # The rate falls to zero along a cosine: the last epochs settle, and few epochs do.
    rate = keras.optimizers.schedules.CosineDecay(plan.learning_rate, steps)
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    done = 0

    def follow(_batch: int, logs: Mapping[str, float]) -> None:
        nonlocal done
        done += 1
        if done % max(1, steps // 20) == 0 or done == steps:
            on_step(done, steps, float(logs["accuracy"]))

    callback = keras.callbacks.LambdaCallback(on_train_batch_end=follow)
    model.fit(images.pixels, images.digits, epochs=plan.epochs, batch_size=BATCH_ROWS, verbose=0, callbacks=[callback])
    return model


def export(model: KerasModel, path: Path, sample: NDArray[np.float32]) -> int:
    """Export `model` as a SavedModel, call it once through its serving signature, and return its size in bytes.

    Raises RuntimeError when the export answers otherwise than the model.
    """
    # The dictionary names the output: all versions must have one signature, or they could not stand in for another.
    named = keras.Model(model.inputs, {OUTPUT: model.outputs[0]})
    named.export(path, verbose=False)
    serve = tf.saved_model.load(path).signatures["serving_default"]
    answer = serve(**{INPUT: tf.constant(sample)})[OUTPUT].numpy()
    difference = float(np.abs(answer - np.asarray(model(sample, training=False))).max())
    if not difference < EXPORT_TOLERANCE:
        raise RuntimeError(
            f"the export {path} differs from its model by {difference}, at most {EXPORT_TOLERANCE} is rounding"
        )
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def train_all(
    folder: Folder, seed: int, say: Callable[[dict[str, object]], None], plans: Sequence[ModelPlan] = PLANS
) -> None:
    """Train and export versions into `folder`, and put the held-out images beside them."""
    learn, held_out = split(seed)
    np.savez(folder.held_out, pixels=held_out.pixels, digits=held_out.digits)
    for plan in plans:
        _train_one(plan, learn, folder, seed, say)


def _train_one(
    plan: ModelPlan, learn: Images, folder: Folder, seed: int, say: Callable[[dict[str, object]], None]
) -> None:
    started = time.perf_counter()

    def on_step(done: int, steps: int, accuracy: float) -> None:
        say({"version": plan.version, "step": done, "steps": steps, "accuracy": round(accuracy, 4)})

    model = train(plan, learn, seed, on_step)
    size = export(model, folder.models / str(plan.version), learn.pixels[:4])
    seconds = round(time.perf_counter() - started, 2)
    say({"version": plan.version, "parameters": model.count_params(), "bytes": size, "seconds": seconds})


def main() -> None:
    """Read the command line, train, and say progress on stdout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs-max", type=int, help="for trying out")
    options = parser.parse_args()

    plans: Sequence[ModelPlan] = PLANS
    if options.epochs_max is not None:
        plans = tuple(replace(plan, epochs=min(plan.epochs, options.epochs_max)) for plan in PLANS)
    train_all(Folder(options.folder), options.seed, say, plans)


def say(event: dict[str, object]) -> None:
    """Write one line of JSON for whoever started us."""
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

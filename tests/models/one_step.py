"""Each family's forward pass and one training step, on the backend this process has.

`python one_step.py given.npz results.npz` reads images and weights by model, and writes what `run` returns.
"""

import sys

import numpy as np

import kzoo
from kzoo.backend import keras
from kzoo.models.registry import FAMILIES

MODELS = [*(cards[0].name for cards in FAMILIES.values()), "inception_v1_bn"]
RATE = 0.01


def build(name):
    """The model for small images, without dropout, whose masks each backend draws in its own way."""
    shape = (28, 28, 1) if name == "mnist_net" else (32, 32, 3)
    return kzoo.create_model(name, input_shape=shape, classes=10, classifier_activation=None, dropout=0)


def run(name, images, weights):
    """The logits before the step, the loss in it, and by how much it moved each weight."""
    # Drawing weights that are replaced at once takes JAX most of the time.
    with keras.StatelessScope(initialize_variables=keras.backend.backend() != "jax"):
        model = build(name)
    keras.utils.clear_session()
    model.set_weights(weights)
    logits = model.predict_on_batch(images)
    model.compile(keras.optimizers.SGD(RATE), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    loss = model.train_on_batch(images, np.arange(len(images)) % 10)
    moved = {w.path: np.asarray(w) - before for w, before in zip(model.weights, weights, strict=True)}
    return {"logits": logits, "loss": np.asarray(loss), **moved}


def main(given, results):
    """Run all models."""
    found = {}
    with np.load(given) as arrays:
        for name in MODELS:
            weights = [arrays[key] for key in arrays if key.startswith(f"{name}:weight")]
            for key, value in run(name, arrays[f"{name}:images"], weights).items():
                found[f"{name}:{key}"] = value
    np.savez(results, **found)
    print(keras.backend.backend())


if __name__ == "__main__":
    main(*sys.argv[1:])

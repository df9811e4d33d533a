"""What plain keras-tuner does on this stack: prints what was found, as JSON."""

import contextlib
import io
import json
import sys
import tempfile

import numpy as np


class WithoutTensorboard:
    """As a plain TensorFlow 2.21 is installed: tensorboard cannot be imported."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "tensorboard":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


if "bare" in sys.argv[1]:
    sys.meta_path.insert(0, WithoutTensorboard())

import keras  # noqa: E402 - after what hides tensorboard
import keras_tuner  # noqa: E402

policies = []


def build(hp):
    policies.append(keras.config.dtype_policy().name)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.compile(keras.optimizers.SGD(hp.Choice("rate", [0.1, 0.2, 0.3])), "mse", metrics=["mae"])
    return model


def search(tuner):
    inputs, targets = np.ones((8, 4), "float32"), np.zeros((8, 2), "float32")
    tuner.search(inputs, targets, validation_data=(inputs, targets), verbose=0)


def message(function):
    """How a call fails: the error's type and text, or None."""
    try:
        function()
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:500]
    return None


def bare(folder):
    """Two trials without tensorboard, and what is asked of them afterwards."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    tuner = keras_tuner.RandomSearch(build, "val_loss", max_trials=2, directory=folder)
    before, outcome = policies[-1], message(lambda: search(tuner))
    return {
        "search": outcome,
        "trials": {trial.status: trial.message.strip().splitlines()[-1] for trial in tuner.oracle.trials.values()},
        "get_best_models": message(tuner.get_best_models),
        "policy before": before,
        "policy in trials": policies[-1],
    }


def objective(folder):
    return message(lambda: keras_tuner.RandomSearch(build, "val_top5", directory=folder))


def grid(folder):
    """How many of three combinations a grid search tries: in one go, and when it is stopped after the first one."""
    found = {}
    for name, pieces in {"in one go": [3], "resumed": [1, 3]}.items():
        for trials in pieces:
            tuner = keras_tuner.GridSearch(
                build, "val_loss", max_trials=trials, directory=folder, project_name=name.replace(" ", "-")
            )
            search(tuner)
        found[name] = len(tuner.oracle.trials)
    return found


if __name__ == "__main__":
    results = {}
    for name in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            results[name] = globals()[name](folder)
    print(json.dumps(results))

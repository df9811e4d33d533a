"""Files of weights as keras.applications publishes them, written by Keras's own writer of that format."""

import contextlib
import inspect
import sys
import warnings

import h5py
import numpy as np
from keras.src.legacy.saving import legacy_h5_format
from keras.src.utils import file_utils

from kzoo.backend import keras


def build(name, size=None, *, include_top=True, **arguments):
    """Keras's model without weights, whose numbers are random: also those that are 0 or 1 at first."""
    shape = {} if size is None else {"input_shape": (size, size, 3)}
    model = getattr(keras.applications, name)(weights=None, include_top=include_top, **shape, **arguments)
    random = np.random.default_rng(0)
    for weight in model.weights:
        value = np.asarray(weight)
        if value.dtype.kind == "f":
            positive = "variance" in weight.path or "gamma" in weight.path
            noise = random.uniform(0.5, 1.5, value.shape) if positive else value + random.normal(0, 0.02, value.shape)
            weight.assign(noise)
    return model


def write(model, path):
    """Write weights by the layers' order and names."""
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)
    return path


def load_by_keras(name, path, shape, *, include_top, monkeypatch):
    """What `keras.applications` makes of the file, if it is the one that it downloads."""
    monkeypatch.setattr(file_utils, "get_file", lambda *_, **__: str(path))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*`rows` is not")  # of MobileNets
        return getattr(keras.applications, name)(weights="imagenet", include_top=include_top, input_shape=shape)


def preprocess_by_keras(name, images):
    """What the module of a model says is to be done to its images."""
    module = sys.modules[inspect.unwrap(getattr(keras.applications, name)).__module__]
    return module.preprocess_input(images.copy())


@contextlib.contextmanager
def what_keras_asks_for(monkeypatch):
    """Collect the name, address and hash of each file that Keras would download."""
    asked = []

    def get_file(name, origin, file_hash=None, **_):
        asked.append((name, origin, file_hash))
        raise LookupError

    with monkeypatch.context() as patch:
        patch.setattr(file_utils, "get_file", get_file)
        yield asked

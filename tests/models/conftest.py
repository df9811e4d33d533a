"""What the tests of the models share."""

import contextlib

import pytest


@pytest.fixture
def shapes_only():
    """A context in which models are built without their weights: VGG's half gigabyte takes no time and no memory."""
    from kzoo.backend import keras

    @contextlib.contextmanager
    def scope():
        with keras.StatelessScope(initialize_variables=False):
            yield
        keras.utils.clear_session()  # or the next layer to be built would make Keras fill them in

    return scope

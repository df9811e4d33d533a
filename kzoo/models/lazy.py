"""Keras and its layers for the files of the families, imported when the first model is built.

So the cards in those files can be read without Keras.
"""

from typing import Any


class _Keras:
    def __getattr__(self, name):
        from kzoo.backend import keras

        return getattr(keras, name)


class _Layers:
    """kzoo's layers, and Keras's where kzoo has none of that name."""

    def __getattr__(self, name):
        from kzoo import layers
        from kzoo.backend import keras

        return getattr(layers if hasattr(layers, name) else keras.layers, name)


keras: Any = _Keras()
layers: Any = _Layers()

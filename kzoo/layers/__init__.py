"""The layers Keras lacks or gets wrong, with Keras's argument names and conventions."""

from kzoo.layers.batch_normalization import BatchNormalization

__all__ = ["BatchNormalization"]

"""The layers Keras lacks or gets wrong, with Keras's argument names and conventions."""

from kzoo.layers.batch_normalization import BatchNormalization
from kzoo.layers.random_affine import RandomAffine

__all__ = ["BatchNormalization", "RandomAffine"]

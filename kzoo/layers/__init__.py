"""The layers Keras lacks or gets wrong, with Keras's argument names and conventions."""

from kzoo.layers.batch_normalization import BatchNormalization
from kzoo.layers.channels import PadChannels, ReverseChannels
from kzoo.layers.random_affine import RandomAffine

__all__ = ["BatchNormalization", "PadChannels", "RandomAffine", "ReverseChannels"]

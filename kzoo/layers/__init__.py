"""The layers Keras lacks or gets wrong, with Keras's argument names and conventions."""

from kzoo.layers.batch_normalization import BatchNormalization
from kzoo.layers.channels import PadChannels, ReverseChannels
from kzoo.layers.convolution import Conv2D
from kzoo.layers.cutmix import CutMix
from kzoo.layers.image_augmentation import ImageAugmentation
from kzoo.layers.local_response_normalization import LocalResponseNormalization
from kzoo.layers.mixup import MixUp
from kzoo.layers.rand_augment import RandAugment
from kzoo.layers.random_affine import RandomAffine
from kzoo.layers.random_color_jitter import RandomColorJitter
from kzoo.layers.random_crop import RandomCrop
from kzoo.layers.random_erasing import RandomErasing
from kzoo.layers.random_resized_crop import RandomResizedCrop
from kzoo.layers.trivial_augment import TrivialAugment

__all__ = [
    "BatchNormalization",
    "Conv2D",
    "CutMix",
    "ImageAugmentation",
    "LocalResponseNormalization",
    "MixUp",
    "PadChannels",
    "RandAugment",
    "RandomAffine",
    "RandomColorJitter",
    "RandomCrop",
    "RandomErasing",
    "RandomResizedCrop",
    "ReverseChannels",
    "TrivialAugment",
]

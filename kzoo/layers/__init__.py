"""The layers Keras lacks or gets wrong, with Keras's argument names and conventions.

Those of augmentation are defined in `kzoo.augment`; a Keras user looks for all of them here.
"""

from kzoo.augment.cutmix import CutMix
from kzoo.augment.image_augmentation import ImageAugmentation
from kzoo.augment.mixup import MixUp
from kzoo.augment.rand_augment import RandAugment
from kzoo.augment.random_affine import RandomAffine
from kzoo.augment.random_color_jitter import RandomColorJitter
from kzoo.augment.random_crop import RandomCrop
from kzoo.augment.random_erasing import RandomErasing
from kzoo.augment.random_resized_crop import RandomResizedCrop
from kzoo.augment.trivial_augment import TrivialAugment
from kzoo.layers.batch_normalization import BatchNormalization
from kzoo.layers.channels import PadChannels, ReverseChannels
from kzoo.layers.convolution import Conv2D
from kzoo.layers.local_response_normalization import LocalResponseNormalization

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

"""Augmentation: policies, the layers that they are made of, and pictures of what they do.

Names are imported on first use; the names of policies need no TensorFlow.
"""

from typing import TYPE_CHECKING

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "cutmix": ["CutMix"],
        "image_augmentation": ["ImageAugmentation"],
        "mixup": ["MixUp"],
        "policies": [
            "POLICIES",
            "RECOMMENDED",
            "Policy",
            "base_name",
            "check_name",
            "describe",
            "layer_seeds",
            "policy",
            "recommended",
            "title",
        ],
        "rand_augment": ["RandAugment"],
        "random_affine": ["RandomAffine"],
        "random_color_jitter": ["RandomColorJitter"],
        "random_crop": ["RandomCrop"],
        "random_erasing": ["RandomErasing"],
        "random_resized_crop": ["RandomResizedCrop"],
        "trivial_augment": ["TrivialAugment"],
    },
)

if TYPE_CHECKING:
    from kzoo.augment.policies import POLICIES as POLICIES
    from kzoo.augment.policies import RECOMMENDED as RECOMMENDED
    from kzoo.augment.policies import Policy as Policy
    from kzoo.augment.policies import base_name as base_name
    from kzoo.augment.policies import check_name as check_name
    from kzoo.augment.policies import describe as describe
    from kzoo.augment.policies import layer_seeds as layer_seeds
    from kzoo.augment.policies import policy as policy
    from kzoo.augment.policies import recommended as recommended
    from kzoo.augment.policies import title as title

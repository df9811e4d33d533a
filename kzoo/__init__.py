"""kzoo: the classic CNNs for Keras 3, with data, training and evaluation that are right.

Names are imported on first use: `import kzoo` and `kzoo.list_models()` import neither TensorFlow nor Keras.
"""

from typing import TYPE_CHECKING

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["augment", "data", "layers", "models", "train"],
    submod_attrs={
        "models.inception": ["InceptionV1", "InceptionV1BN"],
        "models.mnist": ["MNISTNet"],
        "models.registry": ["create_model", "list_models"],
        "models.vgg": ["VGG11", "VGG11BN", "VGG13", "VGG13BN", "VGG16", "VGG16BN", "VGG19", "VGG19BN"],
        "prediction": ["predict"],
        "saving": ["load_model"],
    },
)

if TYPE_CHECKING:
    from kzoo import augment as augment
    from kzoo import data as data
    from kzoo import layers as layers
    from kzoo import models as models
    from kzoo import train as train
    from kzoo.models.inception import InceptionV1 as InceptionV1
    from kzoo.models.inception import InceptionV1BN as InceptionV1BN
    from kzoo.models.mnist import MNISTNet as MNISTNet
    from kzoo.models.registry import create_model as create_model
    from kzoo.models.registry import list_models as list_models
    from kzoo.models.vgg import VGG11 as VGG11
    from kzoo.models.vgg import VGG11BN as VGG11BN
    from kzoo.models.vgg import VGG13 as VGG13
    from kzoo.models.vgg import VGG13BN as VGG13BN
    from kzoo.models.vgg import VGG16 as VGG16
    from kzoo.models.vgg import VGG16BN as VGG16BN
    from kzoo.models.vgg import VGG19 as VGG19
    from kzoo.models.vgg import VGG19BN as VGG19BN
    from kzoo.prediction import predict as predict
    from kzoo.saving import load_model as load_model

"""kzoo: the classic CNNs for Keras 3, with data, training and evaluation that are right.

Names are imported on first use: `import kzoo` and `kzoo.list_models()` import neither TensorFlow nor Keras.
"""

from typing import TYPE_CHECKING

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["augment", "data", "graph", "layers", "models", "search", "train", "transfer", "weights"],
    submod_attrs={
        "graph.description": ["describe"],
        "graph.endpoints": ["feature_extractor"],
        "models.inception": ["InceptionV1", "InceptionV1BN"],
        "models.mnist": ["MNISTNet"],
        "models.registry": ["create_model", "list_models"],
        "models.resnet": [
            "ResNet18",
            "ResNet34",
            "ResNet50",
            "ResNet101",
            "ResNet152",
            "ResNet50V1_5",
            "ResNet101V1_5",
            "ResNet152V1_5",
            "ResNeXt50",
            "ResNeXt101",
            "WideResNet50",
            "WideResNet101",
            "Plain18",
            "Plain34",
        ],
        "models.resnet_cifar": [
            "ResNet20CIFAR",
            "ResNet32CIFAR",
            "ResNet44CIFAR",
            "ResNet56CIFAR",
            "ResNet110CIFAR",
            "Plain20CIFAR",
            "Plain32CIFAR",
            "Plain44CIFAR",
            "Plain56CIFAR",
        ],
        "models.resnet_v2": ["ResNet50V2", "ResNet101V2", "ResNet152V2"],
        "models.vgg": ["VGG11", "VGG11BN", "VGG13", "VGG13BN", "VGG16", "VGG16BN", "VGG19", "VGG19BN"],
        "prediction": ["predict"],
        "saving": ["load_model"],
        "weights.registry": ["list_weights"],
    },
)

if TYPE_CHECKING:
    from kzoo import augment as augment
    from kzoo import data as data
    from kzoo import graph as graph
    from kzoo import layers as layers
    from kzoo import models as models
    from kzoo import search as search
    from kzoo import train as train
    from kzoo import transfer as transfer
    from kzoo import weights as weights
    from kzoo.graph.description import describe as describe
    from kzoo.graph.endpoints import feature_extractor as feature_extractor
    from kzoo.models.inception import InceptionV1 as InceptionV1
    from kzoo.models.inception import InceptionV1BN as InceptionV1BN
    from kzoo.models.mnist import MNISTNet as MNISTNet
    from kzoo.models.registry import create_model as create_model
    from kzoo.models.registry import list_models as list_models
    from kzoo.models.resnet import Plain18 as Plain18
    from kzoo.models.resnet import Plain34 as Plain34
    from kzoo.models.resnet import ResNet18 as ResNet18
    from kzoo.models.resnet import ResNet34 as ResNet34
    from kzoo.models.resnet import ResNet50 as ResNet50
    from kzoo.models.resnet import ResNet50V1_5 as ResNet50V1_5
    from kzoo.models.resnet import ResNet101 as ResNet101
    from kzoo.models.resnet import ResNet101V1_5 as ResNet101V1_5
    from kzoo.models.resnet import ResNet152 as ResNet152
    from kzoo.models.resnet import ResNet152V1_5 as ResNet152V1_5
    from kzoo.models.resnet import ResNeXt50 as ResNeXt50
    from kzoo.models.resnet import ResNeXt101 as ResNeXt101
    from kzoo.models.resnet import WideResNet50 as WideResNet50
    from kzoo.models.resnet import WideResNet101 as WideResNet101
    from kzoo.models.resnet_cifar import Plain20CIFAR as Plain20CIFAR
    from kzoo.models.resnet_cifar import Plain32CIFAR as Plain32CIFAR
    from kzoo.models.resnet_cifar import Plain44CIFAR as Plain44CIFAR
    from kzoo.models.resnet_cifar import Plain56CIFAR as Plain56CIFAR
    from kzoo.models.resnet_cifar import ResNet20CIFAR as ResNet20CIFAR
    from kzoo.models.resnet_cifar import ResNet32CIFAR as ResNet32CIFAR
    from kzoo.models.resnet_cifar import ResNet44CIFAR as ResNet44CIFAR
    from kzoo.models.resnet_cifar import ResNet56CIFAR as ResNet56CIFAR
    from kzoo.models.resnet_cifar import ResNet110CIFAR as ResNet110CIFAR
    from kzoo.models.resnet_v2 import ResNet50V2 as ResNet50V2
    from kzoo.models.resnet_v2 import ResNet101V2 as ResNet101V2
    from kzoo.models.resnet_v2 import ResNet152V2 as ResNet152V2
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
    from kzoo.weights.registry import list_weights as list_weights

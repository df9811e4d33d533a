import typing

from . import augment as augment
from . import data as data
from . import deploy as deploy
from . import ensemble as ensemble
from . import graph as graph
from . import layers as layers
from . import models as models
from . import robustness as robustness
from . import search as search
from . import train as train
from . import transfer as transfer
from . import weights as weights
from .graph.description import describe as describe
from .graph.endpoints import feature_extractor as feature_extractor
from .models.registry import create_model as create_model
from .models.registry import list_models as list_models
from .prediction import predict as predict
from .saving import load_model as load_model
from .weights.registry import list_weights as list_weights

class _Constructor(typing.Protocol):
    """`create_model` of one model."""

    def __call__(
        self,
        *,
        weights: typing.Any = None,
        classes: int | None = None,
        input_shape: typing.Sequence[int | None] | None = None,
        include_top: bool = True,
        pooling: str | None = None,
        dropout: float | None = None,
        classifier_activation: str | None = "softmax",
        include_preprocessing: bool = True,
        auxiliary_heads: bool = False,
    ) -> typing.Any: ...

# Constructors
MNISTNet: _Constructor
VGG11: _Constructor
VGG13: _Constructor
VGG16: _Constructor
VGG19: _Constructor
VGG11BN: _Constructor
VGG13BN: _Constructor
VGG16BN: _Constructor
VGG19BN: _Constructor
InceptionV1: _Constructor
InceptionV1BN: _Constructor
ResNet18: _Constructor
ResNet34: _Constructor
ResNet50: _Constructor
ResNet101: _Constructor
ResNet152: _Constructor
ResNet50V1_5: _Constructor
ResNet101V1_5: _Constructor
ResNet152V1_5: _Constructor
ResNeXt50: _Constructor
ResNeXt101: _Constructor
WideResNet50: _Constructor
WideResNet101: _Constructor
Plain18: _Constructor
Plain34: _Constructor
ResNet50V2: _Constructor
ResNet101V2: _Constructor
ResNet152V2: _Constructor
ResNet18V2: _Constructor
ResNet34V2: _Constructor
ResNet20CIFAR: _Constructor
ResNet32CIFAR: _Constructor
ResNet44CIFAR: _Constructor
ResNet56CIFAR: _Constructor
ResNet110CIFAR: _Constructor
Plain20CIFAR: _Constructor
Plain32CIFAR: _Constructor
Plain44CIFAR: _Constructor
Plain56CIFAR: _Constructor

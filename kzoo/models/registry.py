"""The models of the zoo by name. Looking them up imports neither Keras nor TensorFlow; building one does."""

import fnmatch
import importlib

from kzoo.errors import unknown

BUILDERS = {
    "mnist_net": "kzoo.models.mnist:MNISTNet",
    "vgg11": "kzoo.models.vgg:VGG11",
    "vgg13": "kzoo.models.vgg:VGG13",
    "vgg16": "kzoo.models.vgg:VGG16",
    "vgg19": "kzoo.models.vgg:VGG19",
    "vgg11_bn": "kzoo.models.vgg:VGG11BN",
    "vgg13_bn": "kzoo.models.vgg:VGG13BN",
    "vgg16_bn": "kzoo.models.vgg:VGG16BN",
    "vgg19_bn": "kzoo.models.vgg:VGG19BN",
    "inception_v1": "kzoo.models.inception:InceptionV1",
    "inception_v1_bn": "kzoo.models.inception:InceptionV1BN",
    "resnet18": "kzoo.models.resnet:ResNet18",
    "resnet34": "kzoo.models.resnet:ResNet34",
    "resnet50": "kzoo.models.resnet:ResNet50",
    "resnet101": "kzoo.models.resnet:ResNet101",
    "resnet152": "kzoo.models.resnet:ResNet152",
    "resnet50_v1_5": "kzoo.models.resnet:ResNet50V1_5",
    "resnet101_v1_5": "kzoo.models.resnet:ResNet101V1_5",
    "resnet152_v1_5": "kzoo.models.resnet:ResNet152V1_5",
    "resnext50_32x4d": "kzoo.models.resnet:ResNeXt50",
    "resnext101_32x8d": "kzoo.models.resnet:ResNeXt101",
    "wide_resnet50_2": "kzoo.models.resnet:WideResNet50",
    "wide_resnet101_2": "kzoo.models.resnet:WideResNet101",
    "plain18": "kzoo.models.resnet:Plain18",
    "plain34": "kzoo.models.resnet:Plain34",
    "resnet50_v2": "kzoo.models.resnet_v2:ResNet50V2",
    "resnet101_v2": "kzoo.models.resnet_v2:ResNet101V2",
    "resnet152_v2": "kzoo.models.resnet_v2:ResNet152V2",
    "resnet20_cifar": "kzoo.models.resnet_cifar:ResNet20CIFAR",
    "resnet32_cifar": "kzoo.models.resnet_cifar:ResNet32CIFAR",
    "resnet44_cifar": "kzoo.models.resnet_cifar:ResNet44CIFAR",
    "resnet56_cifar": "kzoo.models.resnet_cifar:ResNet56CIFAR",
    "resnet110_cifar": "kzoo.models.resnet_cifar:ResNet110CIFAR",
    "plain20_cifar": "kzoo.models.resnet_cifar:Plain20CIFAR",
    "plain32_cifar": "kzoo.models.resnet_cifar:Plain32CIFAR",
    "plain44_cifar": "kzoo.models.resnet_cifar:Plain44CIFAR",
    "plain56_cifar": "kzoo.models.resnet_cifar:Plain56CIFAR",
}

# Which models by default take which (height, width, channels) and tell apart how many classes; the first match counts.
DEFAULTS = {
    "mnist_net": ((28, 28, 1), 10),
    "*_cifar": ((32, 32, 3), 10),
    "*": ((224, 224, 3), 1000),
}

# Which models take images of one size only: their classifier reads every place of the feature map by itself.
OF_ONE_SIZE = ("mnist_net", "vgg*")


def defaults(name: str) -> tuple[tuple[int, int, int], int]:
    """The default input shape and number of classes of a model.

    >>> defaults("mnist_net")
    ((28, 28, 1), 10)
    """
    check_name(name)
    return next(values for pattern, values in DEFAULTS.items() if fnmatch.fnmatchcase(name, pattern))


def takes_any_size(name: str) -> bool:
    """Whether the weights of a model, its classifier included, fit images of any size.

    >>> takes_any_size("resnet18"), takes_any_size("vgg16")
    (True, False)
    """
    return not any(fnmatch.fnmatchcase(name, pattern) for pattern in OF_ONE_SIZE)


def check_name(name: str) -> None:
    """Raise InvalidArgument unless `name` is a model of the zoo."""
    if name not in BUILDERS:
        raise unknown("model", name, BUILDERS)


def list_models(pattern: str = "*") -> list[str]:
    """List the model names that match a shell pattern, sorted.

    >>> list_models("mnist*")
    ['mnist_net']
    """
    return sorted(fnmatch.filter(BUILDERS, pattern))


def create_model(
    name,
    *,
    weights=None,
    classes=None,
    input_shape=None,
    include_top=True,
    pooling=None,
    dropout=None,
    classifier_activation: str | None = "softmax",
    include_preprocessing=True,
    auxiliary_heads=False,
):
    """Build a model of the zoo: an ordinary Functional `keras.Model`.

    Its input is images of shape (batch, height, width, channels), uint8 or float, with values from 0 to 255: the
    preprocessing is part of the model and is saved with it. Its output is (batch, classes), float32 whatever the dtype
    policy.

    Args:
        name: One of `kzoo.list_models()`.
        weights: None for random weights; a tag of `kzoo.list_weights(name)`; "imagenet", the model's default ImageNet
            weights; or the path of a file or of a folder of raw files. They must be on this machine: nothing is ever
            downloaded here. The preprocessing is then the record's, and its classes and input size are the defaults.
        classes: Number of classes; by default the model's (10 for the MNIST and CIFAR nets, otherwise 1000). With
            other classes than the weights have, the classifier is new and a log line says so.
        input_shape: (height, width, channels); by default the family's.
        include_top: Whether to end in the classifier; without it the output is the last feature map.
        pooling: With `include_top=False`: None, "avg" or "max", global pooling of that feature map.
        dropout: Rate before the classifier, from 0 up to 1; by default the family's.
        classifier_activation: "softmax", or None for logits.
        include_preprocessing: False leaves the preprocessing to the caller.
        auxiliary_heads: Whether to add the auxiliary classifiers of a family that has them (Inception v1): the output
            is a dict then, of `predictions`, `auxiliary_1` and `auxiliary_2`.

    Raises:
        kzoo.errors.InvalidArgument: An unknown name, or an argument out of its range.
        kzoo.errors.WeightsError: Weights that are not on this machine, are damaged, or do not fit the model.

    >>> model = create_model("mnist_net", classes=3, input_shape=(32, 32, 3))
    >>> model.output_shape
    (None, 3)
    """
    check_name(name)
    module, function = BUILDERS[name].split(":")
    return getattr(importlib.import_module(module), function)(
        weights=weights,
        classes=classes,
        input_shape=input_shape,
        include_top=include_top,
        pooling=pooling,
        dropout=dropout,
        classifier_activation=classifier_activation,
        include_preprocessing=include_preprocessing,
        auxiliary_heads=auxiliary_heads,
    )

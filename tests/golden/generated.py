"""Weights and images that are functions of their names, so that two frameworks can be compared without storing any.

Only NumPy is needed. The numbers come from the raw bits of a bit generator, whose stream NumPy promises to keep, by
operations that are exact in float32: they are the same on every machine.
"""

import hashlib
import math
import re
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Case:
    """Which logits are compared: of this model, for images of this height and width.

    `pixels` says that the images are bytes, which go through the preprocessing.
    """

    model: str
    size: tuple[int, int] = (64, 96)
    images: int = 2
    auxiliary_heads: bool = False
    pixels: bool = False

    @property
    def name(self):
        """Unique among the cases."""
        height, width = self.size
        return f"{self.weights} {height}x{width}" + " pixels" * self.pixels

    @property
    def weights(self):
        """The model, and whether it has heads: what has the same tensors has the same name."""
        return self.model + " with heads" * self.auxiliary_heads


ODD = (75, 97)  # rounded at every halving
IMAGENET = (224, 224)  # the only size at which VGG's fully connected layers are torchvision's
CIFAR = (32, 32)

CASES = [
    Case("resnet18"),
    Case("resnet18", ODD),
    Case("resnet18", pixels=True),
    Case("resnet34"),
    Case("plain18"),
    Case("plain34"),
    Case("resnet50_v1_5"),
    Case("resnet50_v1_5", ODD),
    Case("resnet101_v1_5"),
    Case("resnet152_v1_5"),
    Case("resnext50_32x4d"),
    Case("resnext101_32x8d"),
    Case("wide_resnet50_2"),
    Case("wide_resnet101_2"),
    *(Case(f"vgg{depth}{bn}", IMAGENET, images=1) for depth in (11, 13, 16, 19) for bn in ("", "_bn")),
    Case("inception_v1_bn", IMAGENET, images=1),
    Case("inception_v1_bn", ODD, auxiliary_heads=True),
    Case("inception_v1_bn", (96, 128), auxiliary_heads=True),
    Case("inception_v1_bn", pixels=True),
    *(Case(f"resnet{depth}_cifar", CIFAR) for depth in (20, 32, 44, 56, 110)),
    *(Case(f"plain{depth}_cifar", CIFAR) for depth in (20, 32, 44, 56)),
    Case("resnet20_cifar", (27, 33)),
]


def weight(model, name, shape):
    """The tensor called `name` in PyTorch's `model`, in PyTorch's layout.

    Activations neither grow nor shrink through the layers, so that each tensor counts in the logits.
    """
    kind = name.rsplit(".", 1)[-1]
    draw = _uniform(f"{model}/{name}", math.prod(shape)).reshape(shape)
    if len(shape) > 1:  # He et al.'s initialization; 1 / fan-in would do where no ReLU follows
        return draw * _float32(math.sqrt(6 / math.prod(shape[1:])))
    if kind == "running_var":
        return draw * _float32(0.3) + _float32(1)
    if kind == "weight":  # gamma; a branch that ends in a weak one leaves its sum with the shortcut as large as before
        in_branch = re.search(r"\.bn[23]\.weight$", name) and not model.startswith("plain")
        return draw * _float32(0.2) + _float32(0.35 if in_branch else 1)
    return draw * _float32(0.3)  # beta, biases, running_mean


def images(case):
    """(n, height, width, 3): bytes, or numbers of mean 0 and variance 1."""
    shape = (case.images, *case.size, 3)
    bits = _bits(f"images {case.name}", math.prod(shape)).reshape(shape)
    return (bits >> 24).astype(np.uint8) if case.pixels else _signed(bits) * _float32(math.sqrt(3))


def some(logits):
    """Twenty of a thousand classes: as good a sample, and a small file."""
    return logits[..., :: max(1, logits.shape[-1] // 20)]


def fingerprint(shapes):
    """A hash of all tensors' PyTorch names and shapes, (name, shape) pairs in any order."""
    lines = sorted(f"{name} {tuple(map(int, shape))}\n" for name, shape in shapes)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _bits(name, count):
    """`count` uint32 drawn with a seed made of `name`."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest())
    words = np.random.PCG64(seed).random_raw((count + 1) // 2)
    return words.astype("<u8", copy=False).view("<u4")[:count]


def _signed(bits):
    """From -1 to 1, in steps of 2^-23."""
    return (bits >> 8).astype(np.float32) * _float32(2.0**-23) - _float32(1)


def _uniform(name, count):
    return _signed(_bits(name, count))


def _float32(number):
    return np.float32(number)

"""What kzoo knows of a model before it is built. Needs neither Keras nor TensorFlow."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kzoo.weights.record import Preprocessing


@dataclass(frozen=True)
class AuxiliaryHeads:
    """Classifiers at inner layers that help to train."""

    layers: Mapping[str, str]
    """The inner layer by the name of its head."""
    neck: Callable[..., Any]
    """(output of that layer, name of the head) to the vector that the head's classifier reads."""
    minimum_size: int


@dataclass(frozen=True, kw_only=True)
class Card:
    """A model of the zoo."""

    name: str
    constructor: str
    """Its name as a function: `kzoo.ResNet50` for "resnet50"."""
    features: Callable[..., Any]
    """Preprocessed images to the last feature map."""
    neck: Callable[..., Any] | None = None
    """(last feature map, dropout rate) to the vector that the classifier reads; by default global average pooling."""
    dropout: float = 0.0
    auxiliary: AuxiliaryHeads | None = None
    preprocessing: Preprocessing
    input_shape: tuple[int, int, int] = (224, 224, 3)
    minimum_size: int = 1
    """Least height and width of the images."""
    classes: int = 1000
    stages: Mapping[str, str]
    """The stage that a layer ends, by a pattern for its name; of several the last. A model must have the first."""
    learning_rate: float | None = None
    """Trains it from scratch with the default optimizer at a batch size of 256, and other sizes as `kzoo.train` says;
    None is the default of `kzoo.train`."""
    warmup_epochs: float | None = None
    """Goes with that rate."""
    keras: str | None = None
    """What keras.applications calls the same layers; None if it does not have them."""
    torchvision: str | None = None
    """What torchvision calls it, and `timm` what timm does."""
    timm: str | None = None

    @property
    def rates(self) -> tuple[float | None, float | None]:
        """The learning rate and the epochs of warm-up."""
        return self.learning_rate, self.warmup_epochs

    @property
    def takes_any_size(self) -> bool:
        """Whether the weights, the classifier's included, fit images of any size: a neck reads a map of one size."""
        return self.neck is None

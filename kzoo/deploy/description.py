"""What an exported model says of itself, in its file: plain data, the same in each format."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from kzoo import plain
from kzoo.arguments import is_within
from kzoo.data.images import Scaling
from kzoo.data.loading import checked_range
from kzoo.errors import InvalidArgument

KEY = "kzoo"  # what the description is called in a file's metadata
LARGEST = 2**23  # bytes; the names of 1,000 classes take 20,000
MOST_CLASSES = 1_000_000

INPUT = "uint8 pixels 0 to 255, RGB or grey: (images, height, width, channels)"
OUTPUT = "float32 probabilities: (images, classes)"


@dataclass(frozen=True)
class Check:
    """The exported model in its engine against Keras, on the same images."""

    images: int
    max_difference: float
    """Greatest difference of a probability."""
    agreement: float
    """Share of the images with the same first class, 0 to 1."""
    engine: str
    """With its version."""


@dataclass(frozen=True)
class Quantization:
    """What int8 costs: accuracy on validation images, which were not used to quantize."""

    calibration_images: int
    accuracy: float
    float_accuracy: float
    """Of the model in Keras."""
    loss: float
    """Of accuracy, 0 to 1: `float_accuracy - accuracy`."""
    interval: tuple[float, float]
    """95 % interval of `loss`."""
    images: int
    in_float: tuple[str, ...]
    """Layers that were left in float."""


@dataclass(frozen=True)
class Source:
    """Where a model comes from."""

    file: str
    """The run directory, file or weights that was exported; its name alone."""
    licence: str | None
    """Of pretrained weights, where it is known."""
    dataset: str | None = None
    """What a run was trained on; the name alone."""
    fingerprint: str | None = None
    """Of that dataset."""
    all_data: bool = False
    """Whether the run was trained on the validation images too."""
    commit: str | None = None
    """Of the git checkout that the run was started in."""
    accuracy: float | None = None
    """Of the run's model on its validation images; of pretrained weights as published."""


@dataclass(frozen=True)
class Description:
    """An exported model. `input` and `output` say to a reader what it takes and gives."""

    model: str
    input_shape: tuple[int | None, int | None, int]
    """(height, width, channels); None for any size."""
    classes: int
    class_names: tuple[str, ...] | None
    crop_fraction: float
    """How image files come to the size, as in `kzoo.data.load`."""
    interpolation: Literal["bilinear", "bicubic"] | None
    range_16_bit: tuple[int, int] | None
    source: Source
    versions: dict[str, str | None]
    check: Check | None = None
    quantization: Quantization | None = None
    input: str = INPUT
    output: str = OUTPUT
    version: Literal[1] = 1
    """Of these entries."""

    def __post_init__(self):
        """Check what predicting relies on."""
        sides_ok = all(side is None or side > 0 for side in self.input_shape[:2])
        if not sides_ok or self.input_shape[2] < 1:
            raise InvalidArgument(f"input_shape must be (height, width, channels). Received: {self.input_shape}.")
        if not 2 <= self.classes <= MOST_CLASSES:
            raise InvalidArgument(f"classes must be 2 to {MOST_CLASSES:,}. Received: {self.classes}.")
        if self.class_names is not None and len(self.class_names) != self.classes:
            raise InvalidArgument(f"Received: {len(self.class_names)} class names for {self.classes} classes.")
        if not is_within(self.crop_fraction, 0, 1, above=True):
            raise InvalidArgument(f"crop_fraction must be above 0, up to 1. Received: {self.crop_fraction}.")
        checked_range(self.range_16_bit)

    @property
    def scaling(self) -> Scaling:
        """How image files come to the model's size."""
        return Scaling(self.crop_fraction, self.interpolation, self.range_16_bit)

    @property
    def labels(self) -> tuple[str, ...]:
        """A name for each class; its index as text, where the model knows no names."""
        return self.class_names or tuple(map(str, range(self.classes)))

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def as_text(self) -> str:
        """JSON, in ASCII: some formats hold nothing else."""
        return json.dumps(self.as_json())


def read(text: str | bytes) -> Description:
    """The description in a file's metadata.

    Raises:
        ValueError: It is none, or too large.
    """
    if len(text) > LARGEST:
        raise ValueError(f"its metadata has more than {LARGEST:,} bytes")
    try:
        return plain.read(Description, json.loads(text))
    except (plain.EntryError, ValueError, RecursionError) as error:
        raise ValueError(f"its metadata is not kzoo's: {error}") from None

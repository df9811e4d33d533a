"""What kzoo knows about a set of weights. The rows are in `records/`; `table` puts them together.

What is not known is None, never a guess.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class File:
    """One file of a record: where it is fetched from, and its hash.

    `name` is its path in the cache, and in a user's folder of weights, with "/" between the parts. It is fetched from
    `url`, or from the repository `hub` of the Hugging Face hub (newest revision if `revision` is None), where its name
    is the last part of `name`. With neither it is not fetched: it travels with kzoo, or a user has added it.

    What a file is checked against is the first of these that is known: `sha256`; `sha256_prefix`, which PyTorch's
    authors put into names of files; `md5`, which is what Keras knows; for files of the hub, the sha256 under which the
    hub's own cache keeps them.
    """

    name: str
    url: str | None = None
    hub: str | None = None
    revision: str | None = None
    size: int | None = None  # bytes
    sha256: str | None = None
    sha256_prefix: str | None = None
    md5: str | None = None


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How the pixels of an image become the numbers that the weights were trained on: `(pixel / unit - mean) / std`.

    The image is scaled until its shorter side is `resize` pixels (None: the source does not say), and the record's
    `input_size` is cut from the centre. `mean` and `std` are in the order of the image's channels, RGB, also where the
    network wants BGR (`channel_order`).
    """

    channel_order: Literal["rgb", "bgr"]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    unit: float = 255.0
    resize: int | float | None = None
    interpolation: Literal["bilinear", "bicubic"] | None = None


# The three styles of keras.applications.imagenet_utils.preprocess_input.
TORCH = Preprocessing(channel_order="rgb", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
CAFFE = Preprocessing(channel_order="bgr", mean=(123.68, 116.779, 103.939), std=(1.0, 1.0, 1.0), unit=1.0)
TF = Preprocessing(channel_order="rgb", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))  # from -1 to 1
# Of the training images: BVLC GoogLeNet's and MNIST's.
BVLC = Preprocessing(channel_order="bgr", mean=(123.0, 117.0, 104.0), std=(1.0, 1.0, 1.0), unit=1.0)
MNIST = Preprocessing(channel_order="rgb", mean=(0.1307,), std=(0.3081,))


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """How often the right class is the first, or among the first five, as fractions of `dataset`.

    `measured` says whether kzoo measured it, or quotes it from `source`; `date` is the day of the measurement, or the
    day on which the source was read.
    """

    top1: float
    top5: float | None
    dataset: str
    measured: bool
    source: str
    date: str

    @property
    def stated_by(self) -> str:
        """Whose figures these are, for a reader."""
        return "kzoo, measured" if self.measured else self.source


def quoted(
    top1: float, top5: float | None, source: str, dataset: str = "ImageNet validation", date: str = "2026-11-22"
) -> Accuracy:
    """The figures that a source states, as read on `date`."""
    return Accuracy(top1=top1, top5=top5, dataset=dataset, measured=False, source=source, date=date)


@dataclass(frozen=True, kw_only=True)
class Record:
    """A set of weights for `model`, called `tag`.

    `source` says whose names and order of axes the tensors have, and `project` is the address of whoever trained
    them. `labels` names the list of classes, in whose order the outputs are, or is that list (None: they have no
    names). `input_size` is (height, width, channels). `include_top` is False where the file has no classifier.
    """

    model: str
    tag: str
    source: Literal["keras", "timm", "torchvision", "bvlc", "akamaster", "kzoo"]
    project: str | None
    licence: str | None
    format: Literal["safetensors", "pytorch", "keras_h5", "raw"]
    files: tuple[File, ...] = field(repr=False)
    classes: int
    labels: Literal["imagenet", "cifar10", "mnist"] | tuple[str, ...] | None
    input_size: tuple[int, int, int]
    preprocessing: Preprocessing
    accuracy: Accuracy | None = None
    include_top: bool = True
    note: str = ""

    @property
    def crop_fraction(self) -> float:
        """The share of the scaled image's shorter side that is kept; 1 where the source does not say."""
        resize = self.preprocessing.resize
        return self.input_size[0] / resize if resize else 1.0

    @property
    def non_commercial(self) -> bool:
        """Whether the licence is known to forbid commercial use (Creative Commons' NC)."""
        return "-NC" in (self.licence or "")

    @property
    def size(self) -> int | None:
        """Bytes of all files together; None if one of them is not known."""
        sizes = [file.size for file in self.files]
        return None if None in sizes else sum(size for size in sizes if size is not None)


imagenet_record = partial(Record, classes=1000, labels="imagenet", input_size=(224, 224, 3))

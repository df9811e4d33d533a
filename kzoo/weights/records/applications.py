"""The ImageNet weights of every classifier of keras.applications, which kzoo calls "keras:EfficientNetV2B0".

applications.csv has a row for each. Sizes, preprocessing, addresses and hashes are those of Keras 3.15.1's source.
Hashes of 32 digits are md5, of 64 sha256; MobileNet and MobileNetV2 have none. The figures are those of the table at
keras.io/api/applications, which has none for ConvNeXt and MobileNetV3. Keras states no licence for the weights, and not
how images were scaled and cropped.
"""

import csv
from importlib import resources
from typing import Any

import numpy as np

from kzoo.weights.record import CAFFE, TF, TORCH, File, Preprocessing, Record, quoted

PREFIX = "keras:"
TABLE = "applications.csv"
PAGE = "https://keras.io/api/applications/"
HOST = "https://storage.googleapis.com"
# Of models that scale the pixels in their first layers.
INSIDE = Preprocessing(channel_order="rgb", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), unit=1.0)
PIXELS = {"caffe": CAFFE, "tf": TF, "torch": TORCH, "inside": INSIDE}


def is_application(model: Any) -> bool:
    """Whether a model's name is meant as one of keras.applications.

    >>> is_application("keras:VGG16"), is_application("vgg16")
    (True, False)
    """
    return isinstance(model, str) and model.startswith(PREFIX)


def classes_in(tensors: dict[str, np.ndarray]) -> int | None:
    """The classes of a file's classifier, its last layer: a Dense layer or a 1x1 convolution. None if it has none.

    >>> kernel, bias = np.zeros((1, 1, 8, 3)), np.zeros(3)
    >>> classes_in({"logits/kernel": kernel, "logits/bias": bias}), classes_in({"bn/gamma": bias, "bn/beta": bias})
    (3, None)
    """
    *_, kernel, bias = [np.zeros(0), *tensors.values()]
    is_dense = kernel.ndim == 2 or (kernel.ndim == 4 and kernel.shape[:2] == (1, 1))
    return len(bias) if is_dense and bias.shape == kernel.shape[-1:] else None


def _record(row: dict[str, str], *, include_top: bool) -> Record:
    size, end = int(row["size"]), "" if include_top else "_without_top"
    figures = None
    if row["top1"] and include_top:
        figures = quoted(float(row["top1"]), float(row["top5"]), "keras.io", date="2026-11-30")
    return Record(
        model=f"{PREFIX}{row['name']}",
        tag="keras_in1k" if include_top else "keras_in1k_notop",
        source="keras",
        project=PAGE,
        licence=None,
        format="keras_h5",
        files=(_file(row["folder"], row[f"file{end}"], row[f"hash{end}"]),),
        classes=1000,
        labels="imagenet",
        input_size=(size, size, 3),
        preprocessing=PIXELS[row["pixels"]],
        accuracy=figures,
        include_top=include_top,
    )


def _file(folder: str, name: str, digest: str) -> File:
    there = name
    if name.startswith("nasnet_"):  # which has another name in Keras's cache than on its server
        there = name.replace("nasnet_", "NASNet-").replace("_no_top", "-no-top")
    kind: Any = {} if not digest else {"sha256" if len(digest) == 64 else "md5": digest}
    return File(name=name, url=f"{HOST}/{folder}/{there}", **kind)


def _rows() -> list[dict[str, str]]:
    text = resources.files("kzoo.weights.records").joinpath(TABLE).read_text("utf-8")
    return list(csv.DictReader(text.splitlines()))


# By model: with the classifier, and without.
RECORDS: dict[str, tuple[Record, Record]] = {
    f"{PREFIX}{row['name']}": (_record(row, include_top=True), _record(row, include_top=False)) for row in _rows()
}

"""Accuracy under noise, with few bits, and under common corruptions."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from kzoo import console
from kzoo.classifier import pixel_range_of, without_auxiliary_heads
from kzoo.data import Dataset
from kzoo.data.order import spread
from kzoo.data.pixels import KNOWN, Range, scale, shown, unscale
from kzoo.errors import InvalidArgument
from kzoo.robustness.changes import CORRUPTIONS, DEVIATIONS, noisy, standard_noise
from kzoo.robustness.quantization import Quantized
from kzoo.train.evaluation import BATCH_SIZE, logits_function, prepare
from kzoo.train.figures import interval, outcomes_of
from kzoo.train.inputs import Stream, as_data, batches_per_epoch, data_errors

BITS = (16, 8, 6, 4, 3, 2)
AS_IT_IS = 32  # bits of a model that is not rounded

CALIBRATION_IMAGES, _CALIBRATION_BATCH = 256, 32


def measure(model, data: Any, calibration: Any = None) -> dict[str, Any]:
    """Measure how a classifier's accuracy falls as its images, or its numbers, get worse.

    - Gaussian noise, independent by pixel and channel, with the same draws for all strengths and models. Its standard
      deviation is in units of pixels from 0 to 255, to which the noisy pixels are clipped.
    - Weights and activations rounded to few bits (`kzoo.robustness.Quantized`), with no training afterwards.
    - Blur, contrast and JPEG (`kzoo.robustness.changes`), where images have colours.

    Args:
        model: What `kzoo.train.evaluate` takes.
        data: The labelled images to score; what `kzoo.train.evaluate` takes.
        calibration: Training images in the same form: 256 of them choose the steps of activations. None takes 256 of
            the images to score. No label is read for it.

    Returns:
        Plain data. A row has `accuracy`, a fraction, and `interval`, its 95 % interval [low, high].

        - `images`: how many were scored; `calibrated_on`: "training images" or "scored images";
        - `noise`: rows with their `deviation`, the first with 0;
        - `bits`: rows with their `bits`, the first with 32 for the model as it is;
        - `corruptions`: "blur" (standard deviation as a share of the shorter side), "contrast" (factor) and "jpeg"
          (quality) -> rows with their `level`; empty for images without colours.

    Raises:
        InvalidArgument: The model does not take these images, or their pixels are not of 0 to 255, 0 to 1 or -1 to 1.
        DataError: A label that the model does not know.
    """
    model = without_auxiliary_heads(model)
    scoring = prepare(model, data)
    of_data, values = scoring.data, _range(model, scoring.data)
    corruptions = CORRUPTIONS if has_colours(of_data) else {}
    levels = [(name, level) for name, corruption in corruptions.items() for level in corruption.levels]

    def as_it_is(number: int, images: np.ndarray) -> Iterator[np.ndarray]:
        yield images

    def changed(number: int, images: np.ndarray) -> Iterator[np.ndarray]:
        yield images
        raw, noise = unscale(images, values), standard_noise(number, images.shape)
        for deviation in DEVIATIONS:
            yield scale(noisy(raw, noise, deviation), values)
        for name, level in levels:
            yield scale(corruptions[name].apply(raw, level), values)

    passes = 1 + len(DEVIATIONS) + len(levels) + len(BITS)
    with data_errors(), console.progress("robustness", passes * batches_per_epoch(of_data, BATCH_SIZE)) as advance:
        (float_row, *rows), count = _rows(of_data, changed, scoring.logits, advance)
        given = of_data if calibration is None else as_data(calibration, BATCH_SIZE)
        quantized = Quantized(model, [scoring.scaled(images) for images in _some_images(given)])
        logits, few_bits = logits_function(quantized.model, scoring.scaled), []
        for bits in BITS:
            quantized.use(bits)
            few_bits += _rows(of_data, as_it_is, logits, advance)[0]
    of_noise, of_corruptions = rows[: len(DEVIATIONS)], rows[len(DEVIATIONS) :]
    return {
        "images": count,
        "calibrated_on": "scored images" if calibration is None else "training images",
        "noise": [
            {"deviation": deviation, **row}
            for deviation, row in zip((0, *DEVIATIONS), (float_row, *of_noise), strict=True)
        ],
        "bits": [{"bits": bits, **row} for bits, row in zip((AS_IT_IS, *BITS), (float_row, *few_bits), strict=True)],
        "corruptions": {
            name: [
                {"level": level, **row}
                for (kind, level), row in zip(levels, of_corruptions, strict=True)
                if kind == name
            ]
            for name in corruptions
        },
    }


def has_colours(data: Dataset | Stream) -> bool:
    """Whether images have colours, as photos do."""
    return data.image_shape[2] == 3 and not data.is_grey


def _range(model, data: Dataset | Stream) -> Range:
    """The range of the pixels; where nobody can tell, the model's."""
    values = data.pixel_range or pixel_range_of(model)
    if values not in KNOWN:
        raise InvalidArgument(
            "Noise is in units of pixels 0 to 255, so images must have pixels of 0 to 255, 0 to 1 or -1 to 1. "
            f"Received: {shown(values)}. Normalize them inside the model, by keras.layers.Normalization."
        )
    return values


def _rows(data: Dataset | Stream, changed: Callable, logits: Callable, advance: Callable) -> tuple[list[dict], int]:
    """Accuracy and interval for each way in which `changed` gives the images of a batch, and the number of images."""
    hits, count = [], 0
    for number, (images, labels) in enumerate(data.batches(BATCH_SIZE)):
        labels, found = labels.numpy(), []
        for batch in changed(number, images.numpy().astype(np.float32)):
            found.append(np.sum(outcomes_of(labels, logits(batch)).predictions == labels))
            advance(1)
        hits.append(found)
        count += len(labels)
    totals = np.sum(hits, axis=0).tolist()
    return [{"accuracy": right / count, "interval": interval(right, count)} for right in totals], count


def _some_images(data: Dataset | Stream) -> Iterator[np.ndarray]:
    """Batches of images from all over a dataset, float32; of a stream the first ones."""
    if isinstance(data, Dataset):
        rows = spread(len(data), CALIBRATION_IMAGES)
        for start in range(0, len(rows), _CALIBRATION_BATCH):
            yield data.reader.fetch(rows[start : start + _CALIBRATION_BATCH]).astype(np.float32)
        return
    missing = CALIBRATION_IMAGES
    for images, _ in data.batches(BATCH_SIZE):
        yield images.numpy()[:missing].astype(np.float32)
        missing -= len(images)
        if missing <= 0:
            return

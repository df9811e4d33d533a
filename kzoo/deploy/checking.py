"""An exported model against the Keras model that it was made from, on the same images."""

import time

import numpy as np

from kzoo import console
from kzoo.backend import compiled, keras
from kzoo.classifier import pixel_range_of
from kzoo.data.pixels import RAW, scale
from kzoo.deploy.converting import ExportError
from kzoo.deploy.description import Check
from kzoo.deploy.engines import BATCH_SIZE, Compute
from kzoo.outputs import as_probabilities

# Of the largest probability of an image. Engines add in another order: over the zoo, random weights included, that
# made less than 1e-4. A fault, such as padding at the wrong side, makes more than 1e-2.
TOLERANCE = 1e-3
# Of a second size, for a model of any size: where "same" padding falls depends on it.
_SMALLER = (7, 4)
_LEAST_SIDE = 64
# Images of a pass that is timed, and passes.
_TIMED, _ROUNDS = 16, 3


def keras_compute(model) -> Compute:
    """What Keras computes of images uint8 (N, height, width, channels): probabilities float32 (N, classes)."""
    function, pixels = compiled(lambda images: model(images, training=False)), pixel_range_of(model)

    def compute(images: np.ndarray) -> np.ndarray:
        values = images.astype(np.float32)
        outputs = function(values if pixels == RAW else scale(values, pixels))
        return as_probabilities(model, keras.ops.convert_to_numpy(outputs))

    return compute


def in_batches(compute: Compute, images: np.ndarray, what: str) -> np.ndarray:
    """Probabilities of all images, with progress."""
    parts = []
    with console.progress(what, len(images)) as advance:
        for start in range(0, len(images), BATCH_SIZE):
            parts.append(compute(images[start : start + BATCH_SIZE]))
            advance(len(parts[-1]))
    return np.concatenate(parts)


def check(
    compute: Compute, reference: Compute, images: np.ndarray, *, is_exact: bool, any_size: bool, engine: str
) -> Check:
    """Compare an exported model with Keras.

    Args:
        compute: Of the exported model.
        reference: Of `keras_compute`.
        images: Uint8 (N, height, width, channels).
        is_exact: Whether they must agree, except for rounding; int8 need not.
        any_size: Whether the model takes any size: it is then run on a smaller one too.
        engine: For the result.

    Raises:
        ExportError: They differ by more than rounding.
    """
    found, wanted = in_batches(compute, images, f"checking, {engine}"), in_batches(reference, images, "checking, Keras")
    height, width = images.shape[1:3]
    if is_exact:
        _compare(found, wanted, engine)
        if any_size and min(height, width) >= _LEAST_SIDE:
            cropped = images[:1, : height - _SMALLER[0], : width - _SMALLER[1]]
            _compare(compute(cropped), reference(cropped), engine)
    return Check(
        images=len(found),
        max_difference=float(np.abs(found - wanted).max()),
        agreement=float((found.argmax(axis=1) == wanted.argmax(axis=1)).mean()),
        engine=engine,
    )


def _compare(found: np.ndarray, wanted: np.ndarray, engine: str) -> None:
    relative = np.abs(found - wanted).max(axis=1) / wanted.max(axis=1)
    if not relative.max() <= TOLERANCE:  # NaN fails
        row = int(np.argmax(~(relative <= TOLERANCE)))
        agreement = (found.argmax(axis=1) == wanted.argmax(axis=1)).mean()
        raise ExportError(
            f"The exported model does not compute what Keras does, so it was not kept. Received: in {engine} "
            f"{found[row].max():.4g} for the likeliest class of image {row}, in Keras {wanted[row].max():.4g}; the "
            f"greatest difference is {np.abs(found - wanted).max():.2g}, the first class agrees on "
            f"{100 * agreement:.1f} % of {len(found)} images. Try another --format."
        )


def speeds(computes: list[Compute], images: np.ndarray) -> list[float]:
    """Images per second of each, on one batch, in turn: the median of some rounds, which is a rough figure."""
    batch = images[:_TIMED]
    found: list[list[float]] = [[] for _ in computes]
    for turn in range(_ROUNDS + 1):  # the first warms up
        for compute, own in zip(computes, found, strict=True):
            start = time.perf_counter()
            compute(batch)
            if turn:
                own.append(len(batch) / (time.perf_counter() - start))
    return [float(np.median(one)) for one in found]

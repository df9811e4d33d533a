"""Scoring a model: accuracy, loss, and where it goes wrong."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from kzoo import console
from kzoo.backend import compiled, keras, tf
from kzoo.classifier import PREDICTIONS, class_names_of, scaling_to, without_auxiliary_heads
from kzoo.data import Dataset
from kzoo.outputs import classes_of, log_of_mean, logits_of
from kzoo.train.figures import figures_of, outcomes_of, together
from kzoo.train.inputs import (
    Stream,
    as_data,
    batches_per_epoch,
    check_fit,
    class_names_of_data,
    data_errors,
    with_labels_of,
)
from kzoo.views import AS_IT_IS, announce, view, views_of

BATCH_SIZE = 128


def evaluate(model, data: Any, *, tta: bool = False) -> dict:
    """Score a classifier on labelled images.

    Labels are matched by name where both the model and the data know the names of their classes, never by position.

    Args:
        model: A `keras.Model` with an output of shape (batch, classes), probabilities or logits, or (batch, 1) for two
            classes; of one with auxiliary heads, the output `predictions` is scored. If it was trained on pixels of
            0 to 1, or -1 to 1, images of 0 to 255 are scaled to that.
        data: What `kzoo.train.fit` takes as data.
        tta: Test-time augmentation: whether to average the probabilities over some views of each image, two mirrored
            ones or five moved ones (`kzoo.views`), which takes as many times as long.

    Returns:
        Plain data. Shares and probabilities are fractions, 0 to 1.

        - `accuracy`, and `interval`, its 95 % interval [low, high] (Wilson), which takes the images for independent;
        - `top5_accuracy`, with more than 5 classes;
        - `loss`: mean cross-entropy, natural logarithm;
        - `calibration_error`: expected calibration error, 15 bins (Guo et al., 2017); `calibration_error_by_chance`:
          what a perfectly calibrated model would show on so many images; `confidence`: mean probability of the
          predictions;
        - `images`, and `classes`: their names;
        - `per_class`: name -> `precision` of the images `predicted` so, `recall` of the class's `images`; None where it
          is not defined;
        - `confused_pairs`: the commonest mistakes: `true` and `predicted` class, `images`, `of` all of the true class;
        - `mistakes`: the 24 most confident ones: `where` the image is, its `row` in the data, `true` and `predicted`
          class, their `true_probability` and `probability`;
        - `confusion_matrix`, with 1,000 classes or fewer: rows are the true class, columns the predicted one;
        - `tta`: with test-time augmentation, the names of the views.

    Raises:
        InvalidArgument: The model does not take these images, or does not end in probabilities or logits.
        DataError: A label that the model does not know.
    """
    views = views_of(model) if tta else AS_IT_IS
    if tta:
        announce(views)
    scoring = prepare(model, data, views)
    data, parts = scoring.data, []
    with data_errors(), console.progress("evaluating", batches_per_epoch(data, BATCH_SIZE)) as advance:
        for images, labels in data.batches(BATCH_SIZE):
            parts.append(outcomes_of(labels.numpy(), scoring.logits(images)))
            advance(1)
    where = data.where if isinstance(data, Dataset) else f"{data.name} #{{}}".format
    return figures_of(together(parts), scoring.class_names, where) | ({"tta": list(views)} if tta else {})


class Scoring(NamedTuple):
    """A classifier and labelled images that fit each other."""

    data: Dataset | Stream
    """With labels in the order of the model's outputs."""
    class_names: tuple[str, ...]
    """A name for each output."""
    scaled: Callable[[Any], Any]
    """From a batch of the images to one in the range of pixels that the model takes."""
    logits: Callable[[Any], np.ndarray]
    """From a batch of the images, as the data has them, to logits (batch, classes)."""


def prepare(model, data: Any, views: tuple[str, ...] = AS_IT_IS) -> Scoring:
    """Check that a classifier and images fit each other; arguments and errors are those of `evaluate`."""
    data = as_data(data, BATCH_SIZE)
    names = class_names_of(model)
    model = without_auxiliary_heads(model)
    data = with_labels_of(data, names)
    check_fit(data, model, "evaluation")
    to_range = scaling_to(model, data.pixel_range, "images")

    def scaled(images):
        return images if to_range is None else to_range(keras.ops.cast(images, "float32"))

    names = names or class_names_of_data(data) or tuple(str(i) for i in range(classes_of(model)))
    return Scoring(data, names, scaled, logits_function(model, scaled, views))


def logits_function(
    model, scaled: Callable[[Any], Any], views: tuple[str, ...] = AS_IT_IS
) -> Callable[[Any], np.ndarray]:
    """The function from a batch of images, which `scaled` brings to the model's range, to logits (batch, classes).

    With several `views` of each image they are those of the mean probabilities.
    """
    logits_of_batch = logits_of(model)

    def logits(images):
        images = scaled(images)
        found = [logits_of_batch(view(images, name), training=False)[PREDICTIONS] for name in views]
        return log_of_mean(found) if len(found) > 1 else found[0]

    # Not Keras's predict: made in the scope of a strategy, a model predicts once for each replica.
    compute = (lambda images: logits(np.asarray(images))) if tf is None else compiled(logits)
    return lambda images: keras.ops.convert_to_numpy(compute(images))

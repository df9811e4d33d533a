"""Distillation: a model learns the probabilities that another gives to the same images (Hinton et al., 2015).

The teacher sees the very images that the student is trained on, augmented, as Beyer et al. (2022) found best. It takes
part in the training step, in inference mode, and in nothing that is saved.
"""

from typing import Any

from kzoo import console
from kzoo.agreement import Meaning, are_of_one_shape, check_agree, meaning_of
from kzoo.backend import keras, tf, weights_digest
from kzoo.classifier import PREDICTIONS, image_shape_of, without_auxiliary_heads
from kzoo.errors import InvalidArgument, RunError
from kzoo.outputs import check_classifier, logits_of
from kzoo.saving import load_model
from kzoo.text import dimensions
from kzoo.train.precision import in_precision
from kzoo.train.record import TeacherRecord


class Teacher:
    """A classifier that gives targets. Create it inside the strategy's scope."""

    def __init__(self, model, precision: str, temperature: float):
        """Copy `model`, to compute in a precision."""
        self.temperature = temperature
        copy = in_precision(model, precision)
        copy.trainable = False
        self._logits = logits_of(copy)
        self._size = image_shape_of(copy)[:2]

    def probabilities(self, images):
        """The targets for a batch of images: (batch, classes) float32, of the logits divided by the temperature."""
        images = tf.cast(images, tf.float32)
        if None not in self._size and tuple(images.shape[1:3]) != tuple(self._size):
            images = keras.ops.image.resize(images, self._size, antialias=True)
        logits = tf.cast(self._logits(images, training=False)[PREDICTIONS], tf.float32)
        return tf.stop_gradient(tf.nn.softmax(logits / self.temperature))


def load_teacher(given: Any, record: TeacherRecord):
    """The model of a teacher: what was given in Python, or of the path in the record.

    Raises:
        InvalidArgument: Neither, or no classifier.
        RunError: It is not the one that the run began with.
    """
    if isinstance(given, keras.Model):
        model = given
    elif record.path is not None:
        model = load_model(record.path)
    else:
        raise InvalidArgument("This run was taught by a model that was given in Python. Pass teacher= again.")
    check_classifier(model)
    model = without_auxiliary_heads(model)
    digest = weights_digest(model)
    if record.digest not in (None, digest):
        raise RunError(
            f"The teacher is not the one that this run began with. Received: {_label(record)!r} with weights {digest}, "
            f"recorded: {record.digest}. Restore it, or start a new run."
        )
    return model


def check_teaches(model, record: TeacherRecord, student: Meaning, image_shape: tuple) -> None:
    """Raise InvalidArgument unless a teacher has the student's classes and can take its images, of a shape."""
    check_agree([student, meaning_of(model, _label(record))])
    size, given = image_shape_of(model)[:2], image_shape[:2]
    if None in size or tuple(size) == tuple(given):
        return
    if None in given or not are_of_one_shape([size, given]):
        raise InvalidArgument(
            f"The teacher must take images of the student's shape, of whatever size. Received: {dimensions(size)} for "
            f"images of {dimensions(given)}. Train with another --image-size."
        )
    console.log(f"the teacher gets images of {dimensions(given)} resized to {dimensions(size)}")


def _label(record: TeacherRecord) -> str:
    return record.path or "teacher"

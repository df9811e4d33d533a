"""The one place where Keras is imported, and with it the backend it runs on.

`keras` is Keras; `tf` is TensorFlow, or None when Keras runs on another backend (KERAS_BACKEND=jax), where models and
layers still build and run but `kzoo.train` does not.
"""

import hashlib
from typing import TYPE_CHECKING, Any

from kzoo import console, onednn
from kzoo.chatter import tensorflow, without_chatter
from kzoo.plotting import import_matplotlib

if TYPE_CHECKING:
    # Neither has type stubs; what a type checker infers of them is wrong more often than right.
    keras: Any = None
    tf: Any = None
else:
    import_matplotlib()  # before Keras does
    onednn.prepare()
    with console.waiting("starting TensorFlow ..."):
        with without_chatter():
            import keras

        tf = tensorflow() if keras.backend.backend() == "tensorflow" else None


def layers_within(layer) -> list:
    """A layer or model, and all layers in it, the outer before the inner. Keras has no public way to them."""
    return list(layer._flatten_layers())


def models_within(model) -> list:
    """A model and all models in it, the outer before the inner."""
    return [one for one in layers_within(model) if isinstance(one, keras.Model)]


def weights_digest(model) -> str:
    """A hash of a model's weights, in their order."""
    digest = hashlib.blake2b(digest_size=16)
    for weight in model.weights:
        digest.update(keras.ops.convert_to_numpy(weight).tobytes())  # bfloat16 has no buffer
    return digest.hexdigest()


def compiled(function, **options):
    """A `tf.function`, without AutoGraph, which does not work on every version of Python that TensorFlow runs on."""
    graph = tf.function(function, reduce_retracing=True, autograph=False, **options)
    # Each run of a process traces the same code anew, as it should: TensorFlow takes the fifth time for a mistake.
    graph._omit_frequent_tracing_warning = True
    return graph

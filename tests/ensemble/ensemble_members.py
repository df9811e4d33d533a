"""Small members of ensembles, with weights that differ, and what NumPy says of them."""

import numpy as np

from kzoo.backend import keras

CLASSES = 3


def small(end: str | None = "softmax", *, outputs=CLASSES, size: int | None = 8, dtype="float32", seed=0):
    """A small network: it ends in an activation of its Dense layer, in a layer of its own, or in logits."""
    keras.utils.set_random_seed(seed)
    with_layer = end in ("Softmax", "Activation")
    images = keras.Input((size, size, 1), name="images", dtype="float32")
    x = keras.layers.Rescaling(1 / 255, name="preprocessing", dtype="float32")(images)
    x = keras.layers.Conv2D(4, 3, activation="relu", name="conv", dtype=dtype)(x)
    x = keras.layers.BatchNormalization(name="bn", dtype=dtype)(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool", dtype=dtype)(x)
    x = keras.layers.Dropout(0.5, name="dropout", dtype=dtype)(x)
    x = keras.layers.Dense(
        outputs, activation=None if with_layer else end, name="head", dtype=dtype, kernel_initializer="random_normal"
    )(x)
    if end == "Softmax":
        x = keras.layers.Softmax(name="end", dtype=dtype)(x)
    elif end == "Activation":
        x = keras.layers.Activation("softmax", name="end", dtype=dtype)(x)
    model = keras.Model(images, x, name="small")
    # Statistics that are not those of a new layer, and logits that are not all near zero.
    draw = np.random.default_rng(seed)
    model.get_layer("bn").set_weights([draw.uniform(0.5, 1.5, 4).astype("float32") for _ in range(4)])
    model.get_layer("head").kernel.assign(60 * model.get_layer("head").kernel)
    return model


def pixels(size=8, count=5):
    draw = np.random.default_rng(7)
    return (draw.uniform(0, 255, (count, size, size, 1)) * np.linspace(0.1, 1, count)[:, None, None, None]).astype("f4")


def probabilities(model, images):
    """The probabilities of all classes, by NumPy in float64 from the model's output alone."""
    found = np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(model(images, training=False), "float32")), "float64")
    last = model.layers[-1]
    while isinstance(last, keras.Model):
        last = last.layers[-1]
    activation = getattr(getattr(last, "activation", None), "__name__", type(last).__name__.lower())
    if found.shape[1] == 1:
        one = found if activation == "sigmoid" else 1 / (1 + np.exp(-found))
        return np.concatenate([1 - one, one], axis=1)
    if activation == "softmax":
        return found
    shifted = np.exp(found - found.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)

"""What a model's output is, read off its graph, against the probabilities that the model gives."""

import numpy as np
import pytest
import scipy.special

import kzoo
from kzoo.backend import keras, tf
from kzoo.errors import InvalidArgument
from kzoo.outputs import as_probabilities, check_classifier, classes_of, gives_probabilities, logits_of
from kzoo.train import TrainConfig, evaluate, fit
from kzoo.transfer import freeze
from kzoo.transfer.surgery import add_head

L = keras.layers
IMAGES = np.random.default_rng(0).uniform(0, 255, (6, 4, 4, 1)).astype("float32")


def features(inputs):
    return L.Dense(5, activation="relu")(L.Flatten()(L.Rescaling(1 / 255)(inputs)))


def on_features(*layers):
    """A model of `layers` on a vector."""

    def build():
        inputs = keras.Input((4, 4, 1))
        x = features(inputs)
        for layer in layers:
            x = layer()(x) if isinstance(layer, type) else layer(x)
        return keras.Model(inputs, x)

    return build


def dense(classes=3, **options):
    return lambda x: L.Dense(classes, **options)(x)


def within(build):
    """The model that another builds, in a Sequential model."""
    return lambda: keras.Sequential([keras.Input((4, 4, 1)), build()])


def average(**options):
    def build():
        inputs = keras.Input((4, 4, 1))
        x = features(inputs)
        return keras.Model(inputs, L.Average()([L.Dense(3, **options)(x), L.Dense(3, **options)(x)]))

    return build


def ensemble():
    inputs = keras.Input((4, 4, 1))
    members = [on_features(dense(activation="softmax"))(), on_features(dense(), L.Softmax)()]
    return keras.Model(inputs, L.Average()([member(inputs) for member in members]))


def one_layer_twice():
    """The same softmax layer in the middle of the model and at its end."""
    inputs = keras.Input((4, 4, 1))
    layer = L.Dense(5, activation="softmax")
    return keras.Model(inputs, layer(layer(features(inputs))))


def output_not_last():
    """The last layer of `model.layers` is not the output's: a layer that is listed later gives nothing."""
    inputs = keras.Input((4, 4, 1))
    x = features(inputs)
    output = L.Dense(3, activation="softmax")(x)
    both = keras.Model(inputs, [output, L.Dense(7, activation="relu")(L.Dense(7)(x))])
    return keras.Model(inputs, both(inputs)[0])


def pixelwise():
    """A softmax at each position, averaged over them."""
    inputs = keras.Input((4, 4, 1))
    return keras.Model(inputs, L.GlobalAveragePooling2D()(L.Conv2D(3, 1, activation="softmax")(inputs / 255)))


def convolutional():
    inputs = keras.Input((4, 4, 1))
    return keras.Model(inputs, L.Flatten()(L.Conv2D(3, 4, activation="softmax")(inputs / 255)))


class WithGraph(keras.Model):
    """A subclass that has a graph."""

    def __init__(self):
        inputs = keras.Input((4, 4, 1))
        super().__init__(inputs, L.Dense(3, activation="softmax")(features(inputs)))


PROBABILITIES = {
    "dense": on_features(dense(activation="softmax")),
    "softmax layer": on_features(dense(), L.Softmax),
    "activation layer": on_features(dense(), L.Activation("softmax")),
    "float32 after half precision": on_features(
        dense(dtype="mixed_bfloat16"), L.Activation("softmax", dtype="float32")
    ),
    "linear float32": on_features(dense(activation="softmax"), L.Activation("linear", dtype="float32")),
    "nothing changes": on_features(
        dense(activation="softmax"), L.Identity, L.Dropout(0.5), L.Flatten, L.Reshape((3,)), L.Activation("linear")
    ),
    "average": average(activation="softmax"),
    "ensemble": ensemble,
    "one layer twice": one_layer_twice,
    "output not last": output_not_last,
    "within": within(on_features(dense(activation="softmax"))),
    "within twice": within(within(on_features(dense(), L.Softmax))),
    "subclass with a graph": within(WithGraph),
    "pixelwise": pixelwise,
    "convolutional": convolutional,
    "reshaped before": on_features(dense(), L.Reshape((1, 1, 3)), L.Softmax, L.Flatten),
    "other axis": on_features(dense(), L.Reshape((3, 1)), lambda x: L.Softmax(axis=1)(x), L.Reshape((3,))),
    "operation": on_features(dense(), keras.ops.softmax),
    "activation of tensorflow": on_features(dense(activation=tf.nn.softmax)),
    "kzoo": lambda: kzoo.create_model("mnist_net", input_shape=(4, 4, 1), classes=3),
    "sigmoid": on_features(dense(1, activation="sigmoid")),
    "sigmoid layer": on_features(dense(1), L.Activation("sigmoid"), L.Activation("linear", dtype="float32")),
    "within, sigmoid": within(on_features(dense(1, activation="sigmoid"))),
}
LOGITS = {
    "dense": on_features(dense()),
    "float32 after half precision": on_features(dense(dtype="mixed_bfloat16"), L.Activation("linear", dtype="float32")),
    "log softmax": on_features(dense(activation="log_softmax")),
    "temperature": on_features(dense(), L.Rescaling(0.5), lambda x: x / 2),
    "normalized": on_features(dense(), L.BatchNormalization),
    "average": average(),
    "within": within(on_features(dense())),
    "one output": on_features(dense(1)),
    "global average": lambda: keras.Sequential([keras.Input((4, 4, 1)), L.Conv2D(3, 2), L.GlobalAveragePooling2D()]),
}


def all_probabilities(outputs):
    return np.concatenate([1 - outputs, outputs], axis=1) if outputs.shape[1] == 1 else outputs


@pytest.mark.parametrize("name", PROBABILITIES)
def test_logits_of_probabilities(name):
    model = PROBABILITIES[name]()
    outputs = np.asarray(model(IMAGES))
    logits = np.asarray(logits_of(model)(IMAGES, training=False)["predictions"], "float64")
    assert gives_probabilities(model)
    assert logits.shape == (6, classes_of(model))
    # float32; bfloat16 has 8 bits, and its softmax is computed in float32 from the same logits
    np.testing.assert_allclose(scipy.special.softmax(logits, axis=1), all_probabilities(outputs), rtol=2e-5, atol=1e-7)
    np.testing.assert_array_equal(as_probabilities(model, outputs), all_probabilities(outputs))
    assert np.array_equal(model(IMAGES), outputs)  # the model is as it was


@pytest.mark.parametrize("name", LOGITS)
def test_logits_are_as_the_model_gives_them(name):
    model = LOGITS[name]()
    outputs = np.asarray(model(IMAGES))
    expected = np.concatenate([np.zeros((6, 1)), outputs], axis=1) if outputs.shape[1] == 1 else outputs
    assert not gives_probabilities(model)
    np.testing.assert_array_equal(logits_of(model)(IMAGES, training=False)["predictions"], expected)
    np.testing.assert_allclose(as_probabilities(model, outputs), scipy.special.softmax(expected, axis=1), rtol=1e-5)


class Opaque(keras.Model):
    """A subclass whose graph nobody knows."""

    def __init__(self, **options):
        super().__init__(**options)
        self.dense = L.Dense(3)

    def call(self, inputs):
        return self.dense(keras.ops.reshape(inputs, (-1, 16)))


def opaque(*layers):
    return on_features(L.Reshape((1, 5)), L.Flatten, lambda x: L.Dense(16)(x), Opaque, *layers)


class OtherDense(L.Dense):
    def call(self, inputs):
        return keras.ops.softmax(super().call(inputs))


REFUSED = {
    "relu": (on_features(dense(activation="relu")), "Received: 'relu' in its last layer"),
    "tanh layer": (on_features(dense(), L.Activation("tanh")), "Received: 'tanh' in its last layer"),
    "relu layer": (on_features(dense(), L.ReLU), "of class ReLU, which could give anything"),
    "many sigmoids": (on_features(dense(activation="sigmoid")), "Several labels for an image are not supported"),
    "one softmax": (on_features(dense(1, activation="softmax")), "a softmax over one output, which is always 1"),
    "scaled probabilities": (on_features(dense(activation="softmax"), L.Rescaling(2.0)), "probabilities that its last"),
    "added probabilities": (
        on_features(dense(activation="softmax"), lambda x: L.Add()([x, x])),
        "probabilities that its last",
    ),
    "mixed average": (
        on_features(lambda x: L.Average()([L.Dense(3)(x), L.Dense(3, activation="softmax")(x)])),
        "an average of logits and probabilities",
    ),
    "softmax of parts": (on_features(dense(6), L.Reshape((2, 3)), L.Softmax, L.Flatten), "probabilities of several"),
    "lambda": (on_features(dense(), lambda x: L.Lambda(lambda y: y)(x)), "of class Lambda"),
    "opaque model": (opaque(), "of class Opaque"),
    "another dense": (on_features(OtherDense(3)), "of class OtherDense"),
    "features": (
        lambda: keras.Sequential([keras.Input((4, 4, 1)), L.Conv2D(3, 1, activation="relu"), L.GlobalMaxPooling2D()]),
        "Received: 'relu'",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_neither_for_sure_is_refused(name):
    build, message = REFUSED[name]
    with pytest.raises(InvalidArgument, match="A classifier must end in softmax or in logits") as caught:
        check_classifier(build())
    assert message in str(caught.value)


def test_an_opaque_model_with_a_softmax_layer_is_one():
    model = opaque(L.Softmax)()
    logits = np.asarray(logits_of(model)(IMAGES, training=False)["predictions"])
    np.testing.assert_allclose(scipy.special.softmax(logits, axis=1), model(IMAGES), rtol=1e-5)


def test_a_model_without_a_graph_is_told_what_to_do():
    model = Opaque()
    model(IMAGES)
    with pytest.raises(InvalidArgument, match=r"has no graph.*keras.layers.Softmax\(\)\(model\(x\)\)"):
        check_classifier(model)


@pytest.mark.parametrize("name", ["softmax layer", "linear float32", "average", "ensemble", "within, sigmoid"])
def test_certain_mistakes_are_scored_by_their_logits(name):
    """A loss of 200, which the probabilities of float32 cannot hold: their smallest is 1e-45."""
    model = PROBABILITIES[name]()
    for weight in model.weights:
        if weight.path.endswith("kernel"):
            weight.assign(np.zeros(weight.shape))
        elif weight.shape[0] != 5:  # the bias of a classifier
            weight.assign([200.0, *[0.0] * (weight.shape[0] - 1)])
    wrong = 0 if weight.shape[0] == 1 else 1
    found = evaluate(model, (IMAGES, np.full(6, wrong)))
    assert found["loss"] == pytest.approx(200, rel=1e-6)
    assert found["accuracy"] == 0


@pytest.mark.parametrize("name", ["average", "activation layer", "one layer twice", "within twice", "sigmoid"])
def test_training_is_on_the_logits(name):
    """The first step's loss is the model's; a second softmax on its probabilities would start near log(classes)."""
    model = PROBABILITIES[name]()
    outputs = np.log(all_probabilities(np.asarray(model(IMAGES), "float64")))
    labels = np.arange(6) % classes_of(model)
    config = TrainConfig(epochs=1, batch_size=6, precision="float32", augment="none")
    result = fit(lambda: model, (IMAGES, labels), config=config)
    assert result.history["loss"][0] == pytest.approx(-outputs[np.arange(6), labels].mean(), rel=1e-5)


def test_one_output_is_two_classes(tmp_path):
    """What Keras's guide to transfer learning ends in: Dense(1), logits."""
    images = np.concatenate([np.full((20, 4, 4, 1), 40.0), np.full((20, 4, 4, 1), 200.0)])
    data = kzoo.data.Dataset.from_arrays(images, np.repeat([0, 1], 20), ["dark", "bright"])
    config = TrainConfig(epochs=30, batch_size=10, learning_rate=0.01, precision="float32")
    result = fit(on_features(dense(1)), data, data, config, tmp_path / "run")
    assert result.metrics["validation"]["accuracy"] == 1.0
    model = kzoo.load_model(tmp_path / "run")
    assert model.output_shape == (None, 1)
    [dark], [bright] = kzoo.predict(model, images[[0, -1]], top=1)
    assert (dark.label, bright.label) == ("dark", "bright")
    [both] = kzoo.predict(model, images[:1])
    assert sum(one.probability for one in both) == pytest.approx(1)
    with pytest.raises(InvalidArgument, match="Received: the label 2 in the training data"):
        fit(on_features(dense(1)), (images, np.arange(40) % 3), config=config)


@pytest.mark.parametrize(
    "end", [(dense(),), (dense(), L.Softmax), (dense(1),), (dense(dtype="float16"), L.Activation("linear"))]
)
def test_a_classifier_by_several_layers_is_taken_off_and_frozen_around(end):
    model = on_features(*end)()
    new = add_head(model, 4)
    assert [type(layer).__name__ for layer in new.layers[-2:]] == ["Dense", "Dense"]
    assert new.output_shape == (None, 4)
    assert [w.shape[-1] for w in freeze(model).trainable_weights] == [model.output_shape[-1]] * 2


def mobile(*end):
    """What MobileNet ends in."""
    images = keras.Input((4, 4, 3))
    x = L.Conv2D(6, 3, name="features")(images)
    x = L.Conv2D(5, 1, name="old")(L.GlobalAveragePooling2D(keepdims=True)(x))
    for layer in end:
        x = layer(x)
    return keras.Model(images, x)


def dense_then(*end):
    images = keras.Input((4, 4, 3))
    x = L.Dense(5, name="old")(L.Flatten(name="features")(images))
    for layer in end:
        x = layer(x)
    return keras.Model(images, x)


@pytest.mark.parametrize(
    ("build", "end"),
    [
        (mobile, [L.Reshape((5,)), L.Activation("softmax")]),
        (mobile, [L.Flatten()]),
        (mobile, [L.Softmax(), L.Flatten()]),
        (dense_then, [L.Reshape((5,))]),
        (dense_then, [L.Reshape((5,)), L.Softmax()]),
        (dense_then, [L.Rescaling(0.5)]),
    ],
)
def test_a_classifier_is_found_through_what_reshapes_or_scales_it(build, end):
    model = build(*end)
    assert "old" not in [layer.name for layer in add_head(model, 4).layers]
    assert {weight.path.split("/")[0] for weight in freeze(model).trainable_weights} == {"old"}


def test_what_ends_in_no_classifier_is_not_frozen_as_a_whole():
    for model in (dense_then(L.Reshape((5, 1)), L.Flatten(), L.ReLU()), mobile()):
        with pytest.raises(InvalidArgument, match="No classifier was found at the end of the model"):
            freeze(model)
        assert len(model.trainable_weights) == len(model.weights)


def test_an_average_of_logits_cannot_be_taken_off():
    features = keras.Input((3,))
    logits = [L.Dense(2)(features), L.Dense(2)(features)]
    with pytest.raises(InvalidArgument, match="a classifier that cannot be taken off"):
        add_head(keras.Model(features, L.Average()(logits)), 4)


def test_an_average_of_classifiers_cannot_be_taken_off():
    with pytest.raises(InvalidArgument, match="a classifier that cannot be taken off"):
        add_head(ensemble(), 4)

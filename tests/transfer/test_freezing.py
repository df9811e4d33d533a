"""freeze and unfreeze on every kind of model: what is frozen is the same to the bit after a real `fit`."""

import numpy as np
import pytest

import kzoo
from kzoo.backend import keras
from kzoo.errors import InvalidArgument
from kzoo.graph.endpoints import stages
from kzoo.transfer import add_head, freeze, unfreeze
from kzoo.transfer.cutting import find_cut
from kzoo.transfer.layerwise import rate_factors


def functional():
    return kzoo.create_model("resnet20_cifar", input_shape=(16, 16, 3), classes=3, classifier_activation=None)


def sequential():
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(4, 3, name="conv1_conv"),
            layers.BatchNormalization(name="conv1_bn"),
            layers.LeakyReLU(name="conv1_relu"),
            layers.Conv2D(4, 3, name="conv4_conv"),
            layers.BatchNormalization(name="conv4_bn"),
            layers.LeakyReLU(name="conv4_relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, name="predictions"),
        ],
        name="sequential",
    )


def nested():
    backbone = kzoo.create_model("resnet20_cifar", input_shape=(16, 16, 3), include_top=False, pooling="avg")
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(3, 1, name="before")(inputs)
    return keras.Model(inputs, keras.layers.Dense(3, name="predictions")(backbone(x)))


def application():
    return add_head(
        keras.applications.ResNet50(weights=None, include_top=False, input_shape=(32, 32, 3)),
        3,
        classifier_activation=None,
    )


MODELS = {make.__name__: make for make in (functional, sequential, nested, application)}
# The last stage that is frozen, and the one after it.
STAGES = {"functional": ("conv3", "conv4"), "sequential": ("conv1", "conv4"), "nested": ("conv3", "conv4")}
STAGES["application"] = ("conv4", "conv5")


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.slow if name == "application" else ()) for name in MODELS])
def kind(request):
    return request.param


@pytest.fixture
def model(kind):
    keras.utils.set_random_seed(0)
    return MODELS[kind]()


def fitted(model):
    """What changed of a model's weights in a few steps of `fit`: their paths, and the others'."""
    shape = model.input_shape[1:]
    images = np.random.default_rng(0).uniform(0, 255, (8, *shape)).astype("float32")
    before = [w.numpy().copy() for w in model.weights]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(1e-3), loss)
    model.fit(images, np.arange(8) % 3, batch_size=4, epochs=2, verbose=0)
    changed = [not np.array_equal(w.numpy(), b) for w, b in zip(model.weights, before, strict=True)]
    paths = [w.path.removeprefix("sequential/") for w in model.weights]
    assert all(np.isfinite(w.numpy()).all() for w in model.weights)
    return {p for p, c in zip(paths, changed, strict=True) if c}, {
        p for p, c in zip(paths, changed, strict=True) if not c
    }


def of_stage(paths, number):
    return {path for path in paths if path.startswith(f"conv{number}_")}


def is_statistic(path):
    return path.endswith(("moving_mean", "moving_variance"))


def is_of_batch_norm(path):
    return path.endswith(("gamma", "beta")) or is_statistic(path)


def test_all_but_the_classifier(model):
    changed, _ = fitted(freeze(model))
    assert changed == {"predictions/kernel", "predictions/bias"}


def test_through_a_stage(model, kind):
    last, first = STAGES[kind]
    changed, kept = fitted(freeze(model, through=last))
    names = {"functional": "1234", "sequential": "14", "nested": "1234", "application": "12345"}[kind]
    for number in names:
        paths = of_stage(changed | kept, number)
        assert paths
        # A bias before a batch normalization has no gradient, and what has none stays.
        trained = {p for p in paths if not (p.endswith("_conv/bias") or "before/" in p)}
        if number < first[-1]:
            assert not paths & changed, number
        else:
            assert trained <= changed, trained - changed
    assert "predictions/kernel" in changed
    if kind == "nested":
        assert {"before/kernel", "before/bias"} <= kept


def test_through_a_stage_of_keras_applications():
    test_through_a_stage(application(), "application")


@pytest.mark.parametrize("batch_norm", ["frozen", "affine", "train"])
def test_unfreezing_reaches_every_leaf(model, kind, batch_norm):
    freeze(model)
    model.trainable = False  # as a user may have done: it hides what the leaves are
    model.trainable = True
    freeze(model)
    changed, kept = fitted(unfreeze(model, batch_norm=batch_norm))
    everything = changed | kept
    left = {p for p in kept if not p.endswith(("_conv/bias", "seed_generator_state"))}
    left -= {"before/bias"} if batch_norm == "train" else set()  # before a batch normalization too
    expected = {
        "frozen": {p for p in everything if is_of_batch_norm(p)},
        "affine": {p for p in everything if is_statistic(p)},
        "train": set(),
    }[batch_norm]
    assert left == expected


def test_unfreezing_from_the_top(model, kind):
    _, first = STAGES[kind]
    changed, kept = fitted(unfreeze(freeze(model), down_to=first, batch_norm="train"))
    for number in "123"[: int(first[-1]) - 1]:
        assert not of_stage(changed, number)
    top = {p for p in of_stage(changed | kept, first[-1]) if not p.endswith("_conv/bias")}
    assert top <= changed
    assert top


def test_what_is_below_stays_as_it_is():
    model = functional()
    model.get_layer("conv1_conv").trainable = True
    freeze(model, through="conv3")
    model.get_layer("conv1_conv").trainable = True
    unfreeze(model, down_to="conv4")
    assert model.get_layer("conv1_conv").trainable
    assert not model.get_layer("conv2_block1_1_conv").trainable
    assert model.get_layer("conv4_block1_1_conv").trainable


def test_statistics_that_are_kept_are_what_training_normalizes_by(model):
    unfreeze(model, batch_norm="affine")
    images = np.random.default_rng(0).uniform(0, 255, (4, *model.input_shape[1:])).astype("float32")
    inference = np.asarray(model(images, training=False))
    np.testing.assert_array_equal(model(images, training=True), inference)
    unfreeze(model, batch_norm="train")
    assert not np.allclose(model(images, training=True), inference)


def test_a_model_that_was_compiled_must_be_compiled_again():
    model = sequential()
    for change in (freeze, unfreeze):
        model.compile("sgd", "mse")
        change(model)
        with pytest.raises(ValueError, match=r"compile\(\)"):
            model.fit(np.zeros((1, 16, 16, 3)), np.zeros((1, 3)), verbose=0)


def test_every_stage_of_the_zoo_can_be_the_last_that_is_frozen():
    for name in ("inception_v1", "vgg11_bn", "resnet50_v2", "mnist_net"):
        model = kzoo.create_model(name, input_shape=(96, 96, 3), include_top=False)
        frozen = []
        for stage in stages(model):
            unfreeze(model)
            freeze(model, through=stage)
            frozen.append(sum(np.prod(w.shape) for w in model.non_trainable_weights if not is_statistic(w.path)))
        assert frozen == sorted(set(frozen))
        assert frozen[0] > 0


def test_no_such_stage():
    with pytest.raises(
        InvalidArgument, match=r"Unknown stage of resnet20_cifar. Received: 'conv9'. .*Valid: conv1, conv2"
    ):
        freeze(functional(), through="conv9")
    with pytest.raises(InvalidArgument, match=r"Unknown batch_norm. Received: 'on'. Valid: affine, frozen, train"):
        unfreeze(functional(), batch_norm="on")  # pyright: ignore[reportArgumentType]


def test_a_stage_of_two_models_within():
    inputs = keras.Input((16, 16, 3))
    one, other = (
        kzoo.create_model("resnet20_cifar", input_shape=(16, 16, 3), include_top=False, pooling="avg") for _ in range(2)
    )
    other.name = "other"
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Concatenate()([one(inputs), other(inputs)])))
    with pytest.raises(InvalidArgument, match=r"Several models within .* Received: 'conv3' of resnet20_cifar, other"):
        freeze(model, through="conv3")


@pytest.mark.slow
@pytest.mark.parametrize("batch_norm", ["frozen", "affine"])
def test_a_model_frozen_in_part_predicts_the_same_in_a_fresh_process(model, batch_norm, tmp_path, fresh_python):
    unfreeze(freeze(model), batch_norm=batch_norm)
    fitted(model)
    images = np.random.default_rng(1).uniform(0, 255, (2, *model.input_shape[1:])).astype("float32")
    np.save(tmp_path / "images.npy", images)
    from kzoo.saving import save_model

    save_model(model, tmp_path / "net.keras")
    code = (
        "import sys, numpy as np, kzoo; model = kzoo.load_model(sys.argv[1])\n"
        "np.save(sys.argv[3], np.asarray(model(np.load(sys.argv[2]), training=False)))"
    )
    fresh_python(code, tmp_path / "net.keras", tmp_path / "images.npy", tmp_path / "out.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), model(images, training=False))


class Scaled(keras.layers.Layer):
    """A layer with a layer in it, and a weight of its own."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.dense = keras.layers.Dense(4)

    def build(self, shape):
        self.dense.build(shape)
        self.scale = self.add_weight(shape=(4,), initializer="ones", name="scale")

    def call(self, inputs):
        return self.dense(inputs) * self.scale


def test_a_composite_layer_with_weights_of_its_own():
    inputs = keras.Input((4,))
    x = Scaled(name="lower")(inputs)
    x = Scaled(name="upper")(x)
    model = keras.Model(inputs, keras.layers.Dense(2, name="predictions")(x))
    head = ["predictions/kernel", "predictions/bias"]
    assert [weight.path for weight in freeze(model).trainable_weights] == head
    assert find_cut(model) == "upper"
    unfreeze(model, down_to="upper")
    trained = [id(weight) for weight in model.trainable_weights]
    upper, last = model.get_layer("upper"), model.get_layer("predictions")
    assert sorted(trained) == sorted(id(weight) for weight in upper.weights + last.weights)
    assert find_cut(model) == "lower"
    factors = rate_factors(model, 0.5)
    assert [factors[id(weight)] for weight in model.get_layer("upper").weights] == [0.5] * 3

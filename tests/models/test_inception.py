"""Inception v1: its exact sizes, and BVLC GoogLeNet's answers from BVLC GoogLeNet's weights."""

import itertools
import json
import math

import numpy as np
import pytest
from PIL import Image

import kzoo
from kzoo.backend import keras
from kzoo.errors import InvalidArgument
from kzoo.layers import BatchNormalization
from kzoo.models import inception
from kzoo.weights import formats
from kzoo.weights.convert import convert

NAMES = ["inception_v1", "inception_v1_bn"]
HEADS = ["auxiliary_1", "auxiliary_2", "predictions"]


def pixels(shape, batch=2):
    return np.random.default_rng(0).integers(0, 256, (batch, *shape), "uint8")


def size(variables):
    return sum(math.prod(v.shape) for v in variables if "seed" not in v.path)


@pytest.mark.parametrize(
    ("name", "trainable", "with_heads"),
    # BVLC's and torchvision's, each without and with its auxiliary heads.
    [("inception_v1", 6_998_552, 13_378_280), ("inception_v1_bn", 6_624_904, 13_004_888)],
)
def test_exact_parameter_count(name, trainable, with_heads, shapes_only):
    with shapes_only():
        model = kzoo.create_model(name)
        assert (model.input_shape, model.output_shape, model.name) == ((None, 224, 224, 3), (None, 1000), name)
        assert size(model.trainable_variables) == trainable
        assert size(kzoo.create_model(name, auxiliary_heads=True).trainable_variables) == with_heads


@pytest.mark.parametrize("name", NAMES)
def test_sizes_are_those_of_table_1(name, shapes_only):
    with shapes_only():
        model = kzoo.create_model(name)
    shapes = [model.get_layer(layer).output.shape[1::2] for layer in ("conv1_7x7_s2", "pool1_3x3_s2", "conv2_3x3")]
    assert shapes == [(112, 64), (56, 64), (56, 192)]
    shapes = [model.get_layer(f"inception_{module}").output.shape[1::2] for module in inception.MODULES]
    widths = zip([28] * 2 + [14] * 5 + [7] * 2, [256, 480, 512, 512, 512, 528, 832, 832, 1024], strict=True)
    assert shapes == list(widths)
    assert model.get_layer("inception_4e_5x5_reduce").filters == 32
    assert model.get_layer("inception_5b_pool_proj").filters == 128


@pytest.fixture(scope="module")
def bvlc(real_data):
    """BVLC GoogLeNet, from its raw files."""
    model = kzoo.create_model("inception_v1")
    convert(formats.read(real_data / "weights" / "bvlc_googlenet", "raw"), model, "bvlc")
    return model


def test_bvlc_googlenet_recognizes_what_it_did(bvlc, real_data):
    folder = real_data / "imagenet_samples"
    index = json.loads((folder / "imagenet_class_index.json").read_text())
    class_of = {wordnet_id: int(i) for i, (wordnet_id, _) in index.items()}
    paths = sorted(folder.glob("*.JPEG"))
    images, labels = [], [class_of[path.name.split("_")[0]] for path in paths]
    for path in paths:
        with Image.open(path) as image:
            left, top = (image.width - 224) // 2, (image.height - 224) // 2
            images.append(np.asarray(image.convert("RGB").crop((left, top, left + 224, top + 224))))
    probabilities = bvlc.predict(np.stack(images), batch_size=25, verbose=0)
    best = np.argsort(-probabilities, axis=1)[:, :5]
    hits = best == np.array(labels)[:, np.newaxis]
    assert len(paths) == 100
    # Known for these weights and these crops. The closest call is 0.003 nats apart, far above rounding in float32.
    assert (hits[:, 0].sum(), hits.sum()) == (77, 94)


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 9), (8, 9), (9, 8), (2, 3), (3, 2), (14, 7)])
def test_pooling_rounds_sizes_up(height, width, dynamic):
    images = keras.Input((None, None, 2) if dynamic else (height, width, 2))
    x = np.random.default_rng(0).random((3, height, width, 2), "float32")
    found = np.asarray(keras.Model(images, inception._max_pool(images, 3, "pool"))(x))
    rows, columns = (math.ceil((n - 3) / 2) + 1 for n in (height, width))  # Caffe's pooling_layer.cpp
    assert found.shape == (3, rows, columns, 2)
    for i, j in itertools.product(range(rows), range(columns)):
        window = x[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
        np.testing.assert_array_equal(found[:, i, j], window.max(axis=(1, 2)))


@pytest.mark.parametrize(
    ("name", "shape", "last"),
    [
        ("inception_v1", (31, 31, 3), (1, 1)),
        ("inception_v1", (33, 64, 1), (1, 2)),
        ("inception_v1", (225, 299, 5), (7, 9)),
        ("inception_v1", (None, None, 4), (None, None)),
        ("inception_v1_bn", (15, 15, 3), (1, 1)),
        ("inception_v1_bn", (47, 32, 2), (2, 1)),
        ("inception_v1_bn", (None, 65, 1), (None, 2)),
    ],
)
def test_other_inputs_and_classes(name, shape, last, shapes_only):
    with shapes_only():
        model = kzoo.create_model(name, input_shape=shape, classes=7)
    assert model.get_layer("inception_5b").output.shape[1:3] == last
    assert model.output_shape == (None, 7)
    trainable = {"inception_v1": 6_998_552, "inception_v1_bn": 6_624_904}[name]
    assert size(model.trainable_variables) == trainable + 7 * 7 * 64 * (shape[2] - 3) - 993 * 1025


def test_an_image_size_left_open_gives_the_same():
    arguments = {"include_top": False, "pooling": "avg"}
    fixed = kzoo.create_model("inception_v1", input_shape=(45, 62, 3), **arguments)
    flexible = kzoo.create_model("inception_v1", input_shape=(None, None, 3), **arguments)
    flexible.set_weights(fixed.get_weights())
    images = pixels((45, 62, 3))
    np.testing.assert_array_equal(flexible(images), fixed(images))


def test_normalization_is_torchvisions(shapes_only):
    with shapes_only():
        model = kzoo.create_model("inception_v1_bn", auxiliary_heads=True)
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert len(convolutions) == 57 + 2
    for convolution in convolutions:
        norm = model.get_layer(f"{convolution.name}_bn")
        assert not convolution.use_bias
        assert (type(norm), norm.epsilon, norm.momentum) == (BatchNormalization, 1e-3, 0.9)


@pytest.fixture(scope="module", params=NAMES)
def with_heads(request):
    """A net with auxiliary heads, for images of 96 x 96 and ten classes."""
    keras.utils.set_random_seed(0)
    return kzoo.create_model(
        request.param, input_shape=(96, 96, 3), classes=10, auxiliary_heads=True, classifier_activation=None
    )


def test_auxiliary_heads_are_named_outputs_and_can_be_removed(with_heads):
    images = pixels((96, 96, 3))
    outputs = with_heads(images)
    assert isinstance(outputs, dict)
    assert sorted(outputs) == HEADS
    assert {x.shape for x in outputs.values()} == {(2, 10)}
    without = keras.Model(with_heads.input, with_heads.output["predictions"])
    default = kzoo.create_model(with_heads.name, input_shape=(96, 96, 3), classes=10, classifier_activation=None)
    # Ten classes instead of a thousand.
    expected = {"inception_v1": 6_998_552, "inception_v1_bn": 6_624_904}[with_heads.name] - 990 * 1025
    assert size(without.trainable_variables) == size(default.trainable_variables) == expected
    assert [w.path for w in without.weights] == [w.path for w in default.weights]
    default.set_weights(without.get_weights())
    np.testing.assert_array_equal(default(images), outputs["predictions"])


def test_auxiliary_heads_are_the_papers(shapes_only):
    with shapes_only():
        model = kzoo.create_model("inception_v1", auxiliary_heads=True)
    for head, channels in (("auxiliary_1", 512), ("auxiliary_2", 528)):
        # Section 5: "an average pooling layer with 5x5 filter size and stride 3, resulting in an 4x4x512 output".
        assert model.get_layer(f"{head}_avg_pool").output.shape == (None, 4, 4, channels)
        assert model.get_layer(f"{head}_conv").output.shape == (None, 4, 4, 128)
        assert model.get_layer(f"{head}_fc").output.shape == (None, 1024)
        assert model.get_layer(f"{head}_dropout").rate == 0.7
    assert model.get_layer("dropout").rate == 0.4


def test_auxiliary_heads_train_with_plain_compile_and_fit():
    model = kzoo.create_model(
        "inception_v1", input_shape=(79, 79, 3), classes=3, auxiliary_heads=True, classifier_activation=None
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    weights = {"predictions": 1.0, "auxiliary_1": 0.3, "auxiliary_2": 0.3}
    model.compile("sgd", dict.fromkeys(weights, loss), loss_weights=weights)
    labels = dict.fromkeys(weights, np.array([1, 2]))
    history = model.fit(pixels((79, 79, 3)), labels, verbose=0).history
    total = sum(weight * history[f"{head}_loss"][0] for head, weight in weights.items())
    np.testing.assert_allclose(history["loss"][0], total, rtol=1e-5)


def test_kzoo_train_uses_the_heads_and_saves_the_model_without(tmp_path):
    def build():
        return kzoo.create_model("inception_v1_bn", input_shape=(31, 31, 3), classes=2, auxiliary_heads=True)

    data = pixels((31, 31, 3)), np.array([0, 1])
    config = kzoo.train.TrainConfig(epochs=2, precision="float32")
    result = kzoo.train.fit(build, data, config=config, run_dir=tmp_path / "run")
    assert {"auxiliary_1_loss", "auxiliary_2_loss"} < set(result.history)
    default = kzoo.create_model("inception_v1_bn", input_shape=(31, 31, 3), classes=2)
    saved = kzoo.load_model(tmp_path / "run")
    assert [(w.path, w.shape) for w in saved.weights] == [(w.path, w.shape) for w in default.weights]


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("vgg11", {}, "vgg11 has no auxiliary heads. Received: auxiliary_heads=True. Valid: False."),
        (
            "inception_v1",
            {"include_top": False},
            "auxiliary_heads describes the top, which include_top=False leaves out. Received: auxiliary_heads=True.",
        ),
        (
            "inception_v1",
            {"input_shape": (78, 79, 3)},
            "inception_v1 with auxiliary heads takes input_shape=(height, width, channels) of at least 79 x 79 x 1. "
            "Received: (78, 79, 3). Default: (224, 224, 3).",
        ),
        (
            "inception_v1_bn",
            {"input_shape": (None, None, 3)},
            "inception_v1_bn with auxiliary heads takes input_shape=(height, width, channels) of at least 31 x 31 x 1. "
            "Received: (None, None, 3). Default: (224, 224, 3).",
        ),
    ],
)
def test_messages(name, arguments, message):
    with pytest.raises(InvalidArgument) as caught:
        kzoo.create_model(name, auxiliary_heads=True, **arguments)
    assert str(caught.value) == message

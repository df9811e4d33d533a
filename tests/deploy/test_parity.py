"""Every model of the zoo in every engine against Keras; in the quick tests one of each family."""

import gc

import numpy as np
import pytest
from exported_models import name_of, needs

import kzoo
from kzoo.deploy import checking, converting, engines, formats
from kzoo.deploy.description import Source
from kzoo.deploy.exporting import described
from kzoo.deploy.graph import classifier_of, inference_graph
from kzoo.models import registry

# Local response normalization, rounded-up pooling and BGR; padded shortcuts; convolution after normalization; ...
QUICK = ("mnist_net", "vgg11_bn", "inception_v1", "resnet18", "resnet18_v2", "resnet20_cifar")
# These two converters copy the weights again and again: 28 million of them for half a minute.
COPIED = (("vgg11_bn", "onnx"), ("vgg11_bn", "litert"))
# A grouped convolution, and blocks of Keras's other families.
OTHERS = ("keras:MobileNet", "keras:EfficientNetB0", "keras:DenseNet121")


def build(name):
    """With weights that a mistake shows in, for images as small as the model takes."""
    if name.startswith("keras:"):
        model = kzoo.create_model(name, input_shape=(64, 64, 3), classes=10)
    else:
        card = registry.get_card(name)
        shape = card.input_shape if name == "mnist_net" else (32, 32, 3)
        model = kzoo.create_model(name, input_shape=shape, classes=10)
    random, weights = np.random.default_rng(0), model.get_weights()
    # Of each normalization gamma near 1, beta, mean and variance of some size: none is 0 or 1.
    model.set_weights([w * 0.8 + random.uniform(0.1, 0.3, w.shape) if w.ndim == 1 else w for w in weights])
    return model


def case(name, kind):
    """A model in a format; a slow test if it takes long."""
    is_quick = name in QUICK and (name, kind) not in COPIED
    return pytest.param(name, kind, marks=() if is_quick else pytest.mark.slow)


CASES = [case(name, kind) for name in (*kzoo.list_models(), *OTHERS) for kind in formats.FORMATS]


@pytest.fixture(scope="module")
def net(request):
    """The model, its graph, images, and what Keras computes of them."""
    model = classifier_of(build(request.param))
    images = np.random.default_rng(1).integers(0, 256, (3, *model.input_shape[1:]), "uint8")
    yield model, inference_graph(model), images, checking.keras_compute(model)(images)
    gc.collect()  # the converters leave copies of the weights in cycles: 10 GB of all nets


@pytest.mark.parametrize(("net", "kind"), CASES, indirect=["net"])
def test_the_engine_computes_what_keras_does(net, kind, tmp_path):
    needs(kind)
    model, function, images, wanted = net
    path = tmp_path / name_of(kind)
    if not formats.FORMATS[kind].suffix:
        path.mkdir()
    converting.write(kind, function, path)
    converting.describe(kind, path, described(model, Source(file="test", licence=None), kind))
    found = engines.load(path).probabilities(images)
    # Sums in another order, through up to 152 layers, of float32: relative to the likeliest class, as the check does.
    relative = np.abs(found - wanted).max(axis=1) / wanted.max(axis=1)
    assert relative.max() < checking.TOLERANCE / 10
    assert np.ptp(wanted) > 1e-4  # the classes differ: a constant would be the same everywhere


def test_a_model_of_any_size_takes_odd_sizes_and_batches(tmp_path):
    needs("openvino")
    model = kzoo.create_model("inception_v1_bn", input_shape=(None, None, 3), classes=5)
    images = np.random.default_rng(0).integers(0, 256, (4, 80, 64, 3), "uint8")
    from kzoo import deploy

    made = deploy.export(model, tmp_path / "model", "openvino", images=images)
    assert made.description.input_shape == (None, None, 3)
    loaded = deploy.load(made.path)
    reference = checking.keras_compute(classifier_of(model))
    for shape in ((1, 65, 51, 3), (2, 50, 65, 3)):
        pixels = np.random.default_rng(1).integers(0, 256, shape, "uint8")
        np.testing.assert_allclose(loaded.probabilities(pixels), reference(pixels), atol=1e-5)

# pyright: reportMissingImports=false
"""Files as each source saves them, filled with the golden weights, give the golden logits."""

import re
import sys
from pathlib import Path
from typing import Any

import files
import numpy as np
import pytest

import kzoo
from kzoo.backend import keras
from kzoo.models.registry import get_card
from kzoo.weights import formats
from kzoo.weights.convert import convert
from kzoo.weights.names import SOURCES, source_of
from kzoo.weights.resolve import resolve

GOLDEN = Path(__file__).parents[1] / "golden"
sys.path.insert(0, str(GOLDEN))

import generated  # noqa: E402
import make_goldens  # noqa: E402

GOLDENS = files.json.loads((GOLDEN / "goldens.json").read_text())
KZOO = {theirs: ours for ours, theirs in make_goldens.TORCHVISION.items()}
TORCHVISION = {theirs: ours for ours, theirs in make_goldens.TIMM_RENAMED.items()}
PYTORCH_KINDS = {"kernel": "weight", "gamma": "weight", "moving_mean": "running_mean", "moving_variance": "running_var"}
QUICK = (  # one of each source and container
    "timm resnet18 safetensors",
    "torchvision googlenet pytorch",
    "akamaster resnet20_cifar pytorch",
    "keras ResNet50 keras_h5",
    "keras ResNet50-notop keras_weights_h5",
)


def with_slow(names):
    return [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in names]


def listings(*sources):
    return [name for name in files.LISTINGS if name.split()[0] in sources]


def test_every_source_has_listings():
    assert {name.split()[0] for name in files.LISTINGS} == set(SOURCES) - {"kzoo"}
    assert len(files.LISTINGS) == 42 + 32 + 1
    assert (Path(files.__file__).parent / "listings.json.xz").stat().st_size < 50_000


def test_every_model_that_a_source_has_is_listed():
    def theirs(source, name):
        if source == "timm":
            return get_card(name).timm
        name = re.sub("_v2$", "v2", make_goldens.reference_name(generated.Case(name)))
        return name.lower() if source != "keras" else re.sub("_v2$", "v2", name)

    for source, publisher in SOURCES.items():
        if source != "kzoo":
            listed = {name.split()[1].lower().removesuffix("-notop") for name in listings(source)}
            assert listed == {theirs(source, name) for name in kzoo.list_models() if publisher.has(name)}


def golden_weight(model, name, shape, dtype):
    """The golden weight for a tensor of PyTorch's."""
    if dtype == "int64":
        return np.array(1000)
    module, _, kind = name.removeprefix("module.").rpartition(".")
    name = f"{TORCHVISION.get(module, module)}.{kind}"
    shape_in_torchvision = shape
    if module in TORCHVISION and len(shape) == 4:  # a fully connected layer as a convolution
        shape_in_torchvision = (shape[0], int(np.prod(shape[1:])))
    return generated.weight(model, name, shape_in_torchvision).reshape(shape)


# tests/models/test_resnet_v2_basic.py has the logits of what torchvision lacks.
WITH_GOLDENS = [name for name in listings("timm", "torchvision", "akamaster") if "resnetv2" not in name]


@pytest.mark.parametrize("name", with_slow(WITH_GOLDENS))
def test_golden_logits(name, tmp_path):
    source, model_name, container = name.split()
    model_name = KZOO.get(model_name, model_name)
    files.save(tmp_path / "file", name, lambda *tensor: golden_weight(model_name, *tensor))
    assert formats.format_of(tmp_path / "file") == container
    tensors = formats.read(tmp_path / "file", container)
    assert len(tensors) == len(files.LISTINGS[name])
    by_names = source_of(model_name, tensors)
    assert by_names == source or (by_names == "timm" and not model_name.startswith("vgg"))  # the same names there
    cases = [case for case in generated.CASES if case.model == model_name]
    assert cases
    for case in cases:
        model = kzoo.create_model(
            case.model,
            # Of resnet34 there are weights of two preprocessings.
            weights=resolve(case.model, tmp_path / "file", like="tv_in1k" if case.model == "resnet34" else None),
            input_shape=(*case.size, 3),
            classifier_activation=None,
            include_preprocessing=case.pixels,
            auxiliary_heads=case.auxiliary_heads,
        )
        outputs = model(generated.images(case))
        outputs = outputs if case.auxiliary_heads else {"predictions": outputs}
        for head, expected in GOLDENS["logits"][case.name].items():
            # As in the test of the goldens themselves.
            atol = 1e-4 * np.abs(expected).max()
            np.testing.assert_allclose(generated.some(outputs[head]), expected, rtol=0, atol=atol)
    (tmp_path / "file").unlink()  # up to 0.6 GB


def keras_weight(layer, kind, shape):
    """A weight of one of Keras's layers, made by the golden rule for PyTorch's kinds and shapes."""
    kind = PYTORCH_KINDS.get(kind, kind)
    if len(shape) == 1:
        return generated.weight("keras", f"{layer}.{kind}", shape)
    outputs_first = (len(shape) - 1, *range(len(shape) - 1))
    in_pytorch = tuple(shape[axis] for axis in outputs_first)
    return np.moveaxis(generated.weight("keras", f"{layer}.{kind}", in_pytorch), 0, -1).copy()


def published(name):
    """What keras.applications' published files call a variable or layer: "probs", and a suffix of TensorFlow 1."""
    name = re.sub(r"^predictions\b", "probs", name)
    return f"{name}:0" if "/" in name else name


def published_vgg(name):
    """The same for VGG, whose files are from Keras 1."""
    return re.sub(r"^(\w+)/(kernel|bias)$", lambda found: f"{found[1]}_{'Wb'[found[2] == 'bias']}_1:0", name)


@pytest.mark.parametrize("name", with_slow(listings("keras")))
def test_equals_keras_applications(name, tmp_path):
    _, application, container = name.split()
    application, top = application.removesuffix("-notop"), not application.endswith("-notop")
    vgg = application.startswith("VGG")
    shape = (224, 224, 3) if vgg and top else (64, 96, 3)
    options: dict[str, Any] = {"classifier_activation": None} if top else {}
    reference = getattr(keras.applications, application)(weights=None, include_top=top, input_shape=shape, **options)
    for weight in reference.weights:
        layer, kind = weight.path.split("/")
        weight.assign(keras_weight(layer, kind, tuple(weight.shape)))
    by_position = {f"{layer.name}/{i}": w for layer in reference.layers for i, w in enumerate(layer.weights)}
    values = {**by_position, **{w.path: w for w in reference.weights}}
    files.save(
        tmp_path / "file",
        name,
        lambda tensor, shape, _dtype: values[tensor].numpy().reshape(shape),
        published_vgg if vgg else published,
    )
    ours = re.sub(r"v2$", "_v2", application.lower())
    model = kzoo.create_model(ours, include_top=top, input_shape=shape, include_preprocessing=False, **options)
    assert formats.format_of(tmp_path / "file") == container
    tensors = formats.read(tmp_path / "file", container)
    assert (source_of(ours, tensors), SOURCES["keras"].classes(tensors)) == ("keras", 1000 if top else None)
    convert(tensors, model, "keras")
    (tmp_path / "file").unlink()
    for weight, expected in zip(model.weights, reference.weights, strict=True):
        np.testing.assert_array_equal(weight, expected)
    images = np.random.default_rng(0).normal(size=(1, *shape)).astype("float32")
    outputs, expected = np.asarray(model(images)), np.asarray(reference(images))
    # The same numbers through other kernels for batch normalization and biases.
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_raw_files_are_put_where_their_names_say(tmp_path):
    (name,) = listings("bvlc")
    drawn = {}

    def draw(tensor, shape, _dtype):
        drawn[tensor] = np.random.default_rng(len(drawn)).normal(size=shape).astype("<f4")
        return drawn[tensor]

    files.save(tmp_path, name, draw)
    model = kzoo.create_model("inception_v1")
    tensors = formats.read(tmp_path, "raw")
    assert source_of("inception_v1", tensors) == "bvlc"
    convert(tensors, model, "bvlc")
    for weight in model.weights:
        layer, kind = weight.path.split("/")
        file = "loss3/classifier" if layer == "predictions" else re.sub(r"^(conv\d|inception_..)_", r"\1/", layer)
        found = drawn.pop(f"{file}_{ {'kernel': 'filter', 'bias': 'bias'}[kind] }.bin")
        if kind == "kernel":  # out, height, width, in
            *window, inputs, outputs = weight.shape
            found = np.moveaxis(found.reshape(outputs, *window, inputs), 0, -1)
        np.testing.assert_array_equal(weight, found)
    assert not drawn


@pytest.mark.parametrize("depth", [20, 32])
def test_the_real_checkpoints_have_the_names_that_are_listed(depth, real_data):
    (path,) = (real_data / "weights").glob(f"resnet{depth}-*.th")
    real = {f"module.{name}": list(x.shape) for name, x in formats.read(path, "pytorch").items()}
    listing = files.LISTINGS[f"akamaster resnet{depth}_cifar pytorch"]
    # PyTorch 0.3 had no counters yet.
    assert real == {name: shape for name, shape, dtype in listing if dtype == "float32"}


def test_the_real_raw_files_have_the_names_that_are_listed(real_data):
    real = formats.read(real_data / "weights" / "bvlc_googlenet", "raw")
    listing = files.LISTINGS["bvlc inception_v1 raw"]
    assert {f"{name}.bin": list(x.shape) for name, x in real.items()} == {name: shape for name, shape, _ in listing}

"""The classifiers of keras.applications: what Keras computes, from raw pixels, with weights read without Keras."""

from typing import Any

import numpy as np
import pytest
from keras_files import build, load_by_keras, preprocess_by_keras, what_keras_asks_for, write

import kzoo
from kzoo.backend import keras
from kzoo.classifier import class_names_of
from kzoo.errors import InvalidArgument, WeightsError
from kzoo.weights.records.applications import RECORDS
from kzoo.weights.registry import get_record, list_weights

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
# The smallest images that each family takes; the others 32.
SMALLEST = {"InceptionV3": 75, "InceptionResNetV2": 75, "Xception": 71}
NAMES = [model.removeprefix("keras:") for model in RECORDS]
MOST_PARAMETERS = 130e6  # of those whose weights are written and read by the slow tests


def pixels(size, images=2):
    return np.random.default_rng(1).integers(0, 256, (images, size, size, 3)).astype("float32")


def check_it_computes_what_keras_does(name, size, path, monkeypatch, *, include_top):
    """Keras loads the file into a model of its own, and is given what its preprocess_input makes of the pixels."""
    write(build(name, size, include_top=include_top), path)
    ours = kzoo.create_model(f"keras:{name}", weights=path, input_shape=(size, size, 3), include_top=include_top)
    theirs = load_by_keras(name, path, (size, size, 3), include_top=include_top, monkeypatch=monkeypatch)
    images = pixels(size).astype(ours.compute_dtype)
    expected = np.asarray(theirs(preprocess_by_keras(name, images)))
    found = np.asarray(ours(images))
    assert found.dtype == ours.compute_dtype
    assert expected.std() > 1e-6
    # Preprocessing is float32 on both sides, and the same up to rounding. Random weights make that greater from layer
    # to layer: in float32 to 1e-2 through the 300 of EfficientNetV2B3, so that the deep ones compute in float64.
    rtol = {"float32": 1e-3, "float64": 1e-4}[ours.compute_dtype]
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol / 50 * np.abs(expected).max())
    return ours


@pytest.fixture
def float64():
    """Models that are built have the dtype policy float64."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize(("name", "include_top"), [("MobileNetV3Small", True), ("EfficientNetB0", False)])
def test_small_ones_compute_what_keras_does(name, include_top, tmp_path, monkeypatch):
    """EfficientNetB0 with ImageNet's weights is another network than without, which Keras does not say."""
    model = check_it_computes_what_keras_does(name, 64, tmp_path / "w.h5", monkeypatch, include_top=include_top)
    assert model.name == name
    assert model.dtype_policy.name == "float32"
    names = class_names_of(model)
    assert (None if names is None else names[281]) == ("tabby" if include_top else None)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", NAMES)
def test_every_one_computes_what_keras_does(name, tmp_path, monkeypatch):
    size = SMALLEST.get(name, 32)
    with keras.StatelessScope(initialize_variables=False):
        parameters = kzoo.create_model(f"keras:{name}", include_top=False, input_shape=(size, size, 3)).count_params()
    if parameters > MOST_PARAMETERS:
        pytest.skip(f"{parameters:,} parameters")
    check_it_computes_what_keras_does(name, size, tmp_path / "w.h5", monkeypatch, include_top=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ConvNeXtTiny", "DenseNet121", "EfficientNetB0", "EfficientNetV2B0", "MobileNet",
                                  "MobileNetV2", "NASNetMobile", "ResNet50", "ResNet50V2"])  # fmt: skip
@pytest.mark.usefixtures("float64")
def test_classifiers_compute_what_keras_does(name, tmp_path, monkeypatch):
    model = check_it_computes_what_keras_does(name, 224, tmp_path / "w.h5", monkeypatch, include_top=True)
    names = class_names_of(model)
    assert names is not None
    assert names[281] == "tabby"


@pytest.mark.slow
@pytest.mark.parametrize("include_top", [True, False])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore:.*`rows` is not")
def test_keras_downloads_the_same_files(name, include_top, monkeypatch):
    record = RECORDS[f"keras:{name}"][not include_top]
    shape = record.input_size
    with what_keras_asks_for(monkeypatch) as asked, pytest.raises(LookupError):
        getattr(keras.applications, name)(weights="imagenet", include_top=include_top, input_shape=shape)
    [file] = record.files
    assert asked == [(file.name, file.url, file.sha256 or file.md5)]


def test_the_list_is_keras_s():
    assert sorted(NAMES) == sorted(name for name in dir(keras.applications) if name[0].isupper())
    assert len(list_weights("keras:*")) == 2 * len(NAMES) == 80
    assert [r.model for r in list_weights("keras:VGG*")] == ["keras:VGG16"] * 2 + ["keras:VGG19"] * 2
    assert not any(record.model.startswith("keras:") for record in list_weights())
    with_top, without = list_weights("keras:EfficientNetV2B3")
    assert (with_top.tag, with_top.input_size, with_top.include_top) == ("keras_in1k", (300, 300, 3), True)
    assert (without.tag, without.include_top, without.accuracy) == ("keras_in1k_notop", False, None)
    assert with_top.accuracy is not None
    assert (with_top.accuracy.top1, with_top.accuracy.measured) == (0.82, False)
    assert get_record("keras:EfficientNetV2B3", "imagenet") is with_top


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", NAMES)
def test_sizes_are_keras_s(name):
    """Where Keras states it: with a top, a model of random weights takes images of its size alone."""
    size = getattr(keras.applications, name)(weights=None).input_shape[1]
    assert RECORDS[f"keras:{name}"][0].input_size[0] == (size or 224)  # MobileNetV3 leaves it open


def test_names_last_whatever_the_process_has_made():
    """They are in features' keys and checkpoints, which another process reads."""
    first = kzoo.create_model("keras:MobileNetV2", include_top=False, input_shape=(32, 32, 3))
    keras.layers.Add()([keras.Input((2,)), keras.Input((2,))])
    second = kzoo.create_model("keras:MobileNetV2", include_top=False, input_shape=(32, 32, 3))
    assert [layer.name for layer in first.layers] == [layer.name for layer in second.layers]
    assert first.layers[0].name == "images"
    assert {type(layer).__module__.split(".")[0] for layer in first.layers} == {"keras", "kzoo"}  # the fast ones


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Keras's smallest network, and the file of its weights."""
    model = build("MobileNetV3Small", 32)
    return model, write(model, tmp_path_factory.mktemp("files") / "small.h5")


def create(path, **arguments):
    return kzoo.create_model("keras:MobileNetV3Small", weights=path, input_shape=(32, 32, 3), **arguments)


def test_a_file_without_a_hash_is_said(small, capfd):
    create(small[1])
    assert "small.h5 has no known hash" in capfd.readouterr().err


def test_a_file_of_other_classes(tmp_path):
    path = write(build("MobileNetV3Small", 32, classes=7), tmp_path / "seven.h5")
    model = create(path)
    assert model.output_shape == (None, 7)
    assert class_names_of(model) is None


def test_files_that_do_not_fit(small, tmp_path):
    model, path = small
    with pytest.raises(WeightsError, match=r"do not fit keras:MobileNetV3Large: it has \d+ layers with weights"):
        kzoo.create_model("keras:MobileNetV3Large", weights=path)
    narrow = write(build("MobileNetV3Small", 32, alpha=0.75), tmp_path / "narrow.h5")
    with pytest.raises(WeightsError, match=r"its layer 'expanded_conv_depthwise'|its layer 'expanded_conv_\S+' holds"):
        create(narrow)
    cut = tmp_path / "cut.h5"
    cut.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(WeightsError, match="it was cut off"):
        create(cut)
    model.save_weights(tmp_path / "new.weights.h5")
    with pytest.raises(WeightsError, match=r"save it as model.keras, and name that file"):
        create(tmp_path / "new.weights.h5")


def test_layers_that_have_changed_places(small, tmp_path):
    """Keras loads them into each other's, without a word."""
    import h5py

    _, path = small
    other = tmp_path / "swapped.h5"
    other.write_bytes(path.read_bytes())
    with h5py.File(other, "r+") as file:
        stored: Any = file.attrs["layer_names"]
        names = list(stored)
        one, two = "expanded_conv_3_depthwise_bn", "expanded_conv_3_expand_bn"
        i, j = names.index(one), names.index(two)
        names[i], names[j] = two, one
        file.attrs["layer_names"] = names
    with pytest.raises(WeightsError, match=f"its layer '{one}' is in the place of '{two}'"):
        create(other)


@pytest.mark.parametrize(
    ("name", "arguments", "line"),
    [
        ("keras:EfficentNetB0", {}, "Did you mean 'keras:EfficientNetB0'"),
        ("keras:VGG16", {"input_shape": (64, 64, 1)}, "takes RGB images"),
        ("keras:VGG16", {"input_shape": (16, 16, 3)}, "Keras does not build keras:VGG16"),
        ("keras:VGG16", {"dropout": 0.5}, "dropout is for a model of kzoo list"),
        ("keras:VGG16", {"auxiliary_heads": True}, "auxiliary_heads is for a model of kzoo list"),
        ("keras:VGG16", {"weights": "imagenet21k"}, "Unknown weights for keras:VGG16"),
    ],
)
def test_what_cannot_be(name, arguments, line):
    with pytest.raises(InvalidArgument, match=line) as caught:
        kzoo.create_model(name, **arguments)
    assert "\n" not in str(caught.value)


def test_weights_and_another_head(small):
    with pytest.raises(InvalidArgument, match=r"has a classifier\. Received: include_top=False"):
        create(small[1], include_top=False)
    with pytest.raises(InvalidArgument, match="For other classes fine-tune it"):
        create(small[1], classes=5)


def test_it_is_found_in_keras_s_cache_if_its_hash_is_right(small, tmp_path, monkeypatch, capfd):
    import hashlib
    from dataclasses import replace

    record = RECORDS["keras:MobileNetV3Small"][0]
    file = replace(record.files[0], md5=hashlib.md5(small[1].read_bytes(), usedforsecurity=False).hexdigest())
    monkeypatch.setitem(RECORDS, "keras:MobileNetV3Small", (replace(record, files=(file,)), RECORDS[record.model][1]))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("KZOO_HOME", str(tmp_path / "home"))
    with pytest.raises(WeightsError, match="kzoo weights fetch keras:MobileNetV3Small keras_in1k"):
        create("imagenet")
    there = tmp_path / "models" / file.name
    there.parent.mkdir()
    there.write_bytes(small[1].read_bytes())
    model = create("imagenet")
    np.testing.assert_array_equal(model.get_layer("conv").kernel, small[0].get_layer("conv").kernel)
    there.write_bytes(small[1].read_bytes()[:-1] + b"x")
    with pytest.raises(WeightsError, match="not on this machine"):
        create("imagenet")
    assert "Left aside" in capfd.readouterr().err


def test_description():
    """Operations that are no layers, whole-image gates, and layers of ConvNeXt's."""
    found = kzoo.describe("keras:MobileNetV3Small")
    assert (found.parameters, found.multiply_adds) == (2_554_968, 56_510_400)
    assert [stage.stride for stage in found.stages] == [2, 4, 8, 16, 32]
    assert kzoo.describe("keras:ConvNeXtTiny").parameters == 28_589_128

"""`average`: the mean of probabilities to rounding, whatever members end in; and members that do not fit together."""

import numpy as np
import pytest
from ensemble_members import pixels, probabilities, small

import kzoo
from kzoo.backend import keras
from kzoo.classifier import class_names_of, metadata, set_metadata
from kzoo.ensemble import average
from kzoo.errors import InvalidArgument
from kzoo.outputs import as_probabilities, gives_probabilities, logits_of
from kzoo.saving import load_model, save_model

# float32 has 1.2e-7; a mean of a few numbers below 1 is off by some of these.
CLOSE = 1e-6


def check(models, size=8, close=CLOSE):
    """The ensemble of some models, after a look at its outputs against NumPy's mean."""
    images = pixels(size)
    ensemble = average(models)
    expected = np.mean([probabilities(model, images) for model in models], axis=0)
    assert gives_probabilities(ensemble)
    outputs = np.asarray(ensemble(images, training=False))
    assert outputs.dtype == np.float32
    np.testing.assert_allclose(as_probabilities(ensemble, outputs), expected, atol=CLOSE)
    logits = np.asarray(logits_of(ensemble)(images, training=False)["predictions"], "float64")
    np.testing.assert_allclose(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), expected, atol=close)
    assert expected.std(axis=0).max() > 1e-3  # images differ, so that the comparison says something
    return ensemble


@pytest.mark.parametrize(
    "ends", [("softmax",) * 3, (None, None), ("softmax", None, "Softmax", "Activation"), ("linear", "softmax")]
)
def test_the_mean_of_probabilities(ends):
    ensemble = check([small(end, seed=seed) for seed, end in enumerate(ends)])
    assert ensemble.output_shape == (None, 3)


@pytest.mark.parametrize(
    ("heads", "outputs"),
    [
        ((("sigmoid", 1), (None, 1)), 1),
        ((("sigmoid", 1), ("softmax", 2)), 2),
        (((None, 2), (None, 1), ("sigmoid", 1)), 2),
    ],
)
def test_two_classes_by_one_output_or_by_two(heads, outputs):
    ensemble = check([small(end, outputs=count, seed=seed) for seed, (end, count) in enumerate(heads)])
    assert ensemble.output_shape == (None, outputs)


def test_members_keep_their_precision():
    """Computed in float32, one that was made for bfloat16 would not be the member: they differ by some 1e-3."""
    models = [small(seed=1, dtype="mixed_bfloat16"), small(None, seed=2, dtype="bfloat16"), small(seed=3)]
    # From the logits, a softmax in bfloat16 is computed anew, without its rounding to 8 bits.
    ensemble = check(models, close=2**-8)
    assert ensemble.get_layer("member0_conv").compute_dtype == "bfloat16"


def test_under_a_half_precision_policy_the_mean_is_still_float32():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        check([small(None, seed=1), small(seed=2)])
    finally:
        keras.config.set_dtype_policy(before)


def test_auxiliary_heads_are_left_out():
    one, two = small(seed=1), small(seed=2)
    more = keras.layers.Dense(3, activation="softmax")(one.get_layer("pool").output)
    with_heads = keras.Model(one.input, {"predictions": one.output, "auxiliary": more})
    images = pixels()
    expected = (probabilities(one, images) + probabilities(two, images)) / 2
    np.testing.assert_allclose(np.asarray(average([with_heads, two])(images)), expected, atol=CLOSE)


def test_sequential_members_nested_models_and_shared_layers():
    keras.utils.set_random_seed(3)
    sequential = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(3)]
    )
    images = keras.Input((8, 8, 1))
    conv = keras.layers.Conv2D(1, 3, padding="same", name="conv")  # called twice
    x = keras.ops.add(conv(conv(images / 255)), 0.5)  # operations that are no layers
    nested = keras.Model(images, small(seed=5)(255 * x))
    ensemble = check([sequential, nested, small(seed=4)])
    assert len(ensemble.weights) == 2 + 2 + 8 + 8


def test_equal_preprocessing_is_there_once_and_other_is_not():
    models = [small(seed=seed) for seed in range(3)]
    other = keras.models.clone_model(
        small(seed=9), clone_function=lambda layer: type(layer).from_config(_darker(layer.get_config()))
    )
    names = [layer.name for layer in check([*models, other]).layers]
    assert [name for name in names if "preprocessing" in name] == ["preprocessing", "member3_preprocessing"]


def _darker(config):
    return {**config, "scale": 1 / 300} if "scale" in config else config


def test_an_ensemble_of_ensembles_is_a_mean_of_means():
    one, two, three = (small(seed=seed) for seed in range(3))
    images = pixels()
    ensemble = average([average([one, two]), three])
    expected = (probabilities(one, images) + probabilities(two, images)) / 4 + probabilities(three, images) / 2
    np.testing.assert_allclose(np.asarray(ensemble(images)), expected, atol=CLOSE)


def test_members_are_copies():
    models = [small(seed=seed) for seed in range(2)]
    ensemble, before = average(models), models[0].get_weights()
    ensemble.get_layer("member0_head").kernel.assign_add(np.ones((4, 3), "float32"))
    assert all(np.array_equal(a, b) for a, b in zip(before, models[0].get_weights(), strict=True))


def test_members_of_other_sizes_get_the_image_resized():
    large, middle = small(seed=1, size=16), small(seed=2, size=8)
    ensemble, images = average([middle, large]), pixels(16)
    assert ensemble.input_shape == (None, 16, 16, 1)
    # Called without training=False: of Keras's Resizing all layers above it learn that they are trained.
    smaller = keras.ops.image.resize(images, (8, 8), antialias=True)
    expected = (probabilities(middle, smaller) + probabilities(large, images)) / 2
    np.testing.assert_allclose(np.asarray(ensemble(images)), expected, atol=CLOSE)


def test_a_member_that_crops_sees_the_centre():
    """Whole images of 16x16 are what the central 12x12 of is seen by a member with a crop of 0.75."""
    whole, cropped = small(seed=1, size=16), set_metadata(small(seed=2, size=12), crop_fraction=0.75)
    ensemble, images = average([whole, cropped]), pixels(16)
    expected = (probabilities(whole, images) + probabilities(cropped, images[:, 2:14, 2:14])) / 2
    np.testing.assert_allclose(np.asarray(ensemble(images)), expected, atol=CLOSE)
    assert metadata(ensemble) == {}


def test_a_member_of_any_size_takes_that_of_the_others():
    any_size = small(seed=2, size=None)
    assert average([any_size, small(seed=1, size=32)]).input_shape == (None, 32, 32, 1)
    assert average([any_size, small(seed=3, size=None)]).input_shape == (None, None, None, 1)
    set_metadata(any_size, crop_fraction=0.5)
    with pytest.raises(InvalidArgument, match="must crop them alike"):
        average([any_size, small(seed=3, size=None)])


def test_a_member_that_comes_twice_counts_once(caplog):
    one, two = small(seed=1), small(seed=2)
    ensemble = average([one, two, one])
    assert "'model 2' is the same model as 'model 0': it counts once" in caplog.text
    images = pixels()
    expected = (probabilities(one, images) + probabilities(two, images)) / 2
    np.testing.assert_allclose(np.asarray(ensemble(images)), expected, atol=CLOSE)
    with pytest.raises(InvalidArgument, match="at least two different members"):
        average([one, one])


def test_what_is_known_of_members_is_known_of_the_ensemble():
    known = {"class_names": ("a", "b", "c"), "pixel_range": (0.0, 1.0), "crop_fraction": 0.5, "mirrored": True}
    one, two = (set_metadata(small(seed=seed), **known) for seed in (1, 2))
    assert metadata(average([one, two])) == {**known, "class_names": ["a", "b", "c"]}
    set_metadata(two, **{**known, "mirrored": False})
    assert metadata(average([one, two]))["mirrored"] is False


def test_a_member_without_class_names_is_taken_to_have_them(caplog):
    named, nameless = set_metadata(small(seed=1), class_names="abc"), small(seed=2)
    assert class_names_of(average([nameless, named])) == ("a", "b", "c")
    assert "'model 0' does not name its classes: they are taken to be in the same order" in caplog.text


@pytest.mark.parametrize(
    ("one", "other", "line"),
    [
        (
            {"class_names": "abc"},
            {"class_names": "acb"},
            "class 1 is 'b' in 'model 0' and 'c' in 'model 1'. They a",
        ),
        (
            {"class_names": "abc"},
            {"class_names": "abd"},
            "class 2 is 'c' in 'model 0' and 'd' in 'model 1'.",
        ),
        ({"pixel_range": (0, 1)}, {}, "pixels of one range. Received: 'model 0' takes 0 to 1, 'model 1' 0 to 255."),
        ({"range_16_bit": (0, 4095)}, {}, "16-bit images alike. Received: 'model 0' with the range (0, 4095)"),
    ],
)
def test_members_that_mean_something_else(one, other, line):
    models = [set_metadata(small(seed=seed), **known) for seed, known in enumerate((one, other))]
    with pytest.raises(InvalidArgument) as caught:
        average(models)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("other", "line"),
    [
        (lambda: small(outputs=4), "the same classes. Received: 'model 0' with 3, 'model 1' with 4."),
        (lambda: small("tanh"), "A classifier must end in softmax or in logits. Received: 'tanh'"),
        (lambda: kzoo.create_model("resnet20_cifar", classes=3), "as many channels. Received: 'model 0' with 1"),
        (lambda: _of_shape(8, 16), "images of one shape. Received: 'model 0' 8x8, 'model 1' 8x16."),
        (lambda: "runs/a", "A classifier must be a keras.Model. Received: str."),
    ],
)
def test_models_that_do_not_fit(other, line):
    with pytest.raises(InvalidArgument) as caught:
        average([small(), other()])
    assert line in str(caught.value)


def _of_shape(height, width):
    images = keras.Input((height, width, 1))
    return keras.Model(images, keras.layers.Dense(3)(keras.layers.Flatten()(images)))


def test_saved_and_loaded_in_a_process_that_imports_kzoo_alone(tmp_path, fresh_python):
    """It is the mean to 1e-6 there, and its file has each member's weights once."""
    models = [kzoo.create_model("mnist_net") for _ in range(3)]
    images = pixels(28)
    for number, model in enumerate(models):
        save_model(model, tmp_path / f"{number}.keras")
    save_model(average(models), tmp_path / "all.keras")
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "mean.npy", np.mean([np.asarray(model(images), "float64") for model in models], axis=0))
    fresh_python(
        "import sys, numpy as np, kzoo\n"
        "folder = sys.argv[1]\n"
        "found = np.asarray(kzoo.load_model(folder + '/all.keras')(np.load(folder + '/images.npy')))\n"
        "np.testing.assert_allclose(found, np.load(folder + '/mean.npy'), atol=1e-6)",
        tmp_path,
    )
    sizes = [(tmp_path / f"{name}.keras").stat().st_size for name in ("0", "all")]
    parameters = models[0].count_params()
    assert load_model(tmp_path / "all.keras").count_params() == 3 * parameters
    # Beyond the numbers there are 1 kB for each layer's entries in the HDF5 file and the description.
    assert sizes[1] - 3 * 4 * parameters < 3 * (sizes[0] - 4 * parameters) + 1000

"""Augmentation policies: names, layers, lists of both, and what a file may say of them."""

import json
import sys
from dataclasses import asdict

import numpy as np
import pytest

from kzoo import augment
from kzoo.augment.image_augmentation import ImageAugmentation, uniform
from kzoo.backend import keras, tf
from kzoo.data import Dataset
from kzoo.data.loading import public_name
from kzoo.errors import InvalidArgument
from kzoo.layers import CutMix, RandomAffine
from kzoo.plain import read
from kzoo.train import TrainConfig


def seeds(count):
    return np.array([[i, 7 * i - 3] for i in range(count)], "int32")


def pixels(count=4, channels=3):
    return np.random.default_rng(0).integers(0, 256, (count, 28, 28, channels), "uint8")


def apply(policy, images, own):
    made = augment.policy(policy)
    assert made is not None
    assert not made.mixes
    return np.asarray(made(images, own))


@pytest.mark.parametrize("name", sorted(augment.POLICIES.keys() - {"none"}))
@pytest.mark.parametrize("channels", [1, 3])
def test_policies_move_images_by_their_own_seed(name, channels):
    images = pixels(6, channels)
    together = apply(name, images, seeds(6))
    assert (together.dtype, together.shape) == ("uint8", images.shape)
    assert not np.array_equal(together, images)
    np.testing.assert_array_equal(apply(name, images[2:], seeds(6)[2:]), together[2:])


def test_nothing_to_be_done():
    assert augment.policy("none") is None
    assert augment.policy([]) is None
    assert augment.policy(["none", "none"]) is None


def test_digits_are_never_mirrored():
    # A step edge stays dark on the left and bright on the right.
    edge = np.zeros((100, 28, 28, 1), "uint8")
    edge[:, :, 14:] = 200
    moved = apply("digits", edge, seeds(100)).astype("float64")
    middle = moved[:, 10:18]
    assert (middle[:, :, 5:9].mean((1, 2, 3)) < middle[:, :, 19:23].mean((1, 2, 3)) - 150).all()


def test_seeds_of_each_layer():
    rows = np.array([[0, 5], [-(2**31), -1], [2**31 - 1, 9]], "int32")
    np.testing.assert_array_equal(augment.layer_seeds(rows, 0), rows)
    for position in (1, 2, 7):
        expected = (rows.astype("int64") + [position * 0x85EBCA6B, 0] + 2**31) % 2**32 - 2**31
        np.testing.assert_array_equal(augment.layer_seeds(rows, position), expected)


@pytest.mark.parametrize("varied", [0, 1])
def test_layers_of_a_list_draw_independently(varied):
    count, layers, draws = 20_000, 4, 4
    rows = np.zeros((count, 2), "int32")
    rows[:, varied] = np.arange(count)
    columns = np.hstack([np.asarray(uniform(augment.layer_seeds(rows, k), draws), "float64") for k in range(layers)])
    # Correlations of independent draws have a standard deviation of count ** -0.5; 5 of them leave room for 120 pairs.
    correlations = np.corrcoef(columns.T)[np.triu_indices(layers * draws, 1)]
    assert np.abs(correlations).max() < 5 * count**-0.5


def test_a_list_is_its_layers_in_order():
    images, own = pixels(), seeds(4)
    turn, shift = RandomAffine(rotation_factor=0.1), RandomAffine(translation_factor=0.2, fill_mode="wrap")
    for layers in ([turn, shift], [shift, turn]):
        expected = layers[1](layers[0](images, seeds=own), seeds=augment.layer_seeds(own, 1))
        np.testing.assert_array_equal(apply(layers, images, own), expected)
        np.testing.assert_array_equal(apply(augment.describe(layers), images, own), expected)
    flip = RandomAffine(horizontal_flip=True)
    moved = apply([flip, flip], np.tile(pixels(1), (400, 1, 1, 1)), seeds(400))
    # Two flips by the same draw would cancel out every time; by two draws, half of the time.
    assert 0.4 < (moved == pixels(1)).all((1, 2, 3)).mean() < 0.6


def test_what_was_used_can_be_written_and_read():
    layer = RandomAffine(rotation_factor=0.25, fill_mode="nearest", dtype="mixed_float16", name="turn")
    config = TrainConfig(augment=["digits", layer])
    written = json.loads(json.dumps(asdict(config)))
    assert written["augment"][0] == "digits"
    assert written["augment"][1]["registered_name"] == "kzoo>RandomAffine"
    assert written["augment"][1]["config"]["rotation_factor"] == 0.25
    assert read(TrainConfig, written) == config
    assert augment.title(config.augment) == "digits + RandomAffine"
    images, own = pixels(), seeds(4)
    np.testing.assert_array_equal(apply(config.augment, images, own), apply(["digits", layer], images, own))
    assert TrainConfig(augment="digits") == TrainConfig(augment=["digits"])


@pytest.fixture(scope="module")
def everything():
    """All policies one after the other, and the images of an epoch by their labels, which are their indices."""
    policy = augment.policy(sorted(augment.POLICIES))
    data = Dataset.from_arrays(pixels(23), np.arange(23))

    def epoch(batch_size, workers, shuffle=True):
        options = tf.data.Options()
        options.threading.private_threadpool_size = workers
        batches = data.batches(batch_size, shuffle=shuffle, seed=5, epoch=2, augment=policy).with_options(options)
        found = {}
        for images, labels in batches.as_numpy_iterator():
            found |= {int(label): image.tobytes() for image, label in zip(images, labels, strict=True)}
        return found

    return epoch


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_the_same_bytes_with_any_number_of_workers(everything, workers):
    assert everything(4, workers) == everything(4, 3)


def test_the_same_bytes_in_any_batch(everything):
    """Compiled code must not round by where in a batch an image stands, or by how many there are."""
    reference = everything(4, 2)
    assert len(set(reference.values())) == 23
    for batch_size, shuffle in ((1, True), (5, False), (23, True)):
        assert everything(batch_size, 2, shuffle) == reference


def test_layers_that_mix_images_make_labels_soft():
    images, own, labels = pixels(), seeds(4), np.array([0, 2, 1, 2], "int32")
    mix = CutMix(classes=3)
    made = augment.policy(["digits", mix])
    assert made is not None
    assert made.mixes
    found = made((images, labels), own)
    expected = mix((apply("digits", images, own), labels), seeds=augment.layer_seeds(own, 1))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (np.asarray(found[1]).max(axis=1) < 1).any()
    with pytest.raises(
        InvalidArgument, match=r"takes \(images, labels\). Received: images of shape \(4, 28, 28, 3\) without labels"
    ):
        made(images, own)
    with pytest.raises(
        InvalidArgument, match=r"CutMix must make labels of the model's 10 classes. Received: classes=3"
    ):
        made.check_classes(10)


@keras.saving.register_keras_serializable(package="tests")
class Negative(ImageAugmentation):
    """A layer of a user's own."""

    def augment(self, images, seeds):
        return 255 - images


def test_a_registered_layer_of_ones_own():
    np.testing.assert_array_equal(apply(TrainConfig(augment=Negative()).augment, pixels(), seeds(4)), 255 - pixels())


class Unregistered(ImageAugmentation):
    pass


NO_LAYERS = [
    keras.layers.RandomFlip(),
    Unregistered(),
    print,
    None,
    {"registered_name": "kzoo>RandomAffine"},
    {"registered_name": 3, "config": {}},
    {"module": "os", "class_name": "system", "config": {"command": "true"}, "registered_name": None},
    {"registered_name": "kzoo>RandomAffine", "config": {"fill_mode": print}},
    {"registered_name": "kzoo>RandomAffine", "config": 5},
]


@pytest.mark.parametrize("item", NO_LAYERS, ids=range(len(NO_LAYERS)))
def test_what_is_no_augmentation(item):
    with pytest.raises(InvalidArgument, match="Augmentation must be names of policies and layers") as caught:
        TrainConfig(augment=["digits", item])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["evil>Layer", "evil", "kzoo>BatchNormalization", "RandomFlip", "builtins>eval"])
def test_a_file_runs_no_code_and_imports_nothing(name, tmp_path, monkeypatch):
    (tmp_path / "evil.py").write_text("raise SystemExit('it was imported')")
    monkeypatch.syspath_prepend(tmp_path)
    layer = {"registered_name": name, "config": {"module": "evil", "class_name": "Layer"}}
    config = read(TrainConfig, {**asdict(TrainConfig()), "augment": [layer]})
    with pytest.raises(InvalidArgument, match=f"Received: '{name}'"):
        augment.policy(config.augment)
    dtype = {"module": "evil", "class_name": "Layer", "config": {}, "registered_name": None}
    layer = {"registered_name": "kzoo>RandomAffine", "config": {"dtype": dtype}}
    config = read(TrainConfig, {**asdict(TrainConfig()), "augment": [layer]})
    apply(config.augment, pixels(), seeds(4))
    assert "evil" not in sys.modules


def test_a_layer_that_cannot_be_made_is_one_line():
    with pytest.raises(InvalidArgument, match="A layer cannot be made of what was written") as caught:
        augment.policy({"registered_name": "kzoo>RandomAffine", "config": {"no_such": 1}})
    assert "\n" not in str(caught.value)


def test_unknown_policy():
    valid = ", ".join(sorted(augment.POLICIES))
    for make in (augment.policy, lambda name: TrainConfig(augment=["digits", name])):
        with pytest.raises(InvalidArgument) as caught:
            make("digit")
        assert str(caught.value) == (
            f"Unknown augmentation policy. Received: 'digit'. Did you mean 'digits'? Valid: {valid}."
        )


@pytest.mark.parametrize(
    ("dataset", "shape", "known", "expected"),
    [
        ("cifar10", (28, 28, 1), {}, "cifar"),  # the name says more
        ("", (28, 28, 1), {}, "digits"),
        ("", (224, 224, 3), {"is_grey": True}, "digits"),
        ("", (224, 224, 3), {}, "photos"),
        ("", (None, None, 3), {}, "photos"),
        ("", (None, 32, 3), {}, "none"),  # what is cut out has a size
        ("", (64, 63, 3), {}, "cifar"),
        ("", (224, 224, 3), {"is_raw": False}, "cifar"),  # colours are not changed
        ("", (None, None, 3), {"is_raw": False}, "none"),
        ("", (224, 224, 2), {}, "none"),
    ],
)
def test_what_is_suggested_by_what_images_are(dataset, shape, known, expected):
    assert augment.suggested(dataset, shape, **known)[0] == expected


def test_digits_go_on_in_the_colour_of_their_paper():
    white = np.full((40, 28, 28, 1), 255, "uint8")
    assert (apply("digits", white, seeds(40)) == 255).all()


def test_a_folder_has_no_policy_whatever_it_is_called(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert augment.recommended(public_name("mnist/train")) == "digits"
    (tmp_path / "mnist" / "train").mkdir(parents=True)
    assert augment.recommended(public_name("mnist/train")) == "none"


def test_recommendations_are_policies_for_datasets_there_are():
    import tensorflow_datasets as tfds

    assert set(augment.RECOMMENDED.values()) <= augment.POLICIES.keys()
    assert augment.RECOMMENDED.keys() - {"digits"} <= set(tfds.list_builders())

"""Models with pretrained weights: what they bring, and how they are adapted. The files are real ones."""

import shutil
import warnings

import h5py
import numpy as np
import pytest
import safetensors.numpy

import kzoo
from kzoo.classifier import class_names_of, metadata
from kzoo.data.images import Scaling, decode
from kzoo.errors import InvalidArgument, WeightsError
from kzoo.saving import save_model
from kzoo.weights import labels, user_weights
from kzoo.weights.formats import format_of, read
from kzoo.weights.registry import get_record
from kzoo.weights.resolve import resolve


@pytest.fixture(scope="module")
def files(real_data):
    return real_data / "weights"


@pytest.fixture(scope="module")
def checkpoint(files):
    return files / "resnet20-12fca82f.th"


@pytest.fixture(autouse=True)
def _nothing_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KZOO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.delenv("KZOO_WEIGHTS_PATH", raising=False)


def test_a_tag_is_found_where_the_user_keeps_weights(files, checkpoint, monkeypatch):
    with pytest.raises(WeightsError, match="Fetch them: kzoo weights fetch resnet20_cifar cifar10"):
        kzoo.create_model("resnet20_cifar", weights="cifar10")
    monkeypatch.setenv("KZOO_WEIGHTS_PATH", str(files))
    by_tag = kzoo.create_model("resnet20_cifar", weights="cifar10")
    by_path = kzoo.create_model("resnet20_cifar", weights=checkpoint)
    tensors = read(checkpoint, "pytorch")
    for model in (by_tag, by_path):
        kernel = tensors["conv1.weight"].transpose(2, 3, 1, 0)
        np.testing.assert_array_equal(model.get_layer("conv1_conv").kernel.numpy(), kernel)
        np.testing.assert_array_equal(model.get_layer("predictions").bias.numpy(), tensors["linear.bias"])
        assert class_names_of(model) == labels.CIFAR10


def test_imagenet_means_the_default_record(files, monkeypatch):
    monkeypatch.setenv("KZOO_WEIGHTS_PATH", str(files))
    model = kzoo.create_model("inception_v1", weights="imagenet")
    names = class_names_of(model)
    assert names is not None
    assert names[281] == "tabby"
    assert metadata(model)["crop_fraction"] == 224 / 256
    # BVLC's means, in RGB order, and reversed channels.
    layer = model.get_layer("preprocessing")
    np.testing.assert_allclose(layer.offset, [-123, -117, -104])
    assert model.get_layer("preprocessing_bgr").output.shape == (None, 224, 224, 3)


def test_other_classes_keep_the_backbone_and_say_so(checkpoint, capsys):
    whole = kzoo.create_model("resnet20_cifar", weights=checkpoint)
    model = kzoo.create_model("resnet20_cifar", weights=checkpoint, classes=3)
    assert capsys.readouterr().err.splitlines() == [
        "cifar10 for resnet20_cifar has its 10 classes: the new classifier of 3 classes has random weights"
    ]
    for one, other in zip(whole.layers[:-1], model.layers[:-1], strict=True):
        for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
    assert model.output_shape == (None, 3)
    assert class_names_of(model) is None


def test_as_many_classes_as_the_record_are_its_own(checkpoint, capsys):
    model = kzoo.create_model("resnet20_cifar", weights=checkpoint, classes=10)
    assert class_names_of(model) == labels.CIFAR10
    assert capsys.readouterr().err == ""


def test_without_top(checkpoint):
    whole = kzoo.create_model("resnet20_cifar", weights=checkpoint)
    features = kzoo.create_model("resnet20_cifar", weights=checkpoint, include_top=False, pooling="avg")
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), "uint8")
    logits = np.asarray(features(images)) @ whole.get_layer("predictions").kernel.numpy()
    logits += whole.get_layer("predictions").bias.numpy()
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(whole(images), probabilities, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("size", [(48, 32), (96, 96)])
def test_other_sizes_have_the_same_weights(checkpoint, size):
    model = kzoo.create_model("resnet20_cifar", weights=checkpoint, input_shape=(*size, 3))
    same = kzoo.create_model("resnet20_cifar", weights=checkpoint)
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), same.get_weights(), strict=True))


@pytest.mark.parametrize("channels", [1, 4, 13])
def test_other_channels(checkpoint, channels):
    rgb = kzoo.create_model("resnet20_cifar", weights=checkpoint).get_layer("conv1_conv").kernel.numpy()
    model = kzoo.create_model("resnet20_cifar", weights=checkpoint, input_shape=(32, 32, channels))
    kernel = model.get_layer("conv1_conv").kernel.numpy()
    if channels == 1:
        np.testing.assert_allclose(kernel[:, :, 0], rgb.sum(axis=2), rtol=1e-6)
    else:
        repeated = np.stack([rgb[:, :, channel % 3] for channel in range(channels)], axis=2)
        np.testing.assert_allclose(kernel, repeated * 3 / channels, rtol=1e-6)
    # What the images are shifted and scaled by is the mean over the record's channels.
    np.testing.assert_allclose(
        model.get_layer("preprocessing").scale, [1 / (255 * (0.229 + 0.224 + 0.225) / 3)] * channels
    )


def test_a_grey_image_gives_about_what_it_gave_in_rgb(checkpoint):
    grey = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 1), "uint8")
    one = kzoo.create_model("resnet20_cifar", weights=checkpoint, input_shape=(32, 32, 1), classifier_activation=None)
    three = kzoo.create_model("resnet20_cifar", weights=checkpoint, classifier_activation=None)
    found, expected = np.asarray(one(grey)), np.asarray(three(np.repeat(grey, 3, axis=-1)))
    # The means of the three channels differ by less than 0.08 of 1.
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.95


def test_saved_and_loaded_it_knows_its_classes_and_its_crop(files, tmp_path):
    model = kzoo.create_model("inception_v1", weights=files / "bvlc_googlenet")
    save_model(model, tmp_path / "net.keras")
    loaded = kzoo.load_model(tmp_path / "net.keras")
    assert metadata(loaded) == metadata(model)
    photo = np.random.default_rng(0).integers(0, 256, (300, 400, 3), "uint8")
    assert kzoo.predict(loaded, [photo]) == kzoo.predict(model, [photo])


def test_an_image_is_scaled_as_its_record_says(tmp_path):
    record = get_record("resnet18", "a1_in1k")
    assert (record.tag, record.preprocessing.interpolation) == ("a1_in1k", "bicubic")
    assert record.crop_fraction < 1
    user_weights.save(kzoo.create_model("resnet18"), tmp_path / "file")
    model = kzoo.create_model("resnet18", weights=resolve("resnet18", tmp_path / "file", like="a1_in1k"))
    assert metadata(model)["interpolation"] == "bicubic"
    photo = np.random.default_rng(0).integers(0, 256, (300, 300, 3), "uint8")
    scaled = decode(photo, (224, 224), 3, Scaling(224 / 235, "bicubic"))
    assert kzoo.predict(model, [photo]) == kzoo.predict(model, scaled[None])
    # An image that has the model's size is scaled and cropped like any other; an array of images is taken as it is.
    [exact] = kzoo.predict(model, [photo[:224, :224]], top=1)
    assert exact != kzoo.predict(model, photo[None, :224, :224], top=1)[0]


def test_a_file_that_is_known_by_no_hash_is_known_by_its_names(checkpoint, tmp_path):
    shutil.copy(checkpoint, tmp_path / "copy.th")
    assert resolve("resnet20_cifar", tmp_path / "copy.th").record.tag == "cifar10"
    tensors = read(checkpoint, "pytorch")
    tensors["linear.bias"] = tensors["linear.bias"] + 1
    safetensors.numpy.save_file(tensors, tmp_path / "mine")
    for chosen in (
        resolve("resnet20_cifar", tmp_path / "mine"),
        resolve("resnet20_cifar", tmp_path / "mine", "cifar10"),
    ):
        assert (chosen.record.tag, chosen.format, chosen.source) == ("cifar10", "safetensors", "akamaster")
    model = kzoo.create_model("resnet20_cifar", weights=tmp_path / "mine")
    np.testing.assert_array_equal(model.get_layer("predictions").bias.numpy(), tensors["linear.bias"])
    assert class_names_of(model) == labels.CIFAR10


@pytest.mark.parametrize("name", ["own.weights.h5", "own.h5", "own.safetensors"])
def test_weights_that_kzoo_and_keras_saved_of_the_model(checkpoint, tmp_path, name):
    model = kzoo.create_model("resnet20_cifar", weights=checkpoint)
    path = tmp_path / name
    if name.endswith("safetensors"):
        user_weights.save(model, path)
    elif name == "own.weights.h5":
        model.save_weights(path)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Keras's, of NumPy
            model.save(path)
    again = kzoo.create_model("resnet20_cifar", weights=path)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), "uint8")
    np.testing.assert_array_equal(again(images), model(images))


def small_file(folder, *names):
    safetensors.numpy.save_file({name: np.zeros(1000, "float32") for name in names}, folder / "file")
    return folder / "file"


@pytest.mark.parametrize(
    ("model", "names", "tag", "source"),
    [
        ("resnet50", ["conv1_conv/kernel", "predictions/bias"], "keras_in1k", "kzoo"),
        ("resnet50", ["conv1_conv/kernel"], "keras_in1k_notop", "kzoo"),
        ("vgg16", ["features.0.weight", "classifier.6.bias"], "tv_in1k", "torchvision"),
        ("vgg16", ["features.0.weight", "head.fc.bias"], "tv_in1k", "timm"),
        (
            "vgg16_bn",
            ["features.0.weight"],
            "tv_in1k",
            "timm",
        ),  # no classifier: its preprocessing is known all the same
        ("resnet18", ["conv1.weight", "fc.bias", "bn1.num_batches_tracked"], "a1_in1k", "timm"),
        ("inception_v1_bn", ["conv1.conv.weight", "fc.bias"], "tv_in1k", "torchvision"),
    ],
)
def test_the_names_say_whose_weights_they_are(tmp_path, model, names, tag, source, capsys):
    path = small_file(tmp_path, *names)
    chosen = resolve(model, path)
    assert (chosen.record.tag, chosen.source) == (tag, source)
    assert chosen.record.include_top == any(name.endswith("bias") for name in names)
    [line] = capsys.readouterr().err.splitlines()
    assert line == (
        f"warning: {path} has no known hash of any record, and is taken to have the preprocessing and classes of {tag}."
    )


def test_keras_applications_file_of_an_unknown_hash(tmp_path):
    for names, tag in ((["block1_conv1", "predictions"], "keras_in1k"), (["block1_conv1"], "keras_in1k_notop")):
        with h5py.File(tmp_path / "file", "w") as file:
            file.attrs["layer_names"] = [name.encode() for name in names]
            for name in names:
                group = file.create_group(name)
                group.attrs["weight_names"] = [f"{name}_b_1:0".encode()]
                group[f"{name}_b_1:0"] = np.zeros(1000, "float32")
        chosen = resolve("vgg16", tmp_path / "file")
        assert (chosen.record.tag, chosen.format, chosen.source) == (tag, "keras_h5", "keras")


def test_what_a_model_of_kzoo_s_was_trained_from_is_asked_for(tmp_path):
    path = small_file(tmp_path, "block1_conv1/kernel", "predictions/bias")
    with pytest.raises(
        InvalidArgument, match=r"2 kinds of weights fit the file.*--like TAG.*Valid: tv_in1k, keras_in1k, "
    ):
        resolve("vgg16", path)
    assert resolve("vgg16", path, like="tv_in1k").record.preprocessing.channel_order == "rgb"


def test_like_says_the_preprocessing_and_the_file_how_it_is_read(tmp_path):
    path = small_file(tmp_path, "features.0.weight", "classifier.6.bias")
    chosen = resolve("vgg16", path, like="keras_in1k")
    assert (chosen.record.tag, chosen.source) == ("keras_in1k", "torchvision")
    assert chosen.record.preprocessing.channel_order == "bgr"


@pytest.mark.parametrize("like", [None, "cifar10"])
def test_a_classifier_of_other_classes_is_loaded_where_it_fits(tmp_path, like, capsys):
    model = kzoo.create_model("resnet20_cifar", classes=3)
    user_weights.save(model, tmp_path / "file")
    chosen = resolve("resnet20_cifar", tmp_path / "file", like)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), "uint8")
    for again in (
        kzoo.create_model("resnet20_cifar", weights=chosen),
        kzoo.create_model("resnet20_cifar", weights=chosen, classes=3),
    ):
        np.testing.assert_array_equal(again(images), model(images))
        assert class_names_of(again) is None
    assert "random weights" not in capsys.readouterr().err
    kzoo.create_model("resnet20_cifar", weights=chosen, classes=4)
    assert "its 3 classes: the new classifier of 4 classes has random weights" in capsys.readouterr().err


def test_a_backbone_without_a_classifier(tmp_path):
    backbone = kzoo.create_model("resnet20_cifar", include_top=False)
    user_weights.save(backbone, tmp_path / "file")
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), "uint8")
    again = kzoo.create_model("resnet20_cifar", weights=tmp_path / "file", include_top=False)
    np.testing.assert_array_equal(again(images), backbone(images))
    assert kzoo.create_model("resnet20_cifar", weights=tmp_path / "file", classes=2).output_shape == (None, 2)
    with pytest.raises(InvalidArgument, match="cifar10 for resnet20_cifar has no classifier"):
        kzoo.create_model("resnet20_cifar", weights=tmp_path / "file")


def test_auxiliary_heads_of_a_file_that_the_model_lacks(tmp_path):
    user_weights.save(
        kzoo.create_model("inception_v1_bn", auxiliary_heads=True, input_shape=(96, 96, 3)), tmp_path / "file"
    )
    model = kzoo.create_model("inception_v1_bn", weights=tmp_path / "file")
    assert model.output_shape == (None, 1000)


def test_a_damaged_file_of_a_record_s_name_is_refused(checkpoint, files, tmp_path):
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 1
    damaged = tmp_path / checkpoint.name
    damaged.write_bytes(content)
    with pytest.raises(WeightsError, match=r"has the wrong content. Received: sha256 .* Expected: 12fca82f"):
        resolve("resnet20_cifar", damaged)
    assert resolve("resnet20_cifar", damaged, like="cifar10").path == damaged  # whoever says so
    folder = tmp_path / "bvlc_googlenet"
    shutil.copytree(files / "bvlc_googlenet", folder, copy_function=shutil.copyfile)
    for sub in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        sub.chmod(0o755)
    next(folder.rglob("*filter.bin")).write_bytes(bytes(4))
    with pytest.raises(WeightsError, match="has the wrong size"):
        resolve("inception_v1", folder)


def test_a_file_that_is_damaged_before_its_format_is_known(tmp_path):
    """One line, whatever h5py makes of it: bits flipped all over the head of the file."""
    model = kzoo.create_model("mnist_net", input_shape=(8, 8, 1))
    model.save_weights(tmp_path / "good.weights.h5")
    content = (tmp_path / "good.weights.h5").read_bytes()
    generator = np.random.default_rng(0)
    outcomes = set()
    for _ in range(15):  # each is read in a process of its own
        damaged = bytearray(content)
        damaged[generator.integers(8, 3000)] ^= 1 << int(generator.integers(8))
        (tmp_path / "bad.weights.h5").write_bytes(damaged)
        try:
            read(tmp_path / "bad.weights.h5", format_of(tmp_path / "bad.weights.h5"))
            outcomes.add("read")
        except WeightsError as error:
            outcomes.add("\n" in str(error))
    assert outcomes == {"read", False}


def test_what_is_like_nothing(tmp_path):
    path = small_file(tmp_path, "conv1_conv/kernel", "predictions/bias")
    with pytest.raises(InvalidArgument, match=r"no pretrained weights of plain20_cifar.*load_weights"):
        resolve("plain20_cifar", path)
    with pytest.raises(WeightsError, match="torchvision's and timm's is resnet50_v1_5 here"):
        resolve("resnet50", small_file(tmp_path, "conv1.weight", "fc.bias"))
    with pytest.raises(InvalidArgument, match=r"Weights for resnet18 are one file. Received: the folder"):
        resolve("resnet18", tmp_path)
    with pytest.raises(WeightsError, match=r"2 tensors of other names \(conv1_conv/kernel, x.y.z\)"):
        resolve("resnet18", small_file(tmp_path, "conv1_conv/kernel", "x.y.z"))
    for whole in (tmp_path / "net.keras", tmp_path / "run"):
        if whole.suffix:
            whole.touch()
        else:
            whole.mkdir()
            (whole / "config.json").touch()
        with pytest.raises(InvalidArgument, match="This is a whole model, not weights for resnet18"):
            resolve("resnet18", whole)
    (tmp_path / "page.pth").write_bytes(b"<!DOCTYPE html>")
    with pytest.raises(WeightsError, match=r"This is no file of weights. Received: '.*page.pth', 15 bytes"):
        resolve("resnet18", tmp_path / "page.pth")


@pytest.mark.parametrize(
    ("model", "weights", "message"),
    [
        (
            "resnet20_cifar",
            "cifar100",
            r"Unknown weights for resnet20_cifar. Received: 'cifar100'. Did you mean 'cifar10'",
        ),
        ("plain20_cifar", "imagenet", "Unknown model with pretrained weights. Received: 'plain20_cifar'"),
        ("resnet20_cifar", 3, "weights must be a tag, a path or None. Received: 3."),
    ],
)
def test_what_is_no_weights(model, weights, message):
    with pytest.raises(InvalidArgument, match=message):
        kzoo.create_model(model, weights=weights)


def test_no_such_path(tmp_path):
    with pytest.raises(InvalidArgument, match=r"No such weights. Received: .*absent.th.*Valid: cifar10"):
        kzoo.create_model("resnet20_cifar", weights=tmp_path / "absent.th")


def test_weights_of_another_model_leave_nothing_half_done(checkpoint, files):
    with pytest.raises(WeightsError, match="The weights do not fit resnet32_cifar"):
        kzoo.create_model("resnet32_cifar", weights=resolve("resnet32_cifar", checkpoint, like="cifar10"))
    with pytest.raises(InvalidArgument, match="These are weights for resnet20_cifar"):
        kzoo.create_model("resnet32_cifar", weights=resolve("resnet20_cifar", checkpoint))


def test_nothing_is_downloaded(monkeypatch):
    import socket

    def refuse(*_):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    for model, tag in (("resnet50", "keras_in1k"), ("resnet18", "tv_in1k"), ("inception_v1", "bvlc_in1k")):
        with pytest.raises(WeightsError, match=f"kzoo weights fetch {model} {tag}"):
            kzoo.create_model(model, weights=tag)


def test_weights_without_a_classifier_never_predict(monkeypatch, tmp_path):
    chosen = resolve("vgg16", small_file(tmp_path, "block1_conv1/kernel"), like="keras_in1k_notop")
    with pytest.raises(InvalidArgument, match="keras_in1k_notop for vgg16 has no classifier"):
        kzoo.create_model("vgg16", weights=chosen)


@pytest.mark.parametrize("weights", ["~nobody-of-this-name/x.pth", "x" * 5000])
def test_paths_that_cannot_be_looked_at(weights):
    with pytest.raises(InvalidArgument, match="Received: '"):
        resolve("resnet20_cifar", weights)


def test_no_weights_by_an_empty_name():
    with pytest.raises(InvalidArgument, match=r"Unknown weights for resnet20_cifar\. Received: ''"):
        resolve("resnet20_cifar", "")

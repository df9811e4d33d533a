"""Images for pretrained weights: at the scale of their record."""

import re

import pytest

import kzoo
from kzoo.errors import InvalidArgument, WeightsError
from kzoo.job import run_record
from kzoo.models.registry import get_card
from kzoo.train.config import TransferConfig
from kzoo.train.record import ZooModel
from kzoo.transfer import fine_tune, images_for
from kzoo.transfer.loading import DEFAULT_MODEL, default_weights
from kzoo.weights.registry import list_weights


@pytest.fixture(autouse=True)
def real_weights(real_data, monkeypatch):
    monkeypatch.setenv("KZOO_WEIGHTS_PATH", str(real_data / "weights"))


def test_a_network_of_any_size_gets_the_whole_image():
    how = images_for("inception_v1", "imagenet")  # 224 of 256, whose centre is not all
    assert (how["image_size"], how["crop_fraction"], how["channels"]) == ((256, 256), 1.0, 3)


def test_a_record_without_a_crop():
    assert images_for("resnet20_cifar", "cifar10")["image_size"] == (32, 32)


def test_one_of_a_single_size_gets_the_centre(real_data):
    from kzoo.weights.registry import get_record
    from kzoo.weights.resolve import as_recorded

    how = images_for("vgg16", as_recorded(get_record("vgg16", "tv_in1k"), real_data))
    assert (how["image_size"], how["crop_fraction"]) == ((224, 224), 224 / 256)


@pytest.mark.parametrize("size", [96, (96, 96)])
def test_another_size_is_of_the_whole_image(size, real_data):
    from kzoo.weights.registry import get_record
    from kzoo.weights.resolve import as_recorded

    weights = as_recorded(get_record("vgg16", "tv_in1k"), real_data)  # 224 of 256 by themselves
    how = images_for("vgg16", weights, size)
    assert (how["image_size"], how["crop_fraction"]) == ((96, 96), 1.0)


@pytest.mark.parametrize("size", ["96", (96,), (96, 96, 3), 96.0, 0])
def test_what_is_no_size(size):
    with pytest.raises(InvalidArgument, match="image_size must be a positive integer"):
        images_for("mnist_net", "mnist", size)


def test_weights_that_there_are_not():
    with pytest.raises(InvalidArgument, match="mnist"):
        images_for("mnist_net", "imagenet21k")


@pytest.mark.parametrize(
    "name", ["mnist_net", "vgg11", "vgg11_bn", "inception_v1", "resnet18", "resnet50_v2", "resnet20_cifar"]
)
def test_the_registry_knows_who_takes_any_size(name):
    """By the builders, which refuse an open size where a fully connected layer reads a feature map."""
    from kzoo import create_model

    if get_card(name).takes_any_size:
        assert create_model(name, input_shape=(None, None, 3)).input_shape == (None, None, None, 3)
    else:
        with pytest.raises(InvalidArgument, match="input_shape"):
            create_model(name, input_shape=(None, None, 3))


@pytest.fixture
def no_weights(monkeypatch, tmp_path):
    """A machine that has none."""
    for name in ("KZOO_HOME", "KERAS_HOME", "HF_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.delenv("KZOO_WEIGHTS_PATH")
    return tmp_path


def test_the_default_model_is_the_best_of_its_cost():
    """Weights of a higher published accuracy, for images of the same size, are of models five times as costly."""
    default = default_weights(DEFAULT_MODEL)
    assert default is not None
    assert default.accuracy is not None
    side, top1 = default.input_size[0], default.accuracy.top1
    records = (r for r in (*list_weights(), *list_weights("keras:*")) if r.labels == "imagenet" and r.accuracy)
    better = {r.model for r in records if r.accuracy and r.accuracy.top1 > top1 and r.input_size[0] <= side}
    assert "resnet50_v1_5" in better
    assert all(re.search("(50|101|152)", name) for name in better)  # the smallest of which is
    costs = [kzoo.describe(name).multiply_adds for name in ("resnet50_v1_5", DEFAULT_MODEL)]
    assert costs[0] > 5 * costs[1]


def test_default_weights_are_the_first_of_the_list(no_weights):
    found = {name: default_weights(name) for name in ("resnet50_v1_5", "keras:VGG16", "mnist_net", "plain18", "photos")}
    tags = {name: record and record.tag for name, record in found.items()}
    assert tags == {
        "resnet50_v1_5": "tv2_in1k", "keras:VGG16": "keras_in1k", "mnist_net": "mnist", "plain18": None, "photos": None,
    }  # fmt: skip
    folder = no_weights / "KERAS_HOME" / "models"
    folder.mkdir(parents=True)
    (folder / "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5").touch()
    record = default_weights("keras:VGG16")  # what is here does as well
    assert record is not None
    assert record.tag == "keras_in1k_notop"


@pytest.mark.usefixtures("no_weights")
def test_the_default_model_s_weights_are_not_here(digits):
    line = f"Fetch them: kzoo weights fetch {DEFAULT_MODEL} keras_in1k"
    for call in (
        lambda: images_for(None),
        lambda: run_record(None, "digits", transfer=TransferConfig()),
        lambda: fine_tune(None, digits[0]),
    ):
        with pytest.raises(WeightsError, match=line):
            call()
    with pytest.raises(InvalidArgument, match=r"Only fine-tuning takes no model\. Received: None"):
        run_record(None, "digits")


def test_a_model_alone_has_its_default_weights():
    record = run_record("inception_v1", "digits", transfer=TransferConfig())
    assert record.model == ZooModel("inception_v1", "bvlc_in1k")
    assert record.data.load is not None
    assert record.data.load.image_size == (256, 256)
    assert run_record("mnist_net", "digits", transfer=TransferConfig()).model == ZooModel("mnist_net", "mnist")
    with pytest.raises(InvalidArgument, match=r"needs weights to be used. Received: 'plain18'. Add --weights TAG"):
        run_record("plain18", "digits", transfer=TransferConfig())

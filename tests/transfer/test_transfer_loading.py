"""Images for pretrained weights: at the scale of their record."""

import pytest

from kzoo.errors import InvalidArgument
from kzoo.models.registry import get_card
from kzoo.transfer import images_for


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

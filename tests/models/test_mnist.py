"""The MNIST net: its exact size and layers."""

import pytest

import kzoo


def parameters(height=28, width=28, channels=1, classes=10):
    """From the paper's widths by hand: kernels, then 4 numbers per normalized channel, then the classifier."""
    kernels = 25 * channels * 32 + 25 * 32 * 64 + (height // 4) * (width // 4) * 64 * 150
    return kernels + 4 * (32 + 64 + 150) + 150 * classes + classes


def test_exact_parameter_count():
    model = kzoo.MNISTNet()
    assert model.count_params() == parameters() == 524_894
    # All but the moving means and variances are trained.
    assert sum(v.value.shape.num_elements() for v in model.trainable_variables) == 524_894 - 2 * (32 + 64 + 150)


@pytest.mark.parametrize(
    ("shape", "classes"), [((8, 8, 1), 10), ((32, 32, 3), 100), ((20, 31, 4), 2), ((4, 4, 1), 3), ((27, 29, 2), 5)]
)
def test_other_inputs_and_classes(shape, classes):
    model = kzoo.create_model("mnist_net", input_shape=shape, classes=classes)
    assert model.count_params() == parameters(*shape, classes=classes)
    assert model.output_shape == (None, classes)


def test_layers_in_order():
    names = [layer.name for layer in kzoo.MNISTNet().layers]
    expected = """
        images preprocessing conv1 conv1_bn conv1_relu pool1 conv2 conv2_bn conv2_relu pool2
        flatten fc1 fc1_bn fc1_relu dropout predictions
    """
    assert names == expected.split()


def test_constructor_is_create_model():
    arguments = {"classes": 7, "input_shape": (16, 16, 3), "dropout": 0.1, "classifier_activation": None}
    first = kzoo.MNISTNet(**arguments).get_config()
    second = kzoo.create_model("mnist_net", **arguments).get_config()
    assert first == second
    assert first["layers"][-2]["config"]["rate"] == 0.1

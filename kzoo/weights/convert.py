"""Load the tensors of a weights file into a model: every one, or none."""

import re

import numpy as np

from kzoo.arguments import integer
from kzoo.errors import InvalidArgument, WeightsError, unknown
from kzoo.weights.names import CLASSIFIERS, SOURCES, tensor_layouts

# keras.applications' files have the names that their layers had when they were trained (keras-applications 1.0.8,
# resnet_common.py; Keras 1's for VGG): Keras loads them by order.
KERAS_CLASSIFIER = r"^probs/"
KERAS_1 = r"^(\w+)/\1_(W|b)(?:_\d+)?$"
ADAPTABLE = (3, 1)  # channels of images, of which a first convolution is adapted to others
SHOWN = 3  # names in an error


def convert(tensors: dict[str, np.ndarray], model, source: str, *, head: bool = True, bgr: bool = False) -> None:
    """Set every weight of a model from the tensors of a file; of a file that does not fit, none.

    Left out are, of PyTorch's files, the counters `num_batches_tracked`, and the auxiliary heads where the model has
    none; of Keras's, the state of the optimizer and of random generators.

    Args:
        tensors: What `formats.read` gives: float32 arrays by name.
        model: A model of `kzoo.create_model`, known by its name.
        source: Who published the file: "akamaster", "bvlc", "keras" (keras.applications), "kzoo" (`weight.path` in
            `model.weights`), "timm" or "torchvision".
        head: False keeps the model's classifier, if it has one, as it is, and leaves the file's out: for other classes,
            or for a model without a top.
        bgr: Whether the file's first convolution reads BGR. It matters only where it is adapted to a model of another
            number of channels, by `adapt_input_channels`.

    Raises:
        InvalidArgument: There is no such source, or it has no such model.
        WeightsError: The file lacks a tensor, has one too many, or one of another shape or dtype.

    >>> import kzoo
    >>> model = kzoo.create_model("resnet20_cifar")
    >>> convert({"conv1.weight": np.zeros((16, 3, 3, 3), "float32")}, model, "akamaster")
    Traceback (most recent call last):
    ...
    kzoo.errors.WeightsError: The weights do not fit resnet20_cifar: 96 missing tensors (bn1.weight, bn1.bias, \
bn1.running_mean, ...). Received: 1 tensors, source 'akamaster'. Is it the file of another model?
    """
    if source not in SOURCES:
        raise unknown("source of weights", source, SOURCES)
    publisher = SOURCES[source]
    if not publisher.has(model.name):
        valid = ", ".join(publisher.models)
        raise InvalidArgument(f"{source} has no weights of this model. Received: {model.name!r}. Valid: {valid}.")
    layers = [weight.path.split("/")[0] for weight in model.weights]
    given = _renamed(tensors, model) if publisher.separator == "/" else tensors
    expected = _expected(model, publisher, given)
    pairs = list(zip(model.weights, layers, expected, strict=True))
    if not head:
        pairs = [pair for pair in pairs if pair[1] not in CLASSIFIERS]
    _check_names(given, [tensor.name for _, _, tensor in pairs], layers, model, source, head)
    for _, layer, tensor in pairs:
        _check_array(given[tensor.name], tensor, layer in CLASSIFIERS, model)
    for weight, _, tensor in pairs:
        value = tensor.to_keras(given[tensor.name])
        if tensor is expected[0]:
            value = adapt_input_channels(value, weight.shape[2], bgr=bgr)
        weight.assign(value)


def adapt_input_channels(kernel: np.ndarray, channels: int, *, bgr: bool = False) -> np.ndarray:
    """Make the kernel of a first convolution, trained on RGB, one for images of another number of channels.

    For one channel it is summed over its input channels: a grey image gives what the same numbers in RGB gave. For
    others it is repeated in the order R, G, B, R, ... and scaled by 3 / `channels`, so that the responses keep their
    size. It is timm's rule (`timm.models.adapt_input_conv`).

    Args:
        kernel: (height, width, inputs, outputs).
        channels: Of the images, at least 1.
        bgr: Whether the kernel's inputs are BGR. Kzoo reverses only images of three channels for such a network, so
            that those of other numbers meet the kernel's channels in the order R, G, B.

    Returns:
        (height, width, channels, outputs), of the kernel's dtype; the kernel itself where the number is the same.

    Raises:
        InvalidArgument: `channels` is less than 1.

    >>> kernel = np.array([1, 2, 3], "float32").reshape(1, 1, 3, 1)
    >>> adapt_input_channels(kernel, 1).ravel().tolist()
    [6.0]
    >>> adapt_input_channels(kernel, 4).ravel().tolist()
    [0.75, 1.5, 2.25, 0.75]
    """
    integer("channels", channels, 1, valid="at least 1")
    inputs = kernel.shape[2]
    if channels == inputs:
        return kernel
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True)
    order = np.arange(channels) % inputs
    if bgr:
        order = inputs - 1 - order
    return kernel[:, :, order] * kernel.dtype.type(inputs / channels)


def _renamed(tensors, model):
    """Keras's tensors by today's names: a variable by its word, not by its number or by Keras 1's letter."""
    words = {
        f"{layer.name}/{i}": f"{layer.name}/{w.name}" for layer in model.layers for i, w in enumerate(layer.weights)
    }
    letters = {"W": "kernel", "b": "bias"}
    renamed = {}
    for name, array in tensors.items():
        name = re.sub(KERAS_CLASSIFIER, "predictions/", name)
        name = re.sub(KERAS_1, lambda found: f"{found[1]}/{letters[found[2]]}", name)
        renamed[words.get(name, name)] = array
    if len(renamed) != len(tensors):
        raise WeightsError(f"Two tensors have the same name. Received: {_first_few(sorted(tensors))}.")
    return renamed


def _check_names(given, expected, layers, model, source, head):
    publisher = SOURCES[source]
    left_out = [publisher.ignored]
    if not head:
        left_out.append(publisher.head)
    if not set(CLASSIFIERS[1:]) & set(layers):
        left_out.append(publisher.auxiliary)
    known = set(expected)
    missing = [name for name in expected if name not in given]
    extra = [name for name in given if name not in known and not any(p and re.fullmatch(p, name) for p in left_out)]
    if not missing and not extra:
        return
    wrong = [
        f"{len(names)} {what} tensors ({_first_few(names)})"
        for names, what in ((missing, "missing"), (extra, "unknown"))
        if names
    ]
    if all(re.fullmatch(publisher.head, name) for name in missing + extra):
        hint = "They are of the top of the network: build the model as the file has it, with or without."
    else:
        hint = "Is it the file of another model?"
    raise WeightsError(
        f"The weights do not fit {model.name}: {' and '.join(wrong)}. Received: {len(given)} tensors, "
        f"source {source!r}. {hint}"
    )


def _first_few(names):
    return ", ".join(f"{name:.100}" for name in names[:SHOWN]) + ", ..." * (len(names) > SHOWN)


def _expected(model, publisher, given):
    """The tensors of a file for the model, or for the same model of grey or RGB images, if that is the file's."""
    for channels in (None, *ADAPTABLE):
        expected = tensor_layouts(model, publisher, channels)
        array = given.get(expected[0].name)
        if array is None or array.shape == expected[0].shape:
            return expected
    return tensor_layouts(model, publisher)


def _check_array(array, tensor, is_classifier, model):
    if array.dtype != np.float32:
        raise WeightsError(f"{tensor.name} must hold float32 numbers. Received: {array.dtype}.")
    if array.shape == tensor.shape:
        return
    if is_classifier:
        what, hint = "has another number of classes", "Build the model for that number, or leave the classifier out."
    else:
        what, hint = "has another shape", "Build the model for the input shape that the weights were trained on."
    raise WeightsError(
        f"{tensor.name} {what} in {model.name}: {tensor.shape}. Received: {array.shape}, from the file. {hint}"
    )

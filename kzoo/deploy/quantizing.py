"""int8, by each engine's own quantizer, calibrated on training images; and what it costs, on validation images."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kzoo import console
from kzoo.backend import tf
from kzoo.data import Dataset
from kzoo.data.order import spread
from kzoo.data.pixels import SIGNED, UNIT, pixel_range, unscale
from kzoo.deploy import converting
from kzoo.deploy.converting import ExportError
from kzoo.deploy.description import Description, Quantization
from kzoo.deploy.engines import BATCH_SIZE, Compute
from kzoo.deploy.formats import WEIGHTS_OF_OPENVINO
from kzoo.deploy.graph import IMAGES
from kzoo.deploy.scoring import with_labels_of
from kzoo.deploy.signal_stack import own_signal_stack
from kzoo.errors import DataError, InvalidArgument, reason_of
from kzoo.paths import OPENVINO

# As many as NNCF takes by default; a range of activations changes little after some hundred images.
CALIBRATION_IMAGES = 300
# More images narrow the interval of a loss of 0.3 points no further than 0.2.
MOST_SCORED = 5_000
# A loss that is surely larger is a fault, not rounding; without --max-loss such an export fails.
LARGEST_LOSS = 0.02

FORMATS = ("openvino", "onnx", "litert")


class Data(NamedTuple):
    """Images to quantize with."""

    calibration: np.ndarray
    """Training images, uint8 (N, height, width, channels)."""
    images: np.ndarray
    """Validation images."""
    labels: np.ndarray
    """Theirs, as the model counts classes."""


def data_of(described: Description, train: Dataset, validation: Dataset) -> Data:
    """Calibration images of `train`, and those of `validation` that the loss is measured on, evenly spread.

    Raises:
        DataError: They have splits in common, or a label that the model does not know.
    """
    if train.fingerprint == validation.fingerprint and train.split == validation.split:
        raise DataError(
            f"int8 is calibrated and scored on different images. Received: the {train.split} split for both. Name data "
            "that has a train and a validation split."
        )
    validation = with_labels_of(validation, described)
    rows = spread(len(validation), MOST_SCORED)
    calibration = train.reader.fetch(spread(len(train), CALIBRATION_IMAGES))
    return Data(as_bytes(calibration), as_bytes(validation.reader.fetch(rows)), validation.labels[rows])


def as_bytes(pixels: np.ndarray) -> np.ndarray:
    """Images of a known range as the exported model takes them: uint8, 0 to 255.

    Raises:
        InvalidArgument: They are of another range.

    >>> as_bytes(np.array([0.0, 0.5, 1.0])).tolist()
    [0, 128, 255]
    """
    if pixels.dtype == np.uint8:
        return pixels
    found = pixel_range([pixels])
    if found in (UNIT, SIGNED):
        pixels = unscale(pixels, found)
    low, high = pixels.min(), pixels.max()
    if low < 0 or high > 255:
        raise InvalidArgument(f"Images must have pixels of 0 to 255. Received: {low:g} to {high:g}.")
    return np.rint(pixels).astype(np.uint8)


def write_int8(name: str, function: Any, path: Path, data: Data, max_loss: float | None) -> tuple[str, ...]:
    """Quantize what `kzoo.deploy.graph.inference_graph` gave, and write it to `path`, without metadata.

    Args:
        name: The format.
        function: The graph.
        path: Where to.
        data: What to calibrate with.
        max_loss: Of accuracy, 0 to 1. For OpenVINO, layers that cost most are left in float until the loss is smaller.

    Returns:
        The layers that were left in float for `max_loss`.

    Raises:
        ExportError: The quantizer fails.
    """
    console.log(f"int8: calibrated on {len(data.calibration)} training images")
    try:
        with converting.quietly():
            return _WRITE[name](function, path, data, max_loss)
    except Exception as error:  # quantizers raise nearly anything
        raise ExportError(f"The model cannot be quantized for {name}. Received: {reason_of(error)}") from error


def cost(compute: Compute, reference: Compute, data: Data, in_float: tuple[str, ...]) -> Quantization:
    """What int8 loses of accuracy, measured on the same images in both: `compute` in int8, `reference` in Keras."""
    from kzoo.deploy.checking import in_batches

    ours = in_batches(compute, data.images, "scoring int8").argmax(axis=1) == data.labels
    theirs = in_batches(reference, data.images, "scoring Keras").argmax(axis=1) == data.labels
    loss, interval = paired_difference(theirs, ours)
    return Quantization(
        calibration_images=len(data.calibration),
        accuracy=float(ours.mean()),
        float_accuracy=float(theirs.mean()),
        loss=loss,
        interval=interval,
        images=len(data.images),
        in_float=in_float,
    )


def paired_difference(one: np.ndarray, other: np.ndarray) -> tuple[float, tuple[float, float]]:
    """By how much the share of hits of `one` is larger than that of `other`, on the same images; 95 % interval.

    Only images that one of the two gets right count, half a one added to each kind (Agresti and Min, 2005): with none,
    the interval still has a width.

    >>> hits = np.array([True] * 90 + [False] * 10)
    >>> loss, (low, high) = paired_difference(hits, np.roll(hits, 2))
    >>> loss, round(low, 3), round(high, 3)
    (0.0, -0.043, 0.043)
    """
    count = len(one)
    lost, won = int((one & ~other).sum()), int((~one & other).sum())
    b, c, n = lost + 0.5, won + 0.5, count + 2
    middle, error = (b - c) / n, ((b + c) - (b - c) ** 2 / n) ** 0.5 / n
    return (lost - won) / count, (middle - 1.96 * error, middle + 1.96 * error)


def check_loss(found: Quantization, max_loss: float | None) -> None:
    """Raise ExportError where int8 loses more than it may."""
    low, high = found.interval
    if max_loss is not None:
        is_too_large, limit = found.loss > max_loss, f"--max-loss is {100 * max_loss:g}"
    else:
        is_too_large, limit = low > LARGEST_LOSS, f"more than {100 * LARGEST_LOSS:g} is a fault"
    if is_too_large:
        raise ExportError(
            f"int8 loses too much accuracy, so it was not kept: {limit} points. Received: {100 * found.loss:.2f} "
            f"({100 * low:.2f} to {100 * high:.2f}) points on {found.images:,} validation images. Leave --int8 out, or "
            "allow more by --max-loss."
        )


def check_max_loss(max_loss: float | None) -> None:
    """Raise InvalidArgument unless it is points of accuracy."""
    from kzoo.arguments import number

    if max_loss is not None:
        number("max_loss", max_loss, 0, 1, valid="a share of accuracy from 0 to 1 (--max-loss: points, 0 to 100)")


def check_format(name: str) -> None:
    """Raise InvalidArgument for a format without a quantizer."""
    if name not in FORMATS:
        raise InvalidArgument(f"int8 is for {', '.join(FORMATS)}. Received: --format {name}.")


def _one_by_one(images: np.ndarray) -> Iterator[np.ndarray]:
    return (images[i : i + 1] for i in range(len(images)))


@own_signal_stack()
def _write_openvino(function: Any, path: Path, data: Data, max_loss: float | None) -> tuple[str, ...]:
    os.environ.setdefault("NNCF_CI", "1")  # without it NNCF sends usage statistics unasked
    import nncf
    import openvino as ov

    calibration = nncf.Dataset(list(_one_by_one(data.calibration)))
    model = converting.openvino_model(function)
    options: dict[str, Any] = {"subset_size": len(data.calibration), "preset": nncf.QuantizationPreset.MIXED}
    if max_loss is None:
        quantized = nncf.quantize(model, calibration, **options)
    else:
        batches = [slice(i, i + BATCH_SIZE) for i in range(0, len(data.images), BATCH_SIZE)]
        items = nncf.Dataset([(data.images[rows], data.labels[rows]) for rows in batches], lambda item: item[0])

        def accuracy(compiled: Any, pairs: Any) -> tuple[float, list[float]]:
            hits = [compiled(images)[0].argmax(axis=1) == labels for images, labels in pairs]
            return float(np.concatenate(hits).mean()), [float(one.mean()) for one in hits]

        quantized = nncf.quantize_with_accuracy_control(
            model, calibration, items, accuracy, max_drop=max_loss, drop_type=nncf.DropType.ABSOLUTE, **options
        )
    ov.save_model(quantized, path / OPENVINO, compress_to_fp16=False)
    assert (path / WEIGHTS_OF_OPENVINO).is_file()  # noqa: S101 - OpenVINO's rule of names
    return () if max_loss is None else _in_float(quantized)


_HEAVY = ("Convolution", "GroupConvolution", "MatMul")


def _in_float(model: Any) -> tuple[str, ...]:
    """The convolutions and matrices of an OpenVINO model whose weights are not int8."""
    found = []
    for operation in model.get_ordered_ops():
        if operation.get_type_name() in _HEAVY:
            weights = operation.input_value(1).get_node().get_type_name()
            if weights not in ("Multiply", "FakeQuantize"):  # int8 times a scale; before NNCF has packed it
                found.append(operation.get_friendly_name())
    return tuple(found)


def _write_onnx(function: Any, path: Path, data: Data, _: float | None) -> tuple[str, ...]:
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self):
            self._images = _one_by_one(data.calibration)

        def get_next(self):
            image = next(self._images, None)
            return None if image is None else {IMAGES: image}

    with tempfile.TemporaryDirectory() as folder:
        plain, prepared = Path(folder, "model.onnx"), Path(folder, "prepared.onnx")
        onnx.save(converting.onnx_model(function), plain)
        quant_pre_process(plain, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            path,
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,  # 7 bits of weights: sums of 8 overflow 16 bits on CPUs without VNNI
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv", "Gemm", "MatMul", "Add", "Concat", "MaxPool", "GlobalAveragePool", "Relu"],
        )
    return ()


def _write_litert(function: Any, path: Path, data: Data, _: float | None) -> tuple[str, ...]:
    converter = tf.lite.TFLiteConverter.from_concrete_functions([converting.frozen(function)])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image] for image in _one_by_one(data.calibration))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.lite.OpsSet.TFLITE_BUILTINS]
    path.write_bytes(converter.convert())
    return ()


_WRITE: dict[str, Callable[[Any, Path, Data, float | None], tuple[str, ...]]] = {
    "openvino": _write_openvino,
    "onnx": _write_onnx,
    "litert": _write_litert,
}

"""Exported models, run from their files. Neither TensorFlow nor Keras is imported, except for a SavedModel."""

import hashlib
import os
import threading
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kzoo import paths
from kzoo.chatter import tensorflow, without_chatter
from kzoo.data.loading import check_input
from kzoo.deploy import description
from kzoo.deploy.description import KEY, Description
from kzoo.deploy.formats import FORMATS, WEIGHTS_OF_OPENVINO, format_of, require
from kzoo.deploy.signal_stack import own_signal_stack
from kzoo.errors import InvalidArgument, RunError, reason_of
from kzoo.files import read_bytes
from kzoo.hardware import cores
from kzoo.text import dimensions

Compute = Callable[[np.ndarray], np.ndarray]

BATCH_SIZE = 32
PRECISIONS = {"float32": "f32", "mixed_bfloat16": "bf16", "mixed_float16": "f16"}  # what OpenVINO calls them
DIGEST = "digest_of_weights"  # entry of an OpenVINO file


class Exported(NamedTuple):
    """An exported model that is ready to run."""

    path: Path
    format: str
    description: Description
    compute: Compute
    """Images uint8 (N, height, width, channels) to probabilities float32 (N, classes), of any N; from any thread."""

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Probabilities of images in the model's size, (N, classes) float32.

        Raises:
            InvalidArgument: They are not uint8 images of the model's shape.
        """
        shape = self.description.input_shape
        fits = images.ndim == 4 and all(w in (None, g) for w, g in zip(shape, images.shape[1:], strict=True))
        if images.dtype != np.uint8 or not fits:
            raise InvalidArgument(
                f"The model takes uint8 images (N, {', '.join(str(side or 'any') for side in shape)}). Received: "
                f"{images.dtype} {images.shape}."
            )
        parts = [self.compute(images[i : i + BATCH_SIZE]) for i in range(0, len(images), BATCH_SIZE)]
        return np.concatenate(parts) if parts else np.zeros((0, self.description.classes), np.float32)


@dataclass(frozen=True)
class _Opened:
    metadata: str | bytes
    compute: Compute


def load(path: str | os.PathLike[str], precision: str = "float32") -> Exported:
    """Open an exported model in its engine.

    A SavedModel is a program, which may read and write files: open those that you made or trust.

    Args:
        path: What `kzoo.deploy.export` wrote.
        precision: What to compute in: "float32"; for OpenVINO also "mixed_bfloat16" or "mixed_float16", which is fast
            where the CPU has instructions for it. int8 layers stay int8.

    Raises:
        InvalidArgument: No exported model, or a package or precision that is missing.
        RunError: The file is damaged, or was not made by kzoo.
    """
    path = paths.expand(path)
    name = format_of(path)
    path = path.parent if path.name == paths.OPENVINO else path
    if not path.exists():
        raise InvalidArgument(f"No such exported model. Received: {str(path)!r}.")
    check_precision(name, precision)
    require(name)
    try:
        opened = _OPEN[name](path, precision)
        described = description.read(opened.metadata)
    except Exception as error:  # whatever a damaged or hostile file makes an engine raise
        raise RunError(f"Cannot load the exported model. Received: {str(path)!r}: {reason_of(error)}") from error
    check_input(described.input_shape)
    return Exported(path, name, described, _checked(opened.compute, described, path))


def check_precision(name: str, precision: str) -> None:
    """Raise InvalidArgument for a precision that the engine of a format does not compute in."""
    if precision not in PRECISIONS or (precision != "float32" and name != "openvino"):
        raise InvalidArgument(
            f"{FORMATS[name].engine} computes in float32 here. Received: precision {precision!r}. Export to openvino "
            "for another."
        )


def engine_of(name: str) -> str:
    """The engine of a format with its version, for a reader."""
    package = {"onnx": "onnxruntime", "litert": "ai-edge-litert", "savedmodel": "tensorflow"}.get(name, name)
    return f"{FORMATS[name].engine} {version(package)}"


def _checked(compute: Compute, described: Description, path: Path) -> Compute:
    """The same, with an engine's errors in one line, and what is no probabilities refused."""
    lock = threading.Lock()  # a request to an engine is for one thread at a time

    def checked(images: np.ndarray) -> np.ndarray:
        try:
            with lock:
                found = np.asarray(compute(np.ascontiguousarray(images)))
        except Exception as error:
            raise RunError(
                f"The exported model failed on images of {dimensions(images.shape[1:])}. Received: {str(path)!r}: "
                f"{reason_of(error)}"
            ) from error
        if found.dtype != np.float32 or found.shape != (len(images), described.classes):
            raise RunError(
                f"The exported model is not what its metadata says. Received: {str(path)!r}, which gives {found.dtype} "
                f"{found.shape} for {len(images)} images of {described.classes} classes. Export it anew."
            )
        # Rounding and int8 may leave the range a little; NaN is in none.
        if len(found) and not (found.min() >= -1e-3 and found.max() <= 1 + 1e-3):
            raise RunError(f"The exported model gives no probabilities. Received: {str(path)!r}. Export it anew.")
        return found

    return checked


@own_signal_stack()
def _open_openvino(path: Path, precision: str) -> _Opened:
    import openvino as ov

    core = ov.Core()
    model = core.read_model(path / paths.OPENVINO)
    entries = model.get_rt_info()
    if KEY not in entries:
        raise ValueError("it has no metadata of kzoo: export it with kzoo export")
    metadata = model.get_rt_info([KEY, "description"]).value
    if model.get_rt_info([KEY, DIGEST]).value != digest_of(path / WEIGHTS_OF_OPENVINO):
        raise ValueError(f"its {WEIGHTS_OF_OPENVINO} is truncated, or of another model")
    options = {"INFERENCE_PRECISION_HINT": PRECISIONS[precision], "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(model, "CPU", options).create_infer_request()
    # The result is in a buffer that the next call writes to.
    return _Opened(metadata, lambda images: np.array(request.infer([images], share_inputs=True)[0]))


def digest_of(path: Path) -> str:
    """A hash of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _open_onnx(path: Path, _: str) -> _Opened:
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)  # what is an error it raises
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    entries = session.get_modelmeta().custom_metadata_map
    if KEY not in entries:
        raise ValueError("it has no metadata of kzoo: export it with kzoo export")
    name = session.get_inputs()[0].name
    return _Opened(entries[KEY], lambda images: np.asarray(session.run(None, {name: images})[0]))


def _open_litert(path: Path, _: str) -> _Opened:
    from ai_edge_litert.interpreter import Interpreter

    # The metadata is at the file's end, so that no truncated file gets to the interpreter.
    if not zipfile.is_zipfile(path):
        raise ValueError("it is truncated, or has no metadata of kzoo: export it with kzoo export")
    with zipfile.ZipFile(path) as entries:
        entry = entries.getinfo(paths.DESCRIPTION)
        # Stored, as kzoo writes it: what is packed unpacks to any size, whatever the entry says.
        if entry.compress_type != zipfile.ZIP_STORED or max(entry.file_size, entry.compress_size) > description.LARGEST:
            raise ValueError("its metadata is packed, or too large")
        metadata = entries.read(entry)
    with without_chatter():
        interpreter = Interpreter(model_path=str(path), num_threads=cores())
        interpreter.allocate_tensors()  # which says what it uses
    taken, given = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    shape: tuple[int, ...] | None = None

    def compute(images: np.ndarray) -> np.ndarray:
        nonlocal shape
        if images.shape != shape:
            interpreter.resize_tensor_input(taken, images.shape)
            interpreter.allocate_tensors()
            shape = images.shape
        interpreter.set_tensor(taken, images)
        interpreter.invoke()
        return interpreter.get_tensor(given)

    return _Opened(metadata, compute)


def _open_savedmodel(path: Path, _: str) -> _Opened:
    metadata = read_bytes(path / paths.DESCRIPTION, description.LARGEST)
    tf = tensorflow()
    loaded: Any = tf.saved_model.load(str(path))
    serve = loaded.signatures["serving_default"]

    def compute(images: np.ndarray) -> np.ndarray:
        [found] = serve(tf.constant(images)).values()
        return found.numpy()

    compute.loaded = loaded  # pyright: ignore[reportFunctionMemberAccess] - which the signature does not keep
    return _Opened(metadata, compute)


_OPEN: dict[str, Callable[[Path, str], _Opened]] = {
    "savedmodel": _open_savedmodel,
    "openvino": _open_openvino,
    "onnx": _open_onnx,
    "litert": _open_litert,
}

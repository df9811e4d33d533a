"""From TensorFlow's graph to a file of a format, by the field's tools; and what is said of it into its metadata."""

import contextlib
import io
import logging
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kzoo import paths
from kzoo.backend import tf
from kzoo.chatter import without_chatter
from kzoo.deploy.description import KEY, Description
from kzoo.deploy.engines import DIGEST, digest_of
from kzoo.deploy.formats import WEIGHTS_OF_OPENVINO
from kzoo.deploy.graph import IMAGES, PROBABILITIES
from kzoo.errors import KzooError, reason_of

OPSET = 18  # of ONNX: the newest that tf2onnx writes


class ExportError(KzooError):
    """An engine's converter that failed, or an exported model that does not compute what Keras does."""


def write(name: str, function: Any, path: Path) -> None:
    """Convert what `kzoo.deploy.graph.inference_graph` gave, and write it to `path`, without metadata.

    Raises:
        ExportError: The converter does not know an operation, or fails.
    """
    try:
        with quietly():
            _WRITE[name](function, path)
    except Exception as error:  # converters raise nearly anything
        raise ExportError(f"The model cannot be converted to {name}. Received: {reason_of(error)}") from error


def describe(name: str, path: Path, description: Description) -> None:
    """Put a description into an exported model's metadata, in place of the one that is there."""
    _DESCRIBE[name](path, description.as_text())


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without the converters' progress and notices of deprecation, which their own calls of TensorFlow cause."""
    loggers = [logging.getLogger(name) for name in ("tensorflow", "absl", "tf2onnx", "nncf")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel("ERROR")
    try:
        # NNCF shows its progress on the standard output.
        with warnings.catch_warnings(), without_chatter(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def frozen(function: Any) -> Any:
    """The function with its variables as constants: the converters read it so."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    return convert_variables_to_constants_v2(function.get_concrete_function())


def _write_savedmodel(function: Any, path: Path) -> None:
    module = tf.Module()
    module.model, module.serve = function.model, function
    tf.saved_model.save(module, path, signatures={"serving_default": function})
    (path / "fingerprint.pb").unlink(missing_ok=True)  # of a file that is moved, it says nothing


def _write_openvino(function: Any, path: Path) -> None:
    import openvino as ov

    ov.save_model(openvino_model(function), path / paths.OPENVINO, compress_to_fp16=False)


def openvino_model(function: Any) -> Any:
    """The function as an `openvino.Model`.

    It is read by OpenVINO's core: `openvino.convert_model` calls the same, and sends usage statistics unasked.
    """
    import openvino as ov

    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder, "graph.pb")
        graph.write_bytes(frozen(function).graph.as_graph_def().SerializeToString())
        model = ov.Core().read_model(graph)
    model.inputs[0].set_names({IMAGES})
    model.outputs[0].set_names({PROBABILITIES})
    return model


def _write_onnx(function: Any, path: Path) -> None:
    import onnx

    onnx.save(onnx_model(function), path)


def onnx_model(function: Any) -> Any:
    """The function as an `onnx.ModelProto`."""
    import tf2onnx

    graph = frozen(function)
    [taken], [given] = graph.inputs, graph.outputs
    model, _ = tf2onnx.convert.from_graph_def(
        graph.graph.as_graph_def(),
        input_names=[taken.name],
        output_names=[given.name],
        opset=OPSET,
        tensors_to_rename={taken.name: IMAGES, given.name: PROBABILITIES},
    )
    return model


def _write_litert(function: Any, path: Path) -> None:
    # Frozen: variables that the converter finds are not initialized in the engine, which then computes NaN.
    path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([frozen(function)]).convert())


def _describe_folder(path: Path, text: str) -> None:
    (path / paths.DESCRIPTION).write_text(text + "\n")


def _describe_openvino(path: Path, text: str) -> None:
    import openvino as ov

    model = ov.Core().read_model(path / paths.OPENVINO)
    model.set_rt_info(text, [KEY, "description"])
    model.set_rt_info(digest_of(path / WEIGHTS_OF_OPENVINO), [KEY, DIGEST])
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        # Its weights are read from the file while they are written to another.
        ov.save_model(model, Path(folder, paths.OPENVINO), compress_to_fp16=False)
        del model
        shutil.copyfile(Path(folder, paths.OPENVINO), path / paths.OPENVINO)


def _describe_onnx(path: Path, text: str) -> None:
    import onnx

    model = onnx.load(path)
    others = [entry for entry in model.metadata_props if entry.key != KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(others)
    model.metadata_props.add(key=KEY, value=text)
    onnx.save(model, path)


def _describe_litert(path: Path, text: str) -> None:
    """As a zip archive after the model, where LiteRT's own metadata has its files: `unzip -p model.tflite`."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as entries:
            end = min(entry.header_offset for entry in entries.infolist())
        with open(path, "rb+") as file:
            file.truncate(end)
    with zipfile.ZipFile(path, "a") as entries:
        entries.writestr(paths.DESCRIPTION, text)


_WRITE: dict[str, Callable[[Any, Path], None]] = {
    "savedmodel": _write_savedmodel,
    "openvino": _write_openvino,
    "onnx": _write_onnx,
    "litert": _write_litert,
}
_DESCRIBE: dict[str, Callable[[Path, str], None]] = {
    "savedmodel": _describe_folder,
    "openvino": _describe_openvino,
    "onnx": _describe_onnx,
    "litert": _describe_litert,
}

"""The formats that models are exported to: what their files are called, and the packages that they need."""

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from kzoo import paths
from kzoo.errors import InvalidArgument, unknown

WEIGHTS_OF_OPENVINO = "model.bin"  # OpenVINO calls them as the graph beside them


@dataclass(frozen=True)
class Format:
    """A format."""

    engine: str
    """What runs it, for a reader."""
    suffix: str
    """Of its file; "" for a folder."""
    to_run: tuple[str, ...]
    """Modules that running it imports."""
    to_export: tuple[str, ...] = ()
    """Further modules that an export imports."""
    to_quantize: tuple[str, ...] = ()
    """Further modules that an export to int8 imports."""


FORMATS = {
    "savedmodel": Format("TensorFlow", "", to_run=("tensorflow",)),
    "openvino": Format("OpenVINO", "", to_run=("openvino",), to_quantize=("nncf",)),
    "onnx": Format("ONNX Runtime", ".onnx", to_run=("onnxruntime",), to_export=("onnx", "tf2onnx")),
    "litert": Format("LiteRT", ".tflite", to_run=("ai_edge_litert",)),
}
# What an export that is a folder holds: one that holds anything else is not overwritten.
_PARTS = {
    "openvino": {paths.OPENVINO, WEIGHTS_OF_OPENVINO, paths.DESCRIPTION},
    "savedmodel": {paths.SAVED_MODEL, "variables", "assets", paths.DESCRIPTION},
}


def check_format(name: str) -> None:
    """Raise InvalidArgument unless it is one of `FORMATS`."""
    if name not in FORMATS:
        raise unknown("format", name, FORMATS)


def format_of(path: Path) -> str:
    """The format of an exported model, by the names of its files.

    Raises:
        InvalidArgument: It is none.
    """
    found = paths.exported_format(path)
    if found is None:
        raise InvalidArgument(
            f"Not an exported model. Received: {str(path)!r}. Valid: a .onnx or .tflite file, a folder with "
            f"{paths.OPENVINO} or {paths.SAVED_MODEL}. kzoo export makes one."
        )
    return found


def require(name: str, *, export: bool = False, quantize: bool = False) -> None:
    """Raise InvalidArgument, with the command that installs it, if a package is missing that a format needs."""
    wanted = FORMATS[name]
    modules = (*wanted.to_run, *(wanted.to_export if export or quantize else ()))
    modules = (*modules, *(wanted.to_quantize if quantize else ()))
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise InvalidArgument(
            f"The format {name} needs a package that is not installed. Received: no {' and no '.join(missing)}. "
            f"Install it: pip install 'kzoo[{name}]'."
        )


def checked_path(path: str | os.PathLike[str], name: str, overwrite: bool) -> Path:
    """Where to export to, if that can be.

    Raises:
        InvalidArgument: It cannot.
    """
    path, suffix = paths.expand(path), FORMATS[name].suffix
    if suffix and path.suffix != suffix:
        raise InvalidArgument(f"A file of the format {name} must end in {suffix}. Received: {str(path)!r}.")
    if not suffix and path.suffix in (".xml", ".pb", ".onnx", ".tflite", ".keras"):
        raise InvalidArgument(f"The format {name} is a folder. Received: {str(path)!r}. Leave {path.suffix} out.")
    if not path.name or not path.parent.is_dir():
        raise InvalidArgument(f"There is no folder to export to. Received: {str(path)!r}. Make {str(path.parent)!r}.")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise InvalidArgument(f"No permission to write here. Received: {str(path)!r}. Name another folder.")
    if not path.exists():
        return path
    if not overwrite:
        raise InvalidArgument(f"There is something here already. Received: {str(path)!r}. Pass --overwrite.")
    names = {one.name for one in path.iterdir()} if path.is_dir() else set()
    is_other = path.is_dir() and not {paths.DESCRIPTION} <= names <= _PARTS.get(name, set())
    if is_other or paths.exported_format(path) != name or path.is_dir() == bool(suffix):
        raise InvalidArgument(f"Only an export to {name} is overwritten. Received: {str(path)!r}, which is none.")
    return path

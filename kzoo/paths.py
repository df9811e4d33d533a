"""What a path is that a user names: a run, a search, a model file, or none of these. Needs no TensorFlow."""

import json
import os
import shlex
from pathlib import Path

from kzoo.errors import InvalidArgument, RunError
from kzoo.files import check_regular

RUN = "config.json"  # what makes a folder a run
SEARCH = "search.json"  # and a search
SAVED_MODEL = "saved_model.pb"  # and a model as TensorFlow saves it
OPENVINO = "model.xml"  # and one that kzoo has exported to OpenVINO
DESCRIPTION = "kzoo.json"  # what kzoo says of an exported model that is a folder

# What reads a model that may have layers of kzoo.
_KERAS_3 = ("keras, kzoo.layers", "keras.saving.load_model")


def expand(path: str | os.PathLike[str]) -> Path:
    """A path with "~" replaced by the home folder, where there is one: `Path.expanduser` fails without."""
    return Path(os.path.expanduser(path))  # noqa: PTH111


def command(*words: object) -> str:
    """A command line that can be pasted into a shell.

    >>> command("kzoo", "train", "--resume", Path("my run"))
    "kzoo train --resume 'my run'"
    """
    return shlex.join(map(str, words))


def find_model(path: str | os.PathLike[str], which: str = "best") -> Path:
    """The `.keras` file that a path means: itself, or of a run directory the "best" or the "last" model.

    Raises:
        InvalidArgument: It is neither; the message says what to do with another kind of model.
        RunError: The run has no such model yet, or the file cannot be looked at.
    """
    path = expand(path)
    if which not in ("best", "last"):
        raise InvalidArgument(f"which must be 'best' or 'last'. Received: {which!r}.")
    try:
        if exported_format(path) is not None and os.path.lexists(path):
            raise InvalidArgument(
                f"This is an exported model, which cannot be changed. Received: {str(path)!r}. Name the run or .keras "
                "file that it was made from; kzoo predict and kzoo evaluate take it as it is."
            )
        if path.is_dir():
            return _of_folder(path, which)
        if not path.exists():
            raise InvalidArgument(f"No such model file or run directory. Received: {str(path)!r}.")
        check_regular(path)
    except OSError as error:
        raise RunError(f"Cannot look at the model file. Received: {str(path)!r}: {error.strerror}.") from None
    if path.suffix != ".keras":
        raise InvalidArgument(f"A model file must be a .keras file. Received: {str(path)!r}.{_how_to_convert(path)}")
    return path


def is_model(path: Path) -> bool:
    """Whether a path means a whole model: it is called like a model file, or is a run directory."""
    return path.suffix == ".keras" or (path / RUN).is_file()


def exported_format(path: Path) -> str | None:
    """The format of an exported model by the names of its files, a key of `kzoo.deploy.formats.FORMATS`; or None.

    >>> exported_format(Path("model.onnx")), exported_format(Path("model.keras"))
    ('onnx', None)
    """
    if path.suffix == ".onnx":
        return "onnx"
    if path.suffix == ".tflite":
        return "litert"
    if (path / OPENVINO).is_file() or path.name == OPENVINO:
        return "openvino"
    if (path / SAVED_MODEL).is_file() and (path / DESCRIPTION).is_file():
        return "savedmodel"
    return None


def _of_folder(path: Path, which: str) -> Path:
    if not (path / RUN).is_file():
        if (path / SEARCH).is_file():
            raise InvalidArgument(
                f"This is a search, not a run. Received: {str(path)!r}. Name a model or a run in it: its best model is "
                f"{path / 'best.keras'}."
            )
        if (path / SAVED_MODEL).is_file():
            raise InvalidArgument(
                f"This is a SavedModel, not a run directory. Received: {str(path)!r}.{_how_to_convert(path)}"
            )
        raise InvalidArgument(f"Not a run directory: it has no {RUN}. Received: {str(path)!r}.")
    model = path / f"{which}.keras"
    if not model.is_file():
        if which == "last" and (path / "best.keras").is_file():
            raise InvalidArgument(f"An ensemble has one model, its best. Received: which='last', {str(path)!r}.")
        raise RunError(
            f"This run has no {which} model yet. Received: {str(model)!r}. Resume the run until its first epoch is "
            "over."
        )
    return model


def _how_to_convert(path: Path) -> str:
    """What makes a `.keras` file of a model in another format, as the end of a message."""
    if path.name.endswith(".weights.h5"):
        return " It has weights alone: name a model of kzoo list, and add --weights FILE."
    if path.suffix.lower() in (".h5", ".hdf5"):
        return f" Convert it: {_conversion(*_KERAS_3, path, path.with_suffix('.keras'))}"
    if (path / "keras_metadata.pb").is_file():  # of Keras 2, which Keras 3 does not read
        middle = path.with_name(f"{path.name}.h5")
        first = _conversion("tf_keras", "tf_keras.models.load_model", path, middle)
        second = _conversion(*_KERAS_3, middle, middle.with_suffix(".keras"))
        return f" Convert it: pip install tf_keras && {first} && {second}"
    if path.is_dir():
        return " It has a function alone, no layers: where the model was made, save it by model.save('model.keras')."
    return ""


def _conversion(imports: str, load: str, path: Path, target: Path) -> str:
    one, other = (json.dumps(str(name)) for name in (path, target))  # in double quotes
    code = f"import {imports}; {load}({one}, compile=False).save({other}, overwrite=False)"
    return command("python", "-c", code)

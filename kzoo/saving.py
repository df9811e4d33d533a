"""Save and load models as `.keras` files, with the names of their classes."""

import json
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path

from kzoo import layers  # noqa: F401 - registers the layers, without which a file does not load
from kzoo.arguments import is_number, is_within
from kzoo.backend import keras
from kzoo.classifier import metadata, set_metadata
from kzoo.data.images import INTERPOLATIONS
from kzoo.errors import InvalidArgument, RunError
from kzoo.files import atomic_path
from kzoo.outputs import classes_of

# A `.keras` file is a zip archive; Keras reads the entries it knows and leaves this one alone.
_METADATA_ENTRY = "kzoo.json"


def save_model(model, path: str | Path, class_names: Sequence[str] | None = None) -> None:
    """Save `model` as a `.keras` file, whole or not at all; plain `keras.models.load_model` reads it too.

    Args:
        model: Any Keras model.
        path: A name ending in `.keras`; an existing file is replaced.
        class_names: Name of each output; by default those that `model` was loaded with.
    """
    known = metadata(model) if class_names is None else {**metadata(model), "class_names": list(class_names)}
    with atomic_path(path) as temporary:
        with warnings.catch_warnings():
            # Keras 3.15 writes variables through h5py in a way that NumPy 2 announces the end of.
            warnings.filterwarnings("ignore", message="__array__ implementation doesn't accept a copy keyword")
            model.save(temporary)
        if known:
            with zipfile.ZipFile(temporary, "a") as archive:
                archive.writestr(_METADATA_ENTRY, json.dumps(known))


def load_model(path: str | Path, which: str = "best"):
    """Load a model from a `.keras` file or a run directory.

    Loading never runs code from the file: a model with Lambda layers or other pickled code is refused.

    Args:
        path: A `.keras` file, or a run directory of `kzoo.train`.
        which: For a run directory, "best" or "last".

    Returns:
        A `keras.Model`; `class_names_of` returns its class names, if the file has them.

    Raises:
        InvalidArgument: `path` is neither, or `which` is neither "best" nor "last".
        RunError: There is no such model yet, or the file is damaged.
    """
    path = Path(path).expanduser()
    if which not in ("best", "last"):
        raise InvalidArgument(f"which must be 'best' or 'last'. Received: {which!r}.")
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise InvalidArgument(f"Not a run directory: it has no config.json. Received: {str(path)!r}.")
        path = path / f"{which}.keras"
        if not path.is_file():
            raise RunError(
                f"This run has no {which} model yet. Received: {str(path)!r}. Resume the run until its first epoch "
                "is over."
            )
    elif not path.is_file():
        raise InvalidArgument(f"No such model file or run directory. Received: {str(path)!r}.")
    elif path.suffix != ".keras":
        raise InvalidArgument(f"A model file must be a .keras file. Received: {str(path)!r}.")
    try:
        model = keras.saving.load_model(path, compile=False)
        with zipfile.ZipFile(path) as archive:
            if _METADATA_ENTRY in archive.namelist():
                set_metadata(model, **_checked(json.loads(archive.read(_METADATA_ENTRY)), model))
    except Exception as error:  # whatever a damaged or hostile file makes Keras, zipfile or h5py raise
        reason = str(error).strip().split("\n")[0]
        raise RunError(f"Cannot load the model file. Received: {str(path)!r}: {reason}") from error
    return model


def _checked(known: dict, model) -> dict:
    """Return the metadata in a file, checked against its model."""
    names, crop_fraction = known.get("class_names"), known.get("crop_fraction", 1.0)
    interpolation, pixel_range = known.get("interpolation"), known.get("pixel_range")
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ValueError(f"the class names in {_METADATA_ENTRY} are not a list of names")
    classes = classes_of(model) if isinstance(model.output_shape, tuple) else None
    if names is not None and classes is not None and len(names) != classes:
        raise ValueError(f"{_METADATA_ENTRY} has {len(names)} class names for {classes} classes")
    if not is_number(crop_fraction) or not is_within(crop_fraction, 0, 1, above=True):
        raise ValueError(f"the crop_fraction in {_METADATA_ENTRY} is not between 0 and 1")
    if interpolation not in (None, *INTERPOLATIONS):
        raise ValueError(f"the interpolation in {_METADATA_ENTRY} is neither bilinear nor bicubic")
    if pixel_range is not None and not _is_range(pixel_range):
        raise ValueError(f"the pixel_range in {_METADATA_ENTRY} is no pair of rising numbers")
    return {
        "class_names": names,
        "crop_fraction": crop_fraction,
        "interpolation": interpolation,
        "pixel_range": None if pixel_range is None else tuple(map(float, pixel_range)),
    }


def _is_range(value) -> bool:
    if not isinstance(value, list) or not all(is_number(end) and is_within(end, -1e9, 1e9) for end in value):
        return False
    return len(value) == 2 and value[0] < value[1]

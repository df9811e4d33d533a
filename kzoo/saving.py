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
from kzoo.errors import RunError
from kzoo.files import atomic_path
from kzoo.paths import find_model

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
    path = find_model(path, which)
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
    interpolation = known.get("interpolation")
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ValueError(f"the class names in {_METADATA_ENTRY} are not a list of names")
    outputs = model.output_shape[-1] if isinstance(model.output_shape, tuple) else None
    if names is not None and outputs is not None and len(names) != outputs:
        raise ValueError(f"{_METADATA_ENTRY} has {len(names)} class names for {outputs} outputs")
    if not is_number(crop_fraction) or not is_within(crop_fraction, 0, 1, above=True):
        raise ValueError(f"the crop_fraction in {_METADATA_ENTRY} is not between 0 and 1")
    if interpolation not in (None, *INTERPOLATIONS):
        raise ValueError(f"the interpolation in {_METADATA_ENTRY} is neither bilinear nor bicubic")
    return {"class_names": names, "crop_fraction": crop_fraction, "interpolation": interpolation}

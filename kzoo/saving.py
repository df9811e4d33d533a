"""Save and load models as `.keras` files, with the names of their classes."""

import functools
import json
import math
import shutil
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from kzoo import layers
from kzoo.arguments import is_number, is_within
from kzoo.backend import keras
from kzoo.classifier import metadata, set_metadata
from kzoo.data.images import INTERPOLATIONS
from kzoo.data.loading import checked_range
from kzoo.errors import RunError, reason_of
from kzoo.files import atomic_path, temporary_path
from kzoo.outputs import classes_of
from kzoo.paths import find_model
from kzoo.weights import archive, hdf5
from kzoo.weights.limits import Budget, check_count

# A `.keras` file is a zip archive of these. Keras unpacks a file that has others whole, before it loads it.
_METADATA, _CONFIG, _WEIGHTS = "metadata.json", "config.json", "model.weights.h5"
_ASSETS = "assets/"  # of layers with a vocabulary
_OURS = "kzoo"  # the part of the metadata that is kzoo's; Keras writes the metadata and does not read it
# Layers of ours that only compute faster what Keras's of the same name compute, from the same config and weights.
# They are saved as Keras's, under their plain name where Keras has none, by which they are ours again once loaded.
FASTER = {layer.__name__: layer for layer in (layers.BatchNormalization, layers.Conv2D)}
LARGEST_CONFIG = 2**23  # bytes; of ResNet-152 it has 0.5 million
MOST_LAYERS = 5_000

# What may be made of the file that is being loaded; None while none is.
_budget: ContextVar[Budget | None] = ContextVar("budget", default=None)


def save_model(model, path: str | Path, class_names: Sequence[str] | None = None) -> None:
    """Save `model` as a `.keras` file, whole or not at all; plain `keras.saving.load_model` reads it too.

    It does so without kzoo where the model has no layers that only kzoo has, such as `LocalResponseNormalization`.

    Args:
        model: Any Keras model.
        path: A name ending in `.keras`; an existing file is replaced.
        class_names: Name of each output; by default those that `model` was loaded with.
    """
    path = Path(path)
    known = metadata(model) if class_names is None else {**metadata(model), "class_names": list(class_names)}
    with temporary_path(path.with_stem(f"{path.stem}.plain")) as plain, atomic_path(path) as temporary:
        with warnings.catch_warnings():
            # Keras 3.15 writes variables through h5py in a way that NumPy 2 announces the end of.
            warnings.filterwarnings("ignore", message="__array__ implementation doesn't accept a copy keyword")
            model.save(plain)
        changes: dict[str, Callable[[Any], Any]] = {
            _METADATA: lambda content: {**content, _OURS: known},
            _CONFIG: _with_keras_layers,
        }
        with zipfile.ZipFile(plain) as source, zipfile.ZipFile(temporary, "w") as target:
            for entry in source.infolist():
                if entry.filename in changes:
                    content = changes[entry.filename](json.loads(source.read(entry)))
                    target.writestr(entry.filename, json.dumps(content))
                else:
                    with source.open(entry) as old, target.open(entry.filename, "w", force_zip64=True) as new:
                        shutil.copyfileobj(old, new, 2**20)


def _with_keras_layers(config: Any) -> Any:
    """The config of a model with Keras's layers in place of ours that are only faster."""
    if isinstance(config, list):
        return [_with_keras_layers(item) for item in config]
    if not isinstance(config, dict):
        return config
    config = {key: _with_keras_layers(value) for key, value in config.items()}
    name = config.get("class_name")
    if isinstance(name, str) and name in FASTER and config.get("registered_name") == f"{_OURS}>{name}":
        return {**config, "module": "keras.layers", "registered_name": name}
    return config


def load_model(path: str | Path, which: str = "best"):
    """Load a model from a `.keras` file or a run directory.

    Loading never runs code from the file: a model with Lambda layers or other pickled code is refused. It takes no more
    memory than the file's size explains.

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
        known, config = _check_file(path)
        with _weights_within(Budget(path.stat().st_size)):
            model = keras.saving.load_model(path, custom_objects=_faster_in(config), compile=False)
        set_metadata(model, **_checked(known, model))
    except Exception as error:  # whatever a damaged or hostile file makes Keras, zipfile or h5py raise
        raise RunError(f"Cannot load the model file. Received: {str(path)!r}: {reason_of(error)}") from error
    return model


def model_of(config: dict, size: int):
    """A model as Keras describes it, without its weights, which are in a file of `size` bytes.

    Raises:
        Exception: Whatever a damaged or hostile description makes Keras raise; ValueError for one that asks for more
            memory than the file's size explains.
    """
    _check_config(config)
    with _weights_within(Budget(size)):
        return keras.saving.deserialize_keras_object(config)


def _check_file(path: Path) -> tuple[Any, dict]:
    """Refuse a file that asks for more than its size explains, before Keras reads it.

    Returns:
        kzoo's part of the metadata, and the model's config.
    """
    with archive.opened(path) as entries:
        names = entries.namelist()
        for name in (_METADATA, _CONFIG, _WEIGHTS):
            if name not in names:
                raise ValueError(f"it has no {name}")
        for name in names:
            if name not in (_METADATA, _CONFIG, _WEIGHTS) and not name.startswith(_ASSETS):
                raise ValueError(f"it has an entry that Keras does not write: {name!r:.100}")
        found = {}
        for name in (_METADATA, _CONFIG):
            if entries.getinfo(name).file_size > LARGEST_CONFIG:
                raise ValueError(f"its {name} has more than {LARGEST_CONFIG:,} bytes")
            found[name] = json.loads(entries.read(name))
            if not isinstance(found[name], dict):
                raise ValueError(f"its {name} is no JSON object")
        _check_config(found[_CONFIG])
    hdf5.check_entry(path, _WEIGHTS)
    return found[_METADATA].get(_OURS, {}), found[_CONFIG]


def _check_config(config: dict) -> None:
    own = [part["layers"] for part in _parts(config) if isinstance(part.get("layers"), list)]
    check_count(sum(map(len, own)), "layers", MOST_LAYERS)
    _check_calls(config)


def _parts(config: Any) -> Iterator[dict]:
    """All JSON objects in a config."""
    waiting = [config]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)


def _check_calls(config: Any) -> bool:
    """Whether a config names a tensor of the graph. Refuse a call on none: Keras would compute it to load the model."""
    if isinstance(config, list):
        return True in [_check_calls(item) for item in config]  # all of them are looked at
    if not isinstance(config, dict):
        return False
    found = config.get("class_name") == "__keras_tensor__"
    for key, value in config.items():
        calls = value if key == "inbound_nodes" and isinstance(value, list) else [value]
        for call in calls:
            names_one = _check_calls(call)
            if calls is value and isinstance(call, dict) and not names_one:
                raise ValueError(f"its layer {config.get('name')!r:.100} is called on no tensor")
            found = found or names_one
    return found


def _faster_in(config: dict) -> dict[str, Any]:
    """The layers of `FASTER` that a config means by their plain names; a layer of the user's may have one of them."""
    own, others = set(), set()
    for part in _parts(config):
        name, module = part.get("registered_name", part.get("class_name")), part.get("module")
        if not isinstance(name, str) or name not in FASTER:
            continue
        if module == "keras.layers" and part.get("class_name") == name:
            own.add(name)
            continue
        others.add(name)
        if keras.saving.get_registered_object(name) is None:
            raise ValueError(
                f"its {name} is a layer of the module {module or '__main__'!r:.100}, not Keras's; name it by "
                "keras.saving.register_keras_serializable and save the model again, or load it within "
                "keras.saving.custom_object_scope"
            )
    if both := own & others:
        raise ValueError(
            f"it has two kinds of {min(both)}, Keras's and one of another module; name the other by "
            "keras.saving.register_keras_serializable and save the model again"
        )
    return {name: layer for name, layer in FASTER.items() if name not in others}


@contextmanager
def _weights_within(budget: Budget) -> Iterator[None]:
    """Refuse weights and states of layers that would take more bytes than `budget` has, before they are made.

    Keras makes the weights that a model's config asks for, random ones, before it looks for them in the file.
    """
    token = _budget.set(budget)
    try:
        yield
    finally:
        _budget.reset(token)


def _count_variables() -> None:
    """Have Keras ask the budget of the thread, if it has one, for each variable it makes.

    This is done once: threads that load models at the same time cannot take it from one another.
    """
    make_variable = keras.Variable.__init__
    make_states = keras.layers.RNN._create_state_variables

    @functools.wraps(make_variable)
    def variable(self, initializer, shape=None, *args, **kwargs):
        if (budget := _budget.get()) is not None:
            budget.spend(math.prod(shape or ()), "weights")
        make_variable(self, initializer, shape, *args, **kwargs)

    @functools.wraps(make_states)
    def states(self, batch_size):
        if (budget := _budget.get()) is not None:
            for state in keras.tree.flatten(keras.src.backend.compute_output_spec(self.get_initial_state, batch_size)):
                budget.spend(math.prod(state.shape), "states of layers")
        make_states(self, batch_size)

    keras.Variable.__init__ = variable
    keras.layers.RNN._create_state_variables = states


_count_variables()


def _checked(known: Any, model) -> dict:
    """Return the metadata in a file, checked against its model."""
    if not isinstance(known, dict):
        raise ValueError(f"kzoo's part of its {_METADATA} is no JSON object")
    names, crop_fraction = known.get("class_names"), known.get("crop_fraction", 1.0)
    interpolation, pixel_range, range_16_bit = (known.get(n) for n in ("interpolation", "pixel_range", "range_16_bit"))
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ValueError(f"the class names in its {_METADATA} are not a list of names")
    classes = classes_of(model) if isinstance(model.output_shape, tuple) else None
    if names is not None and classes is not None and len(names) != classes:
        raise ValueError(f"its {_METADATA} has {len(names)} class names for {classes} classes")
    if not is_number(crop_fraction) or not is_within(crop_fraction, 0, 1, above=True):
        raise ValueError(f"the crop_fraction in its {_METADATA} is not between 0 and 1")
    if interpolation not in (None, *INTERPOLATIONS):
        raise ValueError(f"the interpolation in its {_METADATA} is neither bilinear nor bicubic")
    if pixel_range is not None and not _is_range(pixel_range):
        raise ValueError(f"the pixel_range in its {_METADATA} is no pair of rising numbers")
    if not isinstance(mirrored := known.get("mirrored"), bool | None):
        raise ValueError(f"mirrored in its {_METADATA} is neither true nor false")
    return {
        "class_names": names,
        "crop_fraction": crop_fraction,
        "interpolation": interpolation,
        "range_16_bit": checked_range(range_16_bit),
        "pixel_range": None if pixel_range is None else tuple(map(float, pixel_range)),
        "mirrored": mirrored,
    }


def _is_range(value) -> bool:
    if not isinstance(value, list) or not all(is_number(end) and is_within(end, -1e9, 1e9) for end in value):
        return False
    return len(value) == 2 and value[0] < value[1]

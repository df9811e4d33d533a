"""Publish a trained model as pretrained weights: a tag in the user's cache. Here models and runs meet."""

import hashlib
import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from kzoo.console import log
from kzoo.data.images import Scaling
from kzoo.data.pixels import RAW, shown
from kzoo.errors import InvalidArgument, RunError, WeightsError
from kzoo.files import atomic_path
from kzoo.models.registry import CARDS
from kzoo.paths import expand, find_model
from kzoo.train import checkpoint, runs
from kzoo.weights import user_weights
from kzoo.weights.record import Accuracy, File, Preprocessing, Record
from kzoo.weights.resolve import as_recorded
from kzoo.weights.store import locked_cache_folder

# Settings of layers that do not change what a model computes in use, whatever a run has set them to.
ONLY_IN_TRAINING = r"trainable|dtype|momentum|synchronized|seed|.*_(initializer|regularizer|constraint)"


def add_weights(source: str | Path, tag: str, *, overwrite: bool = False) -> Record:
    """Publish a trained model as pretrained weights in the cache: `create_model(name, weights=tag)` gives it back.

    The record says of the model what is known: its class names, its preprocessing, its input size, and of a run the
    accuracy on the test split, if `kzoo evaluate RUN` has measured it, or on the validation split. Before the weights
    get their name they are read again, and the model made of them must compute the very same.

    Args:
        source: A finished run directory, whose best model is taken; or a `.keras` file. The model must be one of the
            zoo, by its name (`model.name`) and all of its layers.
        tag: What the weights are called: up to 64 small letters, digits, ".", "_" and "-".
        overwrite: Whether weights that were added under this name before are replaced.

    Returns:
        The record, which is kept beside the weights in the cache.

    Raises:
        InvalidArgument: A name that cannot be had, or a model that is not of the zoo.
        RunError: The run is not finished, or damaged.
        WeightsError: The model does not compute what the zoo's does, or the cache cannot be written.
    """
    source = expand(source)
    user_weights.check_tag(tag)
    accuracy = _finished_accuracy(source) if source.is_dir() else None
    find_model(source)

    from kzoo.saving import load_model

    model = load_model(source)
    record, content = _describe(model, source, tag, accuracy)
    user_weights.check_free(model.name, tag)
    try:
        _keep(record, content, lambda path: _check_round_trip(record, path, model), overwrite)
    except OSError as error:
        raise WeightsError(
            f"Cannot write {tag} for {model.name} to the cache. Received: {error}. Make room, or set KZOO_HOME to "
            "another folder."
        ) from error
    log(f"{tag!r} for {model.name} is in the cache: use it by --weights {tag}, in Python by weights={tag!r}")
    return record


def _finished_accuracy(run_dir: Path) -> Accuracy | None:
    """Return the accuracy of a run's best model, or None if it was not measured; raises if the run goes on."""
    record = runs.read_record(run_dir)
    state = checkpoint.read_state(run_dir / runs.CHECKPOINT)
    if state is None or not state.finished:
        raise RunError(
            f"This run is not finished. Received: {str(run_dir)!r}. Finish it ({record.how_to_resume(run_dir)}), "
            f"or add a model of it as it is: {run_dir / runs.BEST}."
        )
    metrics = runs.read_metrics(run_dir)
    split = next((split for split in ("test", "validation") if metrics.get(split)), None)
    if split is None:
        return None
    load = record.data.train and record.data.train.load
    name = Path(load.name).name if load else "its own data"
    return Accuracy(
        top1=metrics[split]["accuracy"],
        top5=metrics[split].get("top5_accuracy"),
        dataset=f"{name} {split}",
        measured=True,
        source="kzoo",
        date=date.fromtimestamp((run_dir / runs.METRICS).stat().st_mtime).isoformat(),
    )


def _describe(model, source: Path, tag: str, accuracy: Accuracy | None) -> tuple[Record, bytes]:
    """The record of a model's weights, and the content of their file."""
    from kzoo.classifier import class_names_of, pixel_range_of, scaling_of
    from kzoo.outputs import check_classifier

    if model.name not in CARDS:
        raise InvalidArgument(
            f"Only models of kzoo list can be added. Received: a model called {model.name!r} in {str(source)!r}. A "
            "model file is used by its path."
        )
    check_classifier(model)
    if pixel_range_of(model) != RAW:
        raise InvalidArgument(
            "Only a model of pixels 0 to 255 can be added. Received: one that was trained on values "
            f"{shown(pixel_range_of(model))}. Train it on undivided pixels, or use its file by its path."
        )
    height, width, channels = model.input_shape[1:]
    if height is None or width is None:
        raise InvalidArgument(f"Only a model of one image size can be added. Received: {model.input_shape!r}.")
    scaling = Scaling(**scaling_of(model))
    if scaling.range_16_bit is not None:
        raise InvalidArgument(
            "A record of weights has no place for the range of 16-bit images. Received: a model that was trained on "
            f"values {scaling.range_16_bit[0]} to {scaling.range_16_bit[1]}. Use the model file by its path."
        )
    resize = None if scaling.crop_fraction == 1 else height / scaling.crop_fraction
    if resize is not None and abs(resize - round(resize)) < 1e-6:  # else the crop is from a model of another input size
        resize = round(resize)
    content = user_weights.serialize(model)
    sha256 = hashlib.sha256(content).hexdigest()
    record = Record(
        model=model.name,
        tag=tag,
        source="kzoo",
        project=None,
        licence=None,
        format="safetensors",
        files=(File(name=f"model-{sha256[:8]}.safetensors", size=len(content), sha256=sha256),),
        classes=model.output_shape[-1],
        labels=class_names_of(model),
        input_size=(height, width, channels),
        preprocessing=replace(preprocessing_of(model), resize=resize, interpolation=scaling.interpolation),
        accuracy=accuracy,
        note=f"Added from {source.resolve()}.",
    )
    return record, content


def preprocessing_of(model) -> Preprocessing:
    """What a model of the zoo does to pixels, read off its layers.

    >>> import kzoo
    >>> preprocessing_of(kzoo.create_model("resnet20_cifar")).mean
    (0.485, 0.456, 0.406)
    """
    layers = {layer.name: layer for layer in model.layers}
    if "preprocessing" not in layers:
        raise InvalidArgument(
            f"A model without preprocessing does not say what it wants of pixels. Received: {model.name}. Build it "
            "with include_preprocessing=True."
        )
    channels = model.input_shape[-1]
    scale = np.broadcast_to(np.asarray(layers["preprocessing"].scale, "float64"), channels)
    offset = np.broadcast_to(np.asarray(layers["preprocessing"].offset, "float64"), channels)
    # The numbers that people wrote, rounded, where they give the same layer; otherwise those that do.
    for unit, digits in ((255.0, 6), (1.0, 6), (255.0, 17), (1.0, 17)):
        std = np.round(1 / (unit * scale), digits)
        mean = np.round(-offset * std, digits) + 0.0  # no -0
        if std.all() and _same(1 / (unit * std), scale) and _same(-mean / std, offset):
            return Preprocessing(
                channel_order="bgr" if "preprocessing_bgr" in layers else "rgb",
                mean=tuple(mean.tolist()),
                std=tuple(std.tolist()),
                unit=unit,
            )
    raise InvalidArgument(f"The preprocessing of this model is not that of a model of the zoo. Received: {model.name}.")


def _same(one, other) -> bool:
    """Whether two rows of numbers are the same to the layer, which computes in float32."""
    return np.array_equal(np.float32(one), np.float32(other))


def _keep(record: Record, content: bytes, check: Callable[[Path], Any], overwrite: bool) -> None:
    """Write the weights under a temporary name, check them, rename them, then write their record.

    A kill at any point leaves the old weights and their record, if there are any.
    """
    with locked_cache_folder(record) as folder:
        if (folder / user_weights.RECORD).exists() and not overwrite:
            raise InvalidArgument(
                f"You have weights of this name for {record.model}. Received: {record.tag!r}. Pass --overwrite, or "
                "choose another name."
            )
        path = folder / record.files[0].name
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
            check(temporary)
        user_weights.write_record(record, folder)
        for other in folder.glob("*.safetensors"):  # the weights replaced, and what a killed process has left
            if other != path:
                other.unlink()


def _check_round_trip(record: Record, path: Path, model) -> None:
    """Raise unless the record and the file make `model` again: the same layers, and the same bits as outputs.

    Outputs alone could hide a difference: behind a softmax that is sure, or units that are never active.
    """
    from kzoo import create_model
    from kzoo.outputs import gives_probabilities

    activation = "softmax" if gives_probabilities(model) else None
    twin = create_model(record.model, weights=as_recorded(record, path), classifier_activation=activation)
    images = np.random.default_rng(0).integers(0, 256, (2, *record.input_size), "uint8")
    layers, twin_layers = _layers(model), _layers(twin)
    one, other = (np.asarray(m(images, training=False)) for m in (model, twin))
    if layers != twin_layers:
        wrong = next(a for a, b in itertools.zip_longest(layers, twin_layers) if a != b)
        reason = f"layer {wrong[1]!r}" if wrong else "fewer layers"
    elif not np.array_equal(one, other):
        reason = "other outputs"
    else:
        return
    raise WeightsError(
        f"With its weights kzoo's {record.model} is not this model: it was built otherwise. Received: {reason}. A "
        "model file is used by its path."
    )


def _layers(model) -> list[tuple]:
    """The layers of a model in their order: kind, name, and the settings that matter outside training."""
    return [
        (
            type(layer).__name__,
            layer.name,
            {k: v for k, v in layer.get_config().items() if not re.fullmatch(ONLY_IN_TRAINING, k)},
        )
        for layer in model.layers
        # The preprocessing is in the record, and compared by what it does.
        if type(layer).__name__ != "Dropout" and layer.name != "preprocessing"
    ]

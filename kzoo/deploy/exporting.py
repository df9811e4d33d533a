"""`export`: a trained model to a file of another engine, checked before it is handed over."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from kzoo import console, paths
from kzoo.classifier import class_names_of, image_shape_of, scaling_of
from kzoo.data import Dataset
from kzoo.data.images import Scaling
from kzoo.data.loading import checked_size
from kzoo.data.order import spread
from kzoo.deploy import checking, converting, quantizing
from kzoo.deploy.description import Description, Source
from kzoo.deploy.engines import Exported, engine_of, load
from kzoo.deploy.formats import FORMATS, check_format, checked_path, require
from kzoo.deploy.graph import classifier_of, inference_graph
from kzoo.deploy.quantizing import as_bytes
from kzoo.errors import DataError, InvalidArgument, RunError
from kzoo.files import put_in_place, write_json
from kzoo.outputs import classes_of
from kzoo.train import record as records
from kzoo.train import runs

# Images that an export is checked on; evenly spread over a dataset.
MOST_IMAGES = 128
# Of images for a model of any size, where none is said.
DEFAULT_SIZE = (224, 224)


@dataclass(frozen=True)
class Export:
    """What `export` has made."""

    path: Path
    format: str
    description: Description
    images_per_second: float
    """Rough, on batches of 16; `kzoo bench infer` measures."""
    keras_images_per_second: float
    """The same of the Keras model, in turn."""
    bytes: int
    """Of all files."""

    def as_json(self) -> dict[str, Any]:
        """Plain data: what `kzoo export --json` prints."""
        check, quantization = self.description.check, self.description.quantization
        return {
            "path": str(self.path),
            "format": self.format,
            **({} if check is None else asdict(check)),
            "images_per_second": self.images_per_second,
            "keras_images_per_second": self.keras_images_per_second,
            "bytes": self.bytes,
            "int8": None if quantization is None else asdict(quantization),
        }


def export(
    model: Any,
    path: str | os.PathLike[str],
    format: str,  # noqa: A002 - what the command calls it
    *,
    images: Any = None,
    image_size: int | tuple[int, int] | None = None,
    source: Source | None = None,
    int8: bool = False,
    data: tuple[Dataset, Dataset] | None = None,
    max_loss: float | None = None,
    overwrite: bool = False,
) -> Export:
    """Export a classifier for another engine: images in, probabilities out, in one file or folder.

    The exported model takes uint8 pixels of 0 to 255, (N, height, width, channels), any N, and any height and width
    where the model's are None. It gives float32 probabilities (N, classes). Preprocessing is inside, batch
    normalization is folded into convolutions, auxiliary heads are left out. Class names, how images come to their size,
    versions, licence and the run are in the file's metadata, and in a `.json` beside it.

    It is run in its engine and compared with Keras before it gets its name; if they differ nothing is left.

    Args:
        model: A `keras.Model`; a run directory, of which the best model is taken; or a `.keras` file.
        path: Where to: a folder for "savedmodel" and "openvino", else a file that ends in ".onnx" or ".tflite".
        format: "savedmodel", "openvino", "onnx" or "litert".
        images: What to check on: a `kzoo.data.Dataset`, paths of image files, or an array uint8 (N, height, width,
            channels) in the model's size. By default the validation images of a run.
        image_size: For image files and a model of any size: n or (height, width) [default: 224].
        int8: Whether to quantize, by the engine's own quantizer and per channel; not for "savedmodel". What it costs is
            measured on validation images, and stands in the description.
        data: For `int8`, training images to calibrate with and labelled validation images; by default those of a run.
        max_loss: Of accuracy, 0 to 1: an export to int8 that loses more fails. For "openvino" the layers that cost most
            are left in float until it does not. By default an export fails that surely loses more than 0.02.
        source: What to say of where the model comes from; by default what the run knows.
        overwrite: Whether to replace what is there.

    Raises:
        InvalidArgument: A wrong argument, or a package that is missing; the message has the command that installs it.
        ExportError: The converter fails, or the exported model does not compute what Keras does.

    >>> import kzoo, tempfile
    >>> model = kzoo.create_model("mnist_net", weights="mnist")
    >>> digits = kzoo.data.load("digits", "test", image_size=28)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = export(model, f"{folder}/model", "savedmodel", images=digits)
    ...     made.description.check.agreement, made.description.input_shape
    (1.0, (28, 28, 1))
    """
    check_format(format)
    require(format, export=True, quantize=int8)
    path = checked_path(path, format, overwrite)
    if int8:
        quantizing.check_format(format)
    elif data is not None or max_loss is not None:
        raise InvalidArgument(
            "data and max_loss are for int8. Received: int8=False. Pass int8=True, or leave them out."
        )
    quantizing.check_max_loss(max_loss)
    run_dir = None if _is_model(model) else paths.expand(model)
    if source is None:
        source = source_of(model if run_dir is None else run_dir)
    if int8 and data is None:
        data = data_of_run(run_dir)
    if images is None:
        images = data[1] if data is not None else None if run_dir is None else validation_images(run_dir)
    if images is None:
        raise InvalidArgument(
            "An export is checked on real images. Received: none, for a model that is no run. Name some: "
            "--images FOLDER, in Python images=."
        )
    if run_dir is not None:
        from kzoo.saving import load_model

        model = load_model(run_dir)
    model = classifier_of(model)
    pixels = pixels_for(model, images, image_size)
    description = described(model, source, format)
    with _staged(path) as temporary:
        if not FORMATS[format].suffix:
            temporary.mkdir()
        if data is None:
            converting.write(format, inference_graph(model), temporary)
            quantization_data, in_float = None, ()
        else:
            quantization_data = quantizing.data_of(description, *data)
            in_float = quantizing.write_int8(format, inference_graph(model), temporary, quantization_data, max_loss)
        converting.describe(format, temporary, description)
        made, reference, engine = load(temporary), checking.keras_compute(model), engine_of(format)
        costs = None
        if quantization_data is not None:
            costs = quantizing.cost(made.compute, reference, quantization_data, in_float)
            quantizing.check_loss(costs, max_loss)
        any_size = None in description.input_shape
        found = checking.check(
            made.compute, reference, pixels, is_exact=costs is None, any_size=any_size, engine=engine
        )
        description = replace(description, check=found, quantization=costs)
        return _finished(made, reference, pixels, description, path, overwrite)


def _finished(made: Exported, reference, pixels: np.ndarray, description: Description, path: Path, overwrite) -> Export:
    """Measure, write what was found into the metadata, and give the exported model its name."""
    theirs, speed = checking.speeds([reference, made.compute], pixels)
    temporary = made.path
    converting.describe(made.format, temporary, description)
    if load(temporary).description != description:
        raise RunError(f"The metadata was not written. Received: {str(temporary)!r}. Is the disk full?")
    size = sum(file.stat().st_size for file in files_of(temporary))
    result = Export(path, made.format, description, speed, theirs, size)
    beside = path / paths.DESCRIPTION if temporary.is_dir() else path.with_name(f"{path.name}.json")
    report = {**description.as_json(), "images_per_second": speed, "keras_images_per_second": theirs, "bytes": size}
    if temporary.is_dir():
        if made.format != "savedmodel":  # whose metadata it is
            write_json(temporary / paths.DESCRIPTION, report)
        _put_folder_in_place(temporary, path, overwrite)
    else:
        write_json(beside, report)
        put_in_place(temporary, path)
    return result


def files_of(path: Path) -> list[Path]:
    """The files of an exported model."""
    return [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]


@contextmanager
def _staged(path: Path) -> Iterator[Path]:
    """A temporary path in a hidden folder beside `path`, with its name; whatever is there is deleted in the end."""
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield folder / path.name
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _put_folder_in_place(temporary: Path, path: Path, overwrite: bool) -> None:
    """Flush a finished folder to disk and rename it to `path`; what is there is moved away first."""
    for file in files_of(temporary):
        with open(file, "rb+") as opened:
            os.fsync(opened.fileno())
    old = temporary.with_name(f"{path.name}.old")  # in the folder that is deleted
    if replaces := overwrite and path.exists():
        path.rename(old)
    try:
        temporary.rename(path)
    except OSError:
        if replaces:
            old.rename(path)
        raise


def _is_model(model: Any) -> bool:
    return not isinstance(model, str | os.PathLike)


def described(model, source: Source, name: str) -> Description:
    """The description of a model before it was checked."""
    height, width, channels = image_shape_of(model)
    scaling = Scaling(**scaling_of(model))
    tools = {package: version(package) for package in _PACKAGES[name]}
    return Description(
        model=model.name,
        input_shape=(height, width, channels),
        classes=classes_of(model),
        class_names=class_names_of(model),
        crop_fraction=scaling.crop_fraction,
        interpolation=scaling.interpolation,  # pyright: ignore[reportArgumentType] - checked when it was read
        range_16_bit=scaling.range_16_bit,
        source=source,
        versions={**records.versions(), **tools},
    )


_PACKAGES = {
    "savedmodel": (),
    "openvino": ("openvino",),
    "onnx": ("onnx", "tf2onnx", "onnxruntime"),
    "litert": ("ai-edge-litert",),
}


def source_of(model: Any) -> Source:
    """What is known of where a model comes from."""
    if _is_model(model):
        return Source(file=model.name, licence=None)
    path = paths.expand(model)
    paths.find_model(path)
    if not path.is_dir():
        return Source(file=path.name, licence=None)
    record, metrics = runs.read_record(path), path / runs.METRICS
    figures = runs.read_metrics(path).get("validation") if metrics.exists() else None
    train = record.data.train
    load_as = (train and train.load) or record.data.load
    return Source(
        file=path.resolve().name,
        licence=_licence_of(record.model),
        dataset=None if load_as is None else Path(load_as.name).name,
        fingerprint=None if train is None else train.fingerprint,
        all_data=record.data.all_data,
        commit=None if record.origin is None else record.origin.commit,
        accuracy=None if not figures else figures["accuracy"],
    )


def _licence_of(model: Any) -> str | None:
    """The licence of the weights that a run was fine-tuned from, where they have a record."""
    from kzoo.weights.registry import get_record, is_tag

    if not isinstance(model, records.ZooModel) or model.weights is None or not is_tag(model.name, model.weights):
        return None
    return get_record(model.name, model.weights).licence


def source_of_weights(chosen: Any) -> Source:
    """What is known of pretrained weights that were found by `kzoo.weights.resolve`."""
    record = chosen.record
    accuracy = None if record.accuracy is None else record.accuracy.top1
    return Source(file=f"{record.model} {record.tag}", licence=record.licence, accuracy=accuracy)


def validation_images(run_dir: Path) -> Dataset | None:
    """The validation images of a run, or, where it was trained on all images, those; None where they were arrays."""
    return split_of_run(run_dir, "validation")


def data_of_run(run_dir: Path | None) -> tuple[Dataset, Dataset]:
    """The training and validation images of a run, to quantize with.

    Raises:
        InvalidArgument: It has none.
    """
    has_own = run_dir is not None and run_dir.is_dir() and not runs.read_record(run_dir).data.all_data
    splits = [split_of_run(run_dir, split) for split in ("train", "validation")] if run_dir and has_own else []
    if not splits or None in splits:
        raise InvalidArgument(
            "int8 is calibrated on training images, and its loss measured on validation images that the model was not "
            "trained on. Received: no run that has both. Name a dataset: --data DATASET, in Python data=(train, "
            "validation)."
        )
    train, validation = splits
    return train, validation  # pyright: ignore[reportReturnType] - neither is None


def split_of_run(run_dir: Path, split: str) -> Dataset | None:
    """A split of the data that a run was trained on; None for a model file, or where the data was given in Python."""
    if not run_dir.is_dir():
        return None
    from kzoo.data import load as load_data

    data = runs.read_record(run_dir).data
    source = (data.train and data.train.load) or data.load
    if source is None:
        return None
    return load_data(**{**asdict(source), "download": False}, split="train+validation" if data.all_data else split)


def pixels_for(model, images: Any, image_size: int | tuple[int, int] | None) -> np.ndarray:
    """Some images as the model takes them, uint8 (N, height, width, channels).

    Raises:
        InvalidArgument: They are of another form.
    """
    height, width, channels = image_shape_of(model)
    size = checked_size(image_size) or DEFAULT_SIZE
    size = (height or size[0], width or size[1])
    if isinstance(images, Dataset):
        rows = spread(len(images), MOST_IMAGES)
        pixels = images.reader.fetch(rows)
    elif isinstance(images, np.ndarray):
        pixels = images[:MOST_IMAGES]
    else:
        pixels = _decoded(images, size, channels, Scaling(**scaling_of(model)))
    pixels = as_bytes(pixels)
    wanted = (height, width, channels)
    if pixels.ndim != 4 or not len(pixels):
        raise InvalidArgument(f"Images must be (N, height, width, channels), one or more. Received: {pixels.shape}.")
    if any(want not in (None, got) for want, got in zip(wanted, pixels.shape[1:], strict=True)):
        raise InvalidArgument(f"The model takes images of {wanted}. Received: {pixels.shape[1:]}.")
    return pixels


def _decoded(files: Sequence[Any], size: tuple[int, int], channels: int, scaling: Scaling) -> np.ndarray:
    from kzoo.data.photos import decoded, with_range_of_files

    files = [paths.expand(file) for file in files][:MOST_IMAGES]
    console.log(f"the export is checked on {len(files)} image{'s' * (len(files) > 1)}")
    scaling = with_range_of_files(scaling, files)
    pixels, bad = [], None
    for file in files:
        try:
            pixels.append(decoded(file, (*size, channels), scaling))
        except DataError as error:
            bad = error
            console.warn(f"the export is not checked on it: {error}")
    if bad is not None and not pixels:
        raise bad
    return np.stack(pixels)

"""What the frozen part of a model makes of images: computed once, kept on disk, read in every epoch.

They are kept below kzoo's folder (KZOO_HOME), in a folder whose name is a hash of all that they depend on: the weights
and the configuration of the frozen layers, the pixels of every image, the augmentation and its seed, the versions. What
changes any of these has another name, and is computed anew; the oldest are deleted beyond `LARGEST` bytes in all.
"""

import atexit
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from kzoo import augment, console
from kzoo.backend import compiled, keras
from kzoo.data import Dataset
from kzoo.errors import DataError
from kzoo.files import is_temporary, locked, put_in_place
from kzoo.weights.places import home

# Bytes of features that are kept in all, and of one set of them.
LARGEST = 20 * 2**30
# Of the disk's free space, what one set may take.
LARGEST_SHARE = 0.5
BATCH_SIZE = 32


@dataclass(frozen=True, eq=False, repr=False)
class Features(Dataset):
    """A dataset of what a model makes of images, in several views of each image that epochs take in turn.

    Attributes:
        key: The hash of all that it depends on.
        views: For each view the features of all images, `[N, ...]`, of the model's dtype.
    """

    key: str = field(kw_only=True)
    views: tuple[np.ndarray, ...] = field(kw_only=True)

    def batches(self, batch_size: int, *, epoch: int = 0, augment: Any = None, **order) -> Any:
        """As `Dataset.batches`; `augment` has been done."""
        view = self.views[epoch % len(self.views)]
        return Dataset(**{**_as_dataset(self), "_fetch": lambda rows: view[rows]}).batches(
            batch_size, epoch=epoch, **order
        )


def digests(images: Dataset) -> list[bytes]:
    """A hash of each image's pixels."""
    found = []
    with console.progress("reading images", len(images)) as advance:
        for start in range(0, len(images), BATCH_SIZE):
            rows = images._fetch(np.arange(start, min(start + BATCH_SIZE, len(images))))
            found += [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows]
            advance(len(rows))
    return found


def key_of(model, pixels: Sequence[bytes], policy: Any, views: int, seed: int, *via: str) -> str:
    """The hash of all that features depend on.

    Args:
        model: From the images to the features.
        pixels: A hash of each image.
        policy: What `kzoo.augment.policy` takes.
        views: How many there are of each image.
        seed: Of the augmentation.
        *via: The layers at which features of features are computed, which may change the last bits.
    """
    augmentation = augment.describe(policy)
    if augmentation == ("none",):
        seed = 0  # nothing is drawn
    parts = {
        "model": keras.saving.serialize_keras_object(model)["config"],
        "weights": weights_digest(model),
        "images": hashlib.blake2b(b"".join(pixels)).hexdigest(),
        "augment": [augmentation, [[name, augment.POLICIES[name]] for name in augmentation if isinstance(name, str)]],
        "views": views,
        "seed": seed,
        "via": via,
        "versions": [version(package) for package in ("kzoo", "keras", "tensorflow")],
    }
    return hashlib.blake2b(json.dumps(parts, sort_keys=True, default=str).encode(), digest_size=16).hexdigest()


def weights_digest(model) -> str:
    """A hash of a model's weights, in their order."""
    digest = hashlib.blake2b(digest_size=16)
    for weight in model.weights:
        digest.update(np.ascontiguousarray(weight.numpy()).data)
    return digest.hexdigest()


def features(source: Dataset, model, key: str, *, policy: Any, views: int, seed: int, folder: Path) -> Features | None:
    """The features of a dataset's images, from disk or computed now.

    Args:
        source: Images, or features.
        model: What makes features of its batches.
        key: Of `key_of`.
        policy: What `kzoo.augment.policy` gives, for images.
        views: How many of each image.
        seed: As for `Dataset.batches`: view i is what epoch i of a run with this seed would see.
        folder: Of `cache_folder`.

    Returns:
        The features, or None where the disk has too little space for them.
    """
    dtype = np.dtype(getattr(ml_dtypes, model.output.dtype, model.output.dtype))
    shape = (len(source), *model.output.shape[1:])
    place = folder / key
    missing = views - len(list(place.glob("[0-9]*.npy")))
    if not _fits(missing * int(np.prod(shape)) * dtype.itemsize, folder):
        return None
    compute = compiled(lambda batch: model(batch, training=False))
    with locked(_lock(place), wait=True), console.progress("frozen layers", views * len(source)) as advance:
        place.mkdir(exist_ok=True)
        for path in place.glob(".*"):
            if is_temporary(path):  # of a process that was killed
                path.unlink()
        found = []
        for view in range(views):
            array = _read(place, view, shape, dtype)
            if array is None:
                batches = source.batches(BATCH_SIZE, seed=seed, epoch=view, augment=policy)
                _write(place, view, shape, dtype, (compute(batch) for batch, _ in batches), advance)
                array = _read(place, view, shape, dtype)
            else:
                advance(len(source))
            found.append(array)
        os.utime(place)
    _forget_oldest(folder, keep=place)
    values = _as_dataset(source) | {"image_shape": shape[1:], "dtype": dtype.name, "_pixels": None}
    return Features(**{**values, "_fetch": lambda rows: found[0][rows]}, key=key, views=tuple(found))


def cache_folder() -> Path:
    """Where features are kept: below kzoo's folder, or, where that cannot be written, in a temporary one."""
    folder = home() / "features"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        console.warn(f"features are not kept: {error}. Set KZOO_HOME to a folder that can be written.")
        temporary = Path(tempfile.mkdtemp(prefix="kzoo-features-"))
        atexit.register(shutil.rmtree, temporary, ignore_errors=True)
        return temporary


def _lock(place: Path) -> Path:
    return place.with_name(f".{place.name}.lock")


def _fits(needed: int, folder: Path) -> bool:
    return needed <= min(LARGEST, LARGEST_SHARE * shutil.disk_usage(folder).free)


def _write(place: Path, view: int, shape, dtype, batches, advance) -> None:
    """Compute one view into a file whose name has the hash of its content."""
    digest, rows = hashlib.blake2b(digest_size=16), 0
    temporary = place / f".{view:04d}.{os.getpid()}.tmp.npy"
    try:
        with open(temporary, "wb") as file:
            header = {"descr": _stored(dtype).str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for batch in batches:
                content = np.ascontiguousarray(batch.numpy()).tobytes()
                file.write(content)
                digest.update(content)
                rows += len(batch)
                advance(len(batch))
        if rows != shape[0]:
            raise DataError(f"The images changed while they were read. Received: {rows} of {shape[0]} images.")
        put_in_place(temporary, place / f"{view:04d}-{digest.hexdigest()}.npy")
    finally:
        temporary.unlink(missing_ok=True)


def _read(place: Path, view: int, shape, dtype) -> np.ndarray | None:
    """One view from disk, if it is there and is what was written."""
    for path in place.glob(f"{view:04d}-*.npy"):
        try:
            stored = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            stored = None
        if stored is not None and stored.shape == shape and stored.dtype == _stored(dtype):
            digest = hashlib.blake2b(digest_size=16)
            for start in range(0, len(stored), BATCH_SIZE):
                digest.update(stored[start : start + BATCH_SIZE].tobytes())
            if path.stem.partition("-")[2] == digest.hexdigest():
                return stored.view(dtype)
        console.warn(f"damaged features are computed again: {path}")
        path.unlink()
    return None


def _stored(dtype) -> np.dtype:
    """NumPy's files do not know bfloat16: its bits are kept."""
    return np.dtype(np.uint16) if dtype.name == "bfloat16" else dtype


def _forget_oldest(folder: Path, keep: Path) -> None:
    """Delete what was not used for longest, beyond `LARGEST` bytes in all; what is being written is left alone."""
    found = []
    for place in folder.iterdir():
        try:
            if place.is_dir():
                found.append((place.stat().st_mtime, sum(path.stat().st_size for path in place.iterdir()), place))
        except FileNotFoundError:  # another process renames or deletes it at this moment
            continue
    total = sum(size for _, size, _ in found)
    for _, size, place in sorted(found):
        if total <= LARGEST:
            break
        if place == keep:
            continue
        try:
            with locked(_lock(place), wait=False):
                shutil.rmtree(place)
        except OSError:  # in use
            continue
        total -= size


def _as_dataset(dataset: Dataset) -> dict:
    return {one.name: getattr(dataset, one.name) for one in fields(Dataset)}

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
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from kzoo import augment, console, interrupts, onednn
from kzoo.backend import compiled, keras, weights_digest
from kzoo.data import Dataset
from kzoo.data.readers import ArrayReader
from kzoo.errors import DataError, WeightsError
from kzoo.files import is_temporary, locked, put_in_place
from kzoo.weights.locations import home

# Bytes of features that are kept in all, and of one set of them.
LARGEST = 20 * 2**30
# Of the disk's free space, what one set may take.
LARGEST_SHARE = 0.5
BATCH_SIZE = 32


class Frozen:
    """A model whose output is the same in all epochs, compiled once for all images."""

    def __init__(self, model):
        self.dtype = np.dtype(getattr(ml_dtypes, model.output.dtype, model.output.dtype))
        self.shape = tuple(model.output.shape[1:])
        self.compute = compiled(lambda batch: model(batch, training=False))


class Views:
    """What a model makes of each view of some images, `[N, ...]`: from disk, or computed when first asked for."""

    def __init__(self, source: Dataset, frozen: Frozen, key: str, *, policy: Any, count: int, seed: int, folder: Path):
        """Say what to compute: `count` views of the images of `source`, augmented by `policy`.

        View i is what epoch i of a run with this seed would see. `key` is of `key_of`, `folder` of `cache_folder`.
        """
        self.source, self.policy, self.count, self.seed = source, policy, count, seed
        self.folder = folder / key
        self.dtype, self.shape = frozen.dtype, (len(source), *frozen.shape)
        self._compute = frozen.compute
        self._found: dict[int, np.ndarray] = {}

    @property
    def size(self) -> int:
        """The bytes of all views."""
        return self.count * int(np.prod(self.shape)) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, view: int) -> np.ndarray:
        if not 0 <= view < self.count:
            raise IndexError(view)
        if view not in self._found:
            with locked(_lock(self.folder), wait=True):
                array = self._read(view)
                while array is None:
                    self._write(view)
                    array = self._read(view)
                self._found[view] = array
        return self._found[view]

    def _write(self, view: int) -> None:
        """Compute one view into a file whose name has the hash of its content."""
        self.folder.mkdir(exist_ok=True)
        for path in self.folder.glob(".*"):
            if is_temporary(path):  # of a process that was killed
                path.unlink()
        digest, rows = hashlib.blake2b(digest_size=16), 0
        temporary = self.folder / f".{view:04d}.{os.getpid()}.tmp.npy"
        what = f"frozen layers, view {view + 1} of {self.count}"
        try:
            with open(temporary, "wb") as file, console.progress(what, self.shape[0]) as advance:
                header = {"descr": self._stored.str, "fortran_order": False, "shape": self.shape}
                np.lib.format.write_array_header_1_0(file, header)
                for batch, _ in self._batches(view):
                    interrupts.check()
                    content = np.ascontiguousarray(self._compute(batch).numpy()).tobytes()
                    file.write(content)
                    digest.update(content)
                    rows += len(batch)
                    advance(len(batch))
            if rows != self.shape[0]:
                raise DataError(f"The images changed while they were read. Received: {rows} of {self.shape[0]}.")
            put_in_place(temporary, self.folder / f"{view:04d}-{digest.hexdigest()}.npy")
        finally:
            temporary.unlink(missing_ok=True)

    def _batches(self, view: int):
        return self.source.batches(BATCH_SIZE, seed=self.seed, epoch=view, augment=self.policy)

    def _read(self, view: int) -> np.ndarray | None:
        """One view from disk, if it is there and is what was written."""
        for path in self.folder.glob(f"{view:04d}-*.npy"):
            try:
                stored = np.load(path, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError, EOFError):
                stored = None
            if stored is not None and stored.shape == self.shape and stored.dtype == self._stored:
                digest = hashlib.blake2b(digest_size=16)
                for start in range(0, len(stored), BATCH_SIZE):
                    digest.update(stored[start : start + BATCH_SIZE].tobytes())
                if path.stem.partition("-")[2] == digest.hexdigest():
                    return stored.view(self.dtype)
            console.warn(f"damaged features are computed again: {path}")
            path.unlink()
        return None

    @property
    def _stored(self) -> np.dtype:
        """NumPy's files do not know bfloat16: its bits are kept."""
        return np.dtype(np.uint16) if self.dtype.name == "bfloat16" else self.dtype


@dataclass(frozen=True)
class ViewsReader:
    """The reader of `Features`: it fetches the first view, and knows which view each epoch takes: all in turn."""

    views: Views

    @property
    def image_shape(self) -> Any:
        """The shape of an image's features."""
        return self.views.shape[1:]

    @property
    def dtype(self) -> str:
        """As the model computes them."""
        return self.views.dtype.name

    def fetch(self, rows: np.ndarray) -> np.ndarray:
        """Features of some images."""
        return self.views[0][rows]

    def where(self, row: int) -> str:
        """Where an image comes from."""
        return self.views.source.where(row)

    def view_of(self, epoch: int) -> int:
        """The view that an epoch takes."""
        return epoch % self.views.count


class Features(Dataset):
    """A dataset of what a model makes of images, in several views of each image that epochs take in turn."""

    reader: ViewsReader

    @property
    def views(self) -> Views:
        """The features of all images, by view."""
        return self.reader.views

    def of_view(self, view: int) -> Dataset:
        """The features of one view."""
        fields: dict[str, Any] = vars(self) | {"reader": ArrayReader(self.views[view], self.where)}
        return Dataset(**fields)

    def batches(self, batch_size: int, *, epoch: int = 0, augment: Any = None, **order) -> Any:
        """As `Dataset.batches`; `augment` has been done."""
        return self.of_view(self.reader.view_of(epoch)).batches(batch_size, epoch=epoch, **order)


def digests(images: Dataset) -> list[bytes]:
    """A hash of each image's pixels."""
    return [pixels.tobytes() for pixels in images.marks["pixels"]]


def key_of(model, pixels: Sequence[bytes], policy: Any, views: int, seed: int) -> str:
    """The hash of all that features depend on; `pixels` is a hash of each image."""
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
        "versions": [version(package) for package in ("kzoo", "keras", "tensorflow")],
        "onednn": onednn.is_on(),
    }
    return hashlib.blake2b(json.dumps(parts, sort_keys=True, default=str).encode(), digest_size=16).hexdigest()


def features_of(views: Views) -> Features | None:
    """The dataset of some views, or None where the disk has too little space for them."""
    folder = views.folder.parent
    missing = views.count - len(list(views.folder.glob("[0-9]*.npy")))
    if missing * views.size // views.count > min(LARGEST, LARGEST_SHARE * shutil.disk_usage(folder).free):
        return None
    with locked(_lock(views.folder), wait=True):
        views.folder.mkdir(exist_ok=True)
        os.utime(views.folder)
    _forget_oldest(folder, keep=views.folder, room=LARGEST - views.size)
    fields: dict[str, Any] = vars(views.source) | {"reader": ViewsReader(views)}
    return Features(**fields)


def cache_folder() -> Path:
    """Where features are kept: below kzoo's folder, or, where that cannot be written, in a temporary one."""
    try:
        folder = home() / "features"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, WeightsError) as error:
        remedy = "" if isinstance(error, WeightsError) else ". Set KZOO_HOME to a folder that can be written."
        console.warn(f"features are not kept: {error}{remedy}")
        temporary = Path(tempfile.mkdtemp(prefix="kzoo-features-"))
        atexit.register(shutil.rmtree, temporary, ignore_errors=True)
        return temporary


def _lock(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.lock")


def _forget_oldest(folder: Path, keep: Path, room: int) -> None:
    """Delete what was not used for longest, beyond `room` bytes; what is being written is left alone."""
    found = []
    for one in folder.iterdir():
        try:
            if one != keep and one.is_dir():
                found.append((one.stat().st_mtime, sum(path.stat().st_size for path in one.iterdir()), one))
        except FileNotFoundError:  # another process renames or deletes it at this moment
            continue
    total = sum(size for _, size, _ in found)
    for _, size, one in sorted(found):
        if total <= room:
            break
        try:
            with locked(_lock(one), wait=False):
                shutil.rmtree(one)
        except OSError:  # in use
            continue
        total -= size

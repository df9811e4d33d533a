"""Weights files of other frameworks as NumPy arrays by name, without those frameworks.

Nothing in a file is run, nothing outside of it is read, and no more memory is taken than the file's size explains.
"""

import mmap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import ml_dtypes
import numpy as np

from kzoo.errors import WeightsError, reason_of, unknown
from kzoo.files import check_regular
from kzoo.paths import expand
from kzoo.weights import _pytorch, hdf5, safetensors_file
from kzoo.weights.limits import check_count

RAW_SUFFIX = ".bin"


def read(path: str | Path, format: str) -> dict[str, np.ndarray]:  # noqa: A002 - the word for it
    """Read every tensor of a weights file.

    Args:
        path: A file, or for "raw" a folder.
        format: One of:

            - "safetensors".
            - "pytorch": what `torch.save` writes, today's zip archive or the older stream: a dict of tensors, or a dict
              that has one as "state_dict" or "model". A "module." or "_orig_mod." before every name is left out.
            - "keras_h5": Keras's older `.h5`, as keras.applications publishes it; names are "layer/variable".
            - "keras_weights_h5": Keras 3's `.weights.h5`; names are "layer/0", "layer/1"..., by the layer's name.
            - "raw": a folder of `.bin` files of little-endian float32 numbers; names are paths without that suffix,
              arrays have one dimension.

    Returns:
        Arrays by name, in the order of the file: their shape and dtype are the file's, except that float16 and bfloat16
        become float32. They may be read-only.

    Raises:
        WeightsError: The file is missing, damaged, of another format, asks to run code, or has a number that is NaN or
            infinite.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / "bias.bin").write_bytes(np.array([1, 2], "<f4").tobytes())
    ...     read(folder, "raw")
    {'bias': array([1., 2.], dtype=float32)}
    """
    path = expand(path)
    if format not in READERS:
        raise unknown("format of weights", format, READERS)
    if not path.exists():
        raise WeightsError(f"No such weights file. Received: {str(path)!r}.")
    with _errors_of(path, f"as {format!r}", " Of a model of your own, save its state_dict()." * (format == "pytorch")):
        tensors = {name: _widened(array) for name, array in READERS[format](path).items()}
        _check_numbers(tensors)
    return tensors


@contextmanager
def _errors_of(path: Path, how: str, hint: str = "") -> Iterator[None]:
    """One line in place of whatever a damaged or hostile file makes h5py, zipfile or safetensors raise."""
    try:
        yield
    except Exception as error:
        raise WeightsError(
            f"Cannot read the weights {how}: {reason_of(error)}. Received: {str(path)!r}. Fetch them anew, from a "
            f"source you trust.{hint}"
        ) from error


def format_of(path: str | Path) -> str:
    """The format of a weights file, by its first bytes: one of those that `read` takes. A folder is "raw".

    Raises:
        WeightsError: It is no weights file, or cannot be read.

    >>> format_of(Path(__file__).parent)
    'raw'
    """
    path = Path(path)
    if path.is_dir():
        return "raw"
    with _errors_of(path, "at all"):
        check_regular(path)
        with open(path, "rb") as file:
            start = file.read(16)
            if start.startswith(hdf5.SIGNATURE):
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                    return "keras_h5" if content.find(b"layer_names") >= 0 else "keras_weights_h5"
    if start[8:9] == b"{":  # after the length of the header, which is JSON
        return "safetensors"
    # A zip archive, or the pickle that an older stream begins with, of protocol 2 or later.
    if start.startswith((b"PK\x03\x04", b"\x80")):
        return "pytorch"
    raise WeightsError(
        f"This is no file of weights. Received: {str(path)!r}, {path.stat().st_size:,} bytes. kzoo reads safetensors, "
        "PyTorch checkpoints, Keras's .h5 and .weights.h5, and folders of raw files; fetch it anew, from a source you "
        "trust."
    )


def _widened(array: np.ndarray) -> np.ndarray:
    """Half precision as float32, which holds the same numbers."""
    return array.astype(np.float32) if array.dtype in (np.float16, ml_dtypes.bfloat16) else array


def _check_numbers(tensors: dict[str, np.ndarray]) -> None:
    if not tensors:
        raise ValueError("it holds no tensors")
    for name, array in tensors.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"its tensor {name!r:.100} has numbers that are NaN or infinite")


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    with safetensors_file.opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict


def _read_raw(path: Path) -> dict[str, np.ndarray]:
    if not path.is_dir():
        raise ValueError("it is no folder")
    tensors = {}
    for count, file in enumerate(sorted(path.rglob(f"*{RAW_SUFFIX}")), 1):
        check_count(count)
        name = file.relative_to(path).with_suffix("").as_posix()
        size = file.stat().st_size
        if not file.is_file() or size == 0 or size % 4:
            raise ValueError(f"its file {name!r:.100} of {size:,} bytes is no row of float32 numbers")
        tensors[name] = np.fromfile(file, "<f4")
    return tensors


READERS: dict[str, Callable[[Path], dict[str, np.ndarray]]] = {
    "safetensors": _read_safetensors,
    "pytorch": _pytorch.read,
    "keras_h5": hdf5.read_legacy,
    "keras_weights_h5": hdf5.read_keras3,
    "raw": _read_raw,
}

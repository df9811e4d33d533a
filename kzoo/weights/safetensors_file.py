"""safetensors files, opened only if their header is one that a model could need.

The library checks before anything is read that the tensors fill the file, without gaps and each once. It makes an
object of each tensor that the header names, and empty ones take nothing of the file.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors

from kzoo.files import check_regular
from kzoo.weights.limits import check_count

LARGEST_HEADER = 2**23  # bytes; of a thousand tensors it has 0.1 million


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """What `safetensors.safe_open` gives, with NumPy's arrays.

    Raises:
        ValueError: It is no regular file, or has too many tensors. Of a damaged file: safetensors.SafetensorError.
    """
    check_regular(path)
    with open(path, "rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if LARGEST_HEADER < header <= path.stat().st_size:
        raise ValueError(f"its header has {header:,} bytes, no model's has more than {LARGEST_HEADER:,}")
    with safetensors.safe_open(path, framework="numpy") as file:
        check_count(len(file.keys()))
        yield file

"""`kzoo predict --engine`: a model exported once, kept below kzoo's folder and used again."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kzoo import console, paths
from kzoo.deploy.engines import digest_of
from kzoo.deploy.formats import FORMATS, require
from kzoo.errors import InvalidArgument
from kzoo.files import locked
from kzoo.weights.locations import home


def cached(
    name: str,
    chosen: Any,
    which: str,
    engine: str,
    images: Sequence[str],
    size: tuple[int, int] | None,
    make: Callable[[], Any],
) -> Path:
    """The path of a model in a format, exported if it is not there yet.

    Its name is a hash of the model's file, of how weights become a model, and of the versions: whatever changes one of
    these has another file. An export is checked on the images that are to be classified.

    Args:
        name: A run directory or `.keras` file; or a model of the zoo with `chosen`.
        chosen: What `kzoo.weights.resolve` has found, or None.
        which: Of a run, "best" or "last".
        engine: The format, a key of `FORMATS`.
        images: Image files.
        size: What they are brought to; a model of the zoo is made for it.
        make: Loads the Keras model; called only where it is exported.
    """
    require(engine, export=True)
    file = paths.find_model(name, which) if chosen is None else chosen.path
    parts = {
        "files": [digest_of(one) for one in _files(file)],
        "weights": None if chosen is None else [name, chosen.format, chosen.source, asdict(chosen.record), size],
        "versions": [version(package) for package in ("kzoo", "keras", "tensorflow")],
    }
    key = hashlib.blake2b(json.dumps(parts, sort_keys=True, default=str).encode(), digest_size=16).hexdigest()
    folder = home() / "engines"
    path = folder / f"{key}-{engine}{FORMATS[engine].suffix}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / f".{key}-{engine}.lock", wait=True):
            if not path.exists():
                from kzoo.deploy import exporting

                console.log(f"exporting {name} to {engine}, once: it is kept in {path}")
                source = exporting.source_of(name) if chosen is None else exporting.source_of_weights(chosen)
                exporting.export(make(), path, engine, images=list(images), image_size=size, source=source)
    except OSError as error:
        raise InvalidArgument(
            f"The exported model cannot be kept. Received: {str(folder)!r}: {error.strerror}. Set KZOO_HOME to another "
            "folder."
        ) from error
    return path


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())

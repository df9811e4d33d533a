"""A model in several engines, in turn in one process: images per second, latency; start-up and memory of each alone."""

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kzoo import children, deploy, paths
from kzoo.backend import keras
from kzoo.bench.turns import in_turn, machine, median_and_ratio
from kzoo.data import Dataset
from kzoo.deploy.checking import keras_compute
from kzoo.deploy.engines import Compute
from kzoo.deploy.exporting import files_of
from kzoo.deploy.formats import FORMATS, require
from kzoo.deploy.graph import classifier_of
from kzoo.errors import InvalidArgument, KzooError
from kzoo.models import create_model
from kzoo.models.registry import CARDS, is_name
from kzoo.saving import load_model, save_model

APPLICATIONS = "applications"
# What each is: format, precision of the engine, whether int8. kzoo's model in Keras and keras.applications' are none.
ENGINES: dict[str, tuple[str, str, bool] | None] = {
    "keras": None,
    APPLICATIONS: None,
    "savedmodel": ("savedmodel", "float32", False),
    "openvino": ("openvino", "float32", False),
    "openvino-bfloat16": ("openvino", "mixed_bfloat16", False),
    "openvino-int8": ("openvino", "float32", True),
    "onnx": ("onnx", "float32", False),
    "onnx-int8": ("onnx", "float32", True),
    "litert": ("litert", "float32", False),
    "litert-int8": ("litert", "float32", True),
}
# Images of a pass one by one, by the size of the images: up to 64 x 64, and above.
_SINGLE = {True: 200, False: 30}


def measure_engines(
    model: str, engines: Sequence[str], *, batch_size: int = 32, images: int | None = None, rounds: int = 5
) -> dict:
    """Compare engines on a model, on random images; the first engine is the reference.

    Each round runs all in turn, every second round in reverse order. Start-up is the time of a new process from its
    start until it has classified one image, and memory its peak; a script that calls this needs its
    `if __name__ == "__main__"`.

    Args:
        model: A name of `kzoo list` (random weights), a run directory, or a `.keras` file.
        engines: Keys of `ENGINES`.
        batch_size: Images at a time, besides one.
        images: Images in a pass of that; by default two batches.
        rounds: How often each is measured, after one pass of warm-up.

    Returns:
        `rows`: for each engine `images_per_second` and its `ratio` at `batch_size`, the same at a batch of 1 with the
        prefix `single_`, `latency_50` and `latency_99` in seconds at a batch of 1, `startup_seconds`,
        `peak_memory_bytes`, `file_bytes`. `machine`, and the arguments.

    Raises:
        InvalidArgument: A package is missing, or keras.applications has no such model.
    """
    for name in engines:
        if (asked := ENGINES[name]) is not None:
            require(asked[0], export=True, quantize=asked[2])
    card = CARDS.get(model)
    if APPLICATIONS in engines and (card is None or card.keras is None):
        raise InvalidArgument(f"keras.applications has no such model. Received: {model!r}. Leave {APPLICATIONS!r} out.")
    ours = create_model(model) if is_name(model) else load_model(paths.expand(model))
    height, width, channels = ours.input_shape[1:]
    shape = (height or 224, width or 224, channels)
    pixels = np.random.default_rng(0).integers(0, 256, (images or 2 * batch_size, *shape), "uint8")
    is_small = shape[0] * shape[1] <= 64 * 64
    with tempfile.TemporaryDirectory(prefix="kzoo-bench-") as folder:
        files = {name: _write(name, ours, model, pixels, Path(folder, name)) for name in engines}
        computes = [_open(name, files[name]) for name in engines]
        alone = [_alone(name, files[name], shape) for name in engines]
        many = in_turn([(n, _pass(c, pixels, batch_size)) for n, c in _pairs(engines, computes)], len(pixels), rounds)
        singles = pixels[np.arange(_SINGLE[is_small]) % len(pixels)]
        times: dict[str, list[float]] = {name: [] for name in engines}
        passes = [(n, _timed(c, singles, times[n])) for n, c in _pairs(engines, computes)]
        one = in_turn(passes, len(singles), rounds)
        sizes = [sum(file.stat().st_size for file in files_of(files[name])) for name in engines]
    rows = []
    for i, name in enumerate(engines):
        latencies = times[name][len(singles) :]  # without the pass that warms up
        single = {f"single_{key}": value for key, value in median_and_ratio(one[i], one[0]).items()}
        rows.append(
            {
                "engine": name,
                **median_and_ratio(many[i], many[0]),
                **single,
                "latency_50": float(np.percentile(latencies, 50)),
                "latency_99": float(np.percentile(latencies, 99)),
                **alone[i],
                "file_bytes": sizes[i],
            }
        )
    return {
        "model": model,
        "batch_size": batch_size,
        "images": len(pixels),
        "rounds": rounds,
        "rows": rows,
        "machine": machine(),
    }


def _pairs(engines: Sequence[str], computes: Sequence[Compute]) -> list[tuple[str, Compute]]:
    return list(zip(engines, computes, strict=True))


def _pass(compute: Compute, images: np.ndarray, batch_size: int) -> Callable[[], object]:
    return lambda: [compute(images[i : i + batch_size]) for i in range(0, len(images), batch_size)]


def _timed(compute: Compute, images: np.ndarray, times: list[float]) -> Callable[[], object]:
    def one_by_one():
        for i in range(len(images)):
            start = time.perf_counter()
            compute(images[i : i + 1])
            times.append(time.perf_counter() - start)

    return one_by_one


def _write(engine: str, model: Any, name: str, pixels: np.ndarray, path: Path) -> Path:
    """The model as the engine's file."""
    asked = ENGINES[engine]
    if asked is None:
        theirs = model
        if engine == APPLICATIONS:
            theirs = getattr(keras.applications, str(CARDS[name].keras))(weights=None)
        save_model(theirs, path := path.with_suffix(".keras"))
        return path
    kind, _, int8 = asked
    path = path.with_name(f"{path.name}{FORMATS[kind].suffix}")
    options: dict[str, Any] = {}
    if int8:
        # Speed does not depend on what is calibrated. Labels that Keras misses, so that int8 cannot lose accuracy.
        probabilities = keras_compute(classifier_of(model))(pixels)
        labels = ((probabilities.argmax(axis=1) + 1) % probabilities.shape[1]).astype(np.int32)
        names = [str(i) for i in range(probabilities.shape[1])]
        train, other = (Dataset.from_arrays(pixels[::step], labels[::step], names) for step in (1, -1))
        options = {"int8": True, "data": (train, other)}
    deploy.export(model, path, kind, images=pixels[:32], **options)
    return path


def _open(engine: str, path: Path) -> Compute:
    asked = ENGINES[engine]
    if asked is None:
        return keras_compute(classifier_of(load_model(path)))
    return deploy.load(path, asked[1]).compute


def _alone(engine: str, path: Path, shape: tuple[int, int, int]) -> dict[str, float]:
    """Start-up and peak memory of a new process that classifies one image."""
    asked = ENGINES[engine]
    work = json.dumps({"path": str(path), "precision": None if asked is None else asked[1], "shape": shape})
    pipes: dict = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    start = time.perf_counter()
    with children.start("kzoo.bench.starting", **pipes) as process:
        try:
            answer, complaints = process.communicate(work)
        except BaseException:
            process.kill()
            raise
    seconds = time.perf_counter() - start
    if process.returncode:
        reason = (complaints.strip().splitlines() or [f"exit status {process.returncode}"])[-1]
        raise KzooError(f"The start-up of {engine} could not be measured. Received: {reason}")
    return {"startup_seconds": seconds, "peak_memory_bytes": int(answer.splitlines()[-1])}

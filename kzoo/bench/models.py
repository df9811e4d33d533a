"""Models of kzoo against the same of Keras: training, prediction, precisions."""

import gc
import json
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from kzoo import children, console
from kzoo.backend import keras, tf
from kzoo.bench.peak import peak_memory_of_process
from kzoo.bench.turns import in_turn, machine, median_and_ratio
from kzoo.data.pipeline import without_autotuner
from kzoo.errors import InvalidArgument, KzooError
from kzoo.hardware import probe
from kzoo.layers import BatchNormalization, Conv2D
from kzoo.models import create_model
from kzoo.models.registry import CARDS, defaults, get_card
from kzoo.train import runs
from kzoo.train.checkpoint import State
from kzoo.train.config import TrainConfig, with_data_defaults
from kzoo.train.fitting import prepare
from kzoo.train.precision import dtype_policy, resolve
from kzoo.train.record import RunRecord

# What kzoo can be measured against, and how that is called.
REFERENCES = {"applications": "keras.applications", "plain": "plain Keras"}
# Batches and images by the size of the images: up to 64 x 64, and above.
BATCH_SIZE = {True: 128, False: 16}
IMAGES = {True: 16_384, False: 64}
# What a CPU without kernels for float16 gets to do in it, since that is hundreds of times as slow.
FEW_IMAGES = {True: 8, False: 1}
# The dataset that a model was made for and its size, for which kzoo's defaults are taken.
DATASET = {"mnist_net": ("mnist", 54_000)}


@dataclass(frozen=True)
class Contender:
    """One way to run a model."""

    name: str
    precision: str
    batch_size: int
    maker: str
    """Whose model: "kzoo", "applications" (keras.applications) or "plain" (the same, Keras's layers)."""
    trainer: str = "keras"
    """Whose training loop: "keras" (`Model.fit`) or "kzoo" (`kzoo.train`)."""
    augment: str = "none"
    steps_per_execution: int | None = None
    """Of kzoo's loop; None is as many as it takes by itself."""


@dataclass(frozen=True)
class Work:
    """What all contenders do: a pass over the same random images."""

    what: str
    """"train-step" or "infer"."""
    model: str
    images: int


def measure(
    what: str,
    model: str,
    *,
    against: str | None = None,
    precisions: Sequence[str] = (),
    batch_size: int | None = None,
    images: int | None = None,
    rounds: int = 5,
) -> dict:
    """Throughput and peak memory of a model of kzoo and of its reference, with equal settings.

    The reference is the model of the same name of keras.applications where there is one, else `plain`: kzoo's model
    with `keras.layers` for kzoo's convolution and batch normalization. It is fitted, or predicts, by Keras. kzoo's
    model runs in the same Keras loop, and in training also in `kzoo.train`; all use the same optimizer, AdamW.

    Each round runs all contenders in turn, every second round in reverse order; a contender's ratio is the median over
    the rounds of its speed by the reference's in the same round. Without `precisions` and `batch_size`, training is
    also compared as it is out of the box: Keras's float32 and 128 or 16 images a step, kzoo's defaults for the dataset.

    Peak memory is measured in new processes, so a script that calls this needs its `if __name__ == "__main__"`.

    Args:
        what: "train-step" or "infer".
        model: A model name.
        against: "applications" or "plain".
        precisions: Dtype policies, each a comparison of its own; by default float32, and what kzoo takes here.
        batch_size: Images per step; by default 128 for images up to 64 x 64, else 16.
        images: Random images in a pass; by default 16,384 or 64.
        rounds: How often each is measured, after one pass of warm-up.

    Returns:
        `rows`: for each contender its fields, images per second (median), ratio to the reference of its comparison, and
        peak memory in bytes of a process of its own that does the same. `machine`, and the arguments.

    Raises:
        InvalidArgument: keras.applications has no such model.
    """
    (height, width, _), _ = defaults(model)
    is_small = height * width <= 64 * 64
    work = Work(what, model, images or IMAGES[is_small])
    in_keras = get_card(model).keras is not None
    against = against or ("applications" if in_keras else "plain")
    if against == "applications" and not in_keras:
        raise InvalidArgument(
            f"keras.applications has no such model. Received: {model!r}. Use against='plain' "
            f"(--against plain), or one of: {', '.join(name for name, card in CARDS.items() if card.keras)}."
        )
    own = resolve(TrainConfig(), probe())[0].precision
    wanted = tuple(dict.fromkeys(precisions)) or tuple(dict.fromkeys(("float32", own)))
    batch = batch_size or BATCH_SIZE[is_small]
    comparisons = [_at_equal_settings(what, against, precision, batch) for precision in wanted]
    if what == "train-step" and not precisions and batch_size is None:
        comparisons.append(_out_of_the_box(model, against, batch))
    rows = [row for contenders in comparisons for row in _compare(work, contenders, rounds)]
    return {**asdict(work), "against": against, "rounds": rounds, "rows": rows, "machine": machine()}


def measure_precisions(
    model: str,
    *,
    precisions: Sequence[str] = ("float32", "mixed_bfloat16", "mixed_float16"),
    batch_size: int | None = None,
    images: int | None = None,
    rounds: int = 5,
) -> dict:
    """Training speed and memory of a model of kzoo under several dtype policies, in turn; the first is the reference.

    On a CPU mixed_float16 is measured by itself, on a few images, since no CPU kernels compute it.

    Args:
        model: A model name.
        precisions: Dtype policies.
        batch_size: As for `measure`.
        images: As for `measure`.
        rounds: As for `measure`.

    Returns:
        `rows` as `measure` does, with the bytes of `footprint`; `machine`, and the arguments.
    """
    (height, width, _), _ = defaults(model)
    is_small = height * width <= 64 * 64
    work = Work("train-step", model, images or IMAGES[is_small])
    batch = batch_size or BATCH_SIZE[is_small]
    gpus = probe().gpus
    slow = [p for p in precisions if p == "mixed_float16" and not gpus]
    contenders = [Contender("kzoo.train", p, batch, "kzoo", "kzoo") for p in precisions if p not in slow]
    rows = _compare(work, contenders, rounds) if contenders else []
    for precision in slow:
        few = FEW_IMAGES[is_small]
        rows += _compare(replace(work, images=few), [Contender("kzoo.train", precision, few, "kzoo", "kzoo")], 1)
        rows[-1]["ratio"] = rows[-1]["images_per_second"] / rows[0]["images_per_second"]
    return {
        **asdict(work),
        "rounds": rounds,
        "rows": [{**row, **footprint(model, row["precision"])} for row in rows],
        "gpus": list(gpus),
        "machine": machine(),
    }


def footprint(name: str, precision: str) -> dict[str, int]:
    """What training moves through memory under a dtype policy, in bytes, by the shapes and dtypes of a model's layers.

    Returns:
        `weight_bytes`, the variables; `computed_weight_bytes`, the same in the dtypes that the layers compute in;
        `gradient_bytes`, as the optimizer gets them; `activation_bytes`, the outputs of all layers for one image.

    >>> float32, half = (footprint("mnist_net", p) for p in ("float32", "mixed_bfloat16"))
    >>> float32["weight_bytes"] == half["weight_bytes"], half["activation_bytes"] / float32["activation_bytes"] < 0.53
    (True, True)
    """
    with dtype_policy(precision):
        model = create_model(name)

    def size_of(variables, dtype=None):
        return sum(v.value.shape.num_elements() * tf.as_dtype(dtype or v.dtype).size for v in variables)

    return {
        "weight_bytes": size_of(model.weights),
        "computed_weight_bytes": sum(
            # Its parameters and statistics stay in float32.
            size_of(layer.weights, "float32" if isinstance(layer, BatchNormalization) else layer.compute_dtype)
            for layer in model.layers
        ),
        "gradient_bytes": size_of(model.trainable_weights),
        "activation_bytes": sum(
            int(np.prod(layer.output.shape[1:])) * tf.as_dtype(layer.output.dtype).size for layer in model.layers
        ),
    }


def _at_equal_settings(what, against, precision, batch_size) -> list[Contender]:
    """The reference, and kzoo's model in each loop that there is for the work."""
    reference = Contender(REFERENCES[against], precision, batch_size, against)
    if what == "infer":
        return [reference, replace(reference, name="kzoo", maker="kzoo")]
    fitted = replace(reference, name="kzoo, Keras's fit", maker="kzoo")
    return [reference, fitted, replace(fitted, name="kzoo.train", trainer="kzoo")]


def _out_of_the_box(model, against, batch_size) -> list[Contender]:
    """Keras's defaults, and kzoo's for the dataset that the model was made for, without and with augmentation."""
    dataset, size = DATASET.get(model, ("", 50_000))
    chosen = with_data_defaults(resolve(TrainConfig(), probe())[0], dataset, size, defaults(model)[0])
    reference = Contender(f"{REFERENCES[against]}, its defaults", "float32", batch_size, against)
    ours = Contender("kzoo.train, its defaults", chosen.precision, chosen.batch_size or batch_size, "kzoo", "kzoo")
    [augment] = chosen.augment
    return [reference, ours, *([replace(ours, augment=augment)] if augment != "none" else [])]


def _compare(work: Work, contenders: list[Contender], rounds: int) -> list[dict]:
    """Measure the contenders against the first of them."""
    memory = [_peak_memory_alone(work, contender) for contender in contenders]
    speeds = measure_speeds(work, contenders, rounds)
    return [
        {
            **asdict(contender),
            **median_and_ratio(own, speeds[0]),
            "peak_memory_bytes": peak,
        }
        for contender, own, peak in zip(contenders, speeds, memory, strict=True)
    ]


def measure_speeds(work: Work, contenders: Sequence[Contender], rounds: int) -> list[list[float]]:
    """Images per second of each contender in each round: all in turn, in every second round in reverse order."""
    with ExitStack() as stack:
        passes = [(f"{c.name}, {c.precision}", _prepare(work, c, stack)) for c in contenders]
        speeds = in_turn(passes, work.images, rounds)
    del passes
    gc.collect()  # the next comparison's models need the room
    return speeds


def _prepare(work: Work, contender: Contender, stack: ExitStack) -> Callable[[], object]:
    """Build the contender's model; returns the function that passes over the images once."""
    shape, classes = defaults(work.model)
    generator = np.random.default_rng(0)
    x = generator.integers(0, 256, (work.images, *shape), np.uint8)
    y = generator.integers(0, classes, work.images).astype(np.int32)
    if contender.trainer == "kzoo":
        return _kzoo_epoch(work, contender, x, y, stack)
    with dtype_policy(contender.precision):
        model = _build(work.model, contender.maker)
    # Given arrays, Keras makes a pipeline with the autotuner, whose waits come and go from pass to pass.
    batches = without_autotuner(tf.data.Dataset.from_tensor_slices((x, y)).batch(contender.batch_size).prefetch(2))
    if work.what == "infer":
        return lambda: model.predict(batches, verbose=0)
    model.compile(keras.optimizers.AdamW(), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return lambda: model.fit(batches, epochs=1, shuffle=False, verbose=0)


def _kzoo_epoch(work, contender, x, y, stack) -> Callable[[], None]:
    """An epoch of a real run: what `kzoo train` does between two validations."""
    config = TrainConfig(
        precision=contender.precision,
        strategy="one",
        batch_size=contender.batch_size,
        augment=contender.augment,
        steps_per_execution=contender.steps_per_execution,
    )
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kzoo-bench-")))
    run_dir = stack.enter_context(runs.new(folder / "run", RunRecord(train=config)))
    trainer = prepare(run_dir, lambda: create_model(work.model), (x, y))

    def epoch():
        trainer.state = State()
        trainer.train_epoch(lambda *_: None)

    return epoch


def _build(name: str, maker: str):
    if maker == "applications":
        return getattr(keras.applications, str(get_card(name).keras))(weights=None)
    model = create_model(name)
    return in_plain_keras(model) if maker == "plain" else model


def in_plain_keras(model):
    """A copy of a kzoo model with Keras's layers for those of kzoo's that stand in for them."""
    replaced = {Conv2D: keras.layers.Conv2D, BatchNormalization: keras.layers.BatchNormalization}

    def plain(layer):
        return replaced.get(type(layer), type(layer)).from_config(layer.get_config())

    return keras.models.clone_model(model, clone_function=plain)


def _peak_memory_alone(work: Work, contender: Contender) -> int:
    """Bytes at the peak of a new process that passes twice over a few batches."""
    few = replace(work, images=3 * contender.batch_size)
    pipes: dict = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with children.start("kzoo.bench.memory", **pipes) as process:
        try:
            answer, complaints = process.communicate(json.dumps([asdict(few), asdict(contender)]))
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        reason = (complaints.strip().splitlines() or [f"exit status {process.returncode}"])[-1]
        raise KzooError(f"The peak memory of {contender.name} could not be measured. Received: {reason}")
    return int(answer.splitlines()[-1])


def peak_memory(work: Work, contender: Contender) -> int:
    """Bytes at the peak of this process, after it has passed twice over the images."""
    console.logger.setLevel("ERROR")
    with ExitStack() as stack:
        run = _prepare(work, contender, stack)
        run()
        run()
    return peak_memory_of_process()

"""`fit` and `resume`: the training loop.

A run is a pure function of its configuration, its data and the machine: shuffling, augmentation and the learning
rate are functions of (seed, epoch, position), and everything else that changes is in the checkpoint. So a run that was
killed and resumed ends in the same bits as one that was not.
"""

import math
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from kzoo import augment, console, data
from kzoo.backend import keras, tf
from kzoo.data.loading import load_splits
from kzoo.errors import InvalidArgument, RunError, TrainingDiverged, TrainingInterrupted
from kzoo.hardware import probe, usable_only
from kzoo.saving import load_model, save_model
from kzoo.train import checkpoint, runs
from kzoo.train.config import TrainConfig, settle_for_data
from kzoo.train.evaluation import evaluate
from kzoo.train.inputs import (
    Stream,
    as_data,
    check_fit,
    class_names_of_data,
    data_errors,
    steps_per_epoch,
    with_labels_of,
)
from kzoo.train.precision import dtype_policy, in_float32, parse_devices, resolve
from kzoo.train.schedules import learning_rate
from kzoo.train.step import TrainStep
from kzoo.train.strategy import create_strategy

# Steps are executed several at a time, so that Python does not slow down a small network; as many as take about this
# long, so that progress, Ctrl-C and checkpoints are prompt. Where the borders lie does not change the numbers.
SECONDS_PER_EXECUTION = 0.5


@dataclass(frozen=True)
class Result:
    """What training gives back."""

    model: Any
    """The best model by validation accuracy (the last one, without validation data): a float32 `keras.Model`."""
    history: dict[str, list[float]]
    """A list per quantity, with a value per epoch, as in Keras."""
    metrics: dict
    """The content of metrics.json."""
    run_dir: Path | None


@dataclass
class State:
    """Where a run stands, besides its variables: plain data, saved with every checkpoint."""

    epoch: int = 0  # epochs completed
    batch: int = 0  # batches done of the current epoch
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])  # loss, correct, examples of the current epoch
    seconds: float = 0.0  # spent on the current epoch
    history: list[dict] = field(default_factory=list)
    best: list[float] | None = None  # validation accuracy and minus the loss of the best epoch
    best_epoch: int = 0
    stale: int = 0  # epochs since the best
    plateau_stale: int = 0  # epochs since the best or the last decay by plateau
    plateau_factor: float = 1.0
    finished: bool = False


def fit(
    build: Callable[[], Any],
    train_data: Any,
    validation_data: Any = None,
    config: TrainConfig | None = None,
    run_dir: str | Path | None = None,
    *,
    overwrite: bool = False,
) -> Result:
    """Train a classifier.

    Args:
        build: Makes the model: a function without arguments that returns a `keras.Model` with an output of shape
            (batch, classes), softmax or logits. It is called inside the strategy's scope and under the dtype policy.
        train_data: A Dataset of kzoo, a pair of NumPy arrays (images, labels), or a `tf.data.Dataset` of such pairs.
            Images (N, height, width, channels), values 0 to 255; labels (N,) int.
        validation_data: The same, or None.
        config: How to train.
        run_dir: An empty or new folder for config, history, checkpoints, models and metrics; None keeps no files.
        overwrite: Whether a run that is in `run_dir` may be deleted.

    Raises:
        InvalidArgument: Arguments that do not fit together.
        RunError: `run_dir` is occupied, or cannot be written.
        TrainingDiverged: The loss became NaN or infinite; the last good model is kept in `run_dir`.
        TrainingInterrupted: Ctrl-C, after the state was saved.

    The global random generators of Python, NumPy and Keras are seeded with `config.seed`.

    >>> from kzoo import create_model, data
    >>> from kzoo.train import TrainConfig, fit
    >>> digits = data.load("digits", image_size=28)
    >>> result = fit(lambda: create_model("mnist_net"), digits, config=TrainConfig(epochs=1, batch_size=256))
    >>> sorted(result.history)
    ['accuracy', 'epoch', 'images_per_second', 'learning_rate', 'loss', 'seconds']
    """
    config = config or TrainConfig()
    requested = {"precision": config.precision, "strategy": config.strategy}
    config, reasons = resolve(config, probe())
    for reason in reasons:
        console.log(reason)
    if run_dir is None:
        with tempfile.TemporaryDirectory(prefix="kzoo-") as folder:
            with runs.new(folder, config, requested=requested, keep=False):
                result = run(Path(folder), build, train_data, validation_data)
            return replace(result, run_dir=None)
    with runs.new(run_dir, config, overwrite=overwrite, requested=requested) as folder:
        return run(folder, build, train_data, validation_data)


def resume(
    run_dir: str | Path,
    *,
    build: Callable[[], Any] | None = None,
    train_data: Any = None,
    validation_data: Any = None,
) -> Result:
    """Continue a run to its end; on a CPU, to the same bits as if it had never stopped.

    That holds on the same machine with the same versions and number of cores, for kzoo's datasets and for arrays.

    Args:
        run_dir: The run directory. A finished run is not trained again; its result is loaded.
        build: Needed only if the run was stopped before its first step.
        train_data: Needed only if the run was given arrays or a `tf.data.Dataset`: the same again.
        validation_data: Likewise.

    Raises:
        InvalidArgument: Not a run directory, or an argument that is needed is missing.
        RunError: The data is not the data of the run, or a file is damaged.
    """
    run_dir = Path(run_dir).expanduser()
    record = runs.read_config(run_dir)
    state = checkpoint.read_state(run_dir / runs.CHECKPOINT)
    if state is not None and state["finished"]:
        console.log(f"this run is finished: {state['epoch']} epochs in {run_dir}")
        return _result(run_dir, State(**state))
    with runs.lock(run_dir):
        if train_data is None:
            train_data, validation_data = load_data(record)
        return run(run_dir, build, train_data, validation_data)


def load(run_dir: str | Path, which: str = "best"):
    """The "best" or the "last" model of a run: a float32 `keras.Model`."""
    return load_model(run_dir, which)


def load_data(record: dict) -> tuple[data.Dataset, data.Dataset | None]:
    """The training and validation data that a run's config.json names.

    Raises:
        InvalidArgument: The run was given arrays or a `tf.data.Dataset`.
    """
    described = record.get("data") or {}
    if "train" not in described and "load" in described:  # stopped before its data was loaded
        train, validation = load_splits(["train", "validation"], **described["load"])
        return train, validation
    wanted = [described[part] for part in ("train", "validation") if described.get(part)]
    if not wanted or any(one["load"] is None for one in wanted):
        raise InvalidArgument("This run was not given its data by name. Pass train_data and validation_data again.")
    if len(wanted) == 1:
        return data.load(**wanted[0]["load"], split=wanted[0]["split"]), None
    train, validation = wanted
    if train["load"] == validation["load"]:
        loaded = load_splits([train["split"], validation["split"]], **train["load"])
        return loaded[0], loaded[1]
    return data.load(**train["load"], split=train["split"]), data.load(**validation["load"], split=validation["split"])


def run(run_dir: Path, build: Callable[[], Any] | None, train_data: Any, validation_data: Any = None) -> Result:
    """Train what config.json in `run_dir` says from where it stands; the caller holds the run's lock."""
    trainer = prepare(run_dir, build, train_data, validation_data)
    with data_errors():
        trainer.train()
        trainer.finish()
    return _result(run_dir, trainer.state)


def prepare(run_dir: Path, build: Callable[[], Any] | None, train_data: Any, validation_data: Any = None) -> "Trainer":
    """Do all that comes before the first step: check the data, build the model, take up the checkpoint."""
    if tf is None:
        raise InvalidArgument(
            f"kzoo.train needs the TensorFlow backend. Received: {keras.backend.backend()!r}. "
            "Set KERAS_BACKEND=tensorflow."
        )
    runs.delete_temporary(run_dir)
    record = runs.read_config(run_dir)
    config, kind, count = _settle_devices(run_dir, record)
    train_data = as_data(train_data, config.batch_size)
    config = _settle_data(run_dir, config, train_data)
    if validation_data is not None:
        validation_data = with_labels_of(as_data(validation_data, config.batch_size), class_names_of_data(train_data))
    _check_data(run_dir, record, config, train_data, validation_data)
    strategy = create_strategy(config, kind, count)
    keras.utils.set_random_seed(config.seed)
    with strategy.scope(), dtype_policy(config.precision):
        model = _build(run_dir, build, train_data, validation_data)
    final = in_float32(model)
    with strategy.scope():
        weights = train_data.class_weights() if config.class_weight == "balanced" else None
        step = TrainStep(model, config, weights)
    trainer = Trainer(run_dir, config, step, final, train_data, validation_data)
    trainer.restore(record)
    return trainer


class Trainer:
    """One run in progress: what `run` would otherwise pass around."""

    def __init__(self, run_dir, config, step, final, train_data, validation_data):
        self.dir: Path = run_dir
        self.config: TrainConfig = config
        self.step: TrainStep = step
        self.final = final  # the float32 twin of the model in training: what is saved
        self.train_data, self.validation_data = train_data, validation_data
        self.class_names = class_names_of_data(train_data)
        self.steps = steps_per_epoch(train_data, config.batch_size)
        self.augment = augment.policy(config.augment)
        self.state = State()
        self.saved_at = time.monotonic()
        self.steps_at_once = 1

    def restore(self, record):
        """Take up the checkpoint, or make the first."""
        self.keeps_files = record.get("keep", True)
        self.is_from_command_line = "model" in record
        path = self.dir / runs.CHECKPOINT
        if not path.exists():
            self.save_checkpoint()
            runs.forget_replaced(self.dir)
            return
        self.state = State(**checkpoint.restore(path, self.step.variables))
        done = f"epoch {self.state.epoch + 1} of {self.config.epochs}, batch {self.state.batch} of {self.steps}"
        console.log(f"resuming {self.dir} in {done}")
        for change in runs.differing_versions(record):
            console.warn(f"not the versions this run began with, so its bits may differ: {change}")

    def save_checkpoint(self):
        """Write the whole state."""
        checkpoint.save(self.dir / runs.CHECKPOINT, self.step.variables, asdict(self.state))
        self.saved_at = time.monotonic()

    def train(self):
        """Train from where the run stands to its last epoch."""
        state, config = self.state, self.config
        total = config.epochs * self.steps
        with _deferred_interrupt() as interrupted, console.progress("training", total) as advance:
            advance(state.epoch * self.steps + state.batch, "")
            while state.epoch < config.epochs and not self._is_stopping_early():
                self.train_epoch(interrupted, advance)
                self._end_epoch()
                if interrupted.is_set() and state.epoch < config.epochs:
                    raise self._interruption()

    def train_epoch(self, interrupted, advance):
        """Train to the end of the current epoch; `interrupted` is an event, `advance` tells of progress."""
        state, config = self.state, self.config
        batches = self._batches(
            self.train_data,
            shuffle=True,
            seed=config.seed,
            epoch=state.epoch,
            start_batch=state.batch,
            augment=self.augment,
        )
        while state.batch < self.steps:
            started = time.monotonic()
            count = min(self.steps_at_once, self.steps - state.batch)
            rates = [self._learning_rate(state.batch + i) for i in range(count)]
            sums = self.step.train(batches, tf.constant(rates, tf.float32)).numpy()
            for i, row in enumerate(sums):
                if not math.isfinite(row[0]):
                    self._stop_diverged(f"The loss became {row[0]}", state.batch + i, rates[i])
            for row in sums:
                state.sums = [total + float(value) for total, value in zip(state.sums, row, strict=True)]
            state.batch += count
            took = time.monotonic() - started
            state.seconds += took
            self.steps_at_once = _adjust(self.steps_at_once, took / count)
            advance(count, f"epoch {state.epoch + 1}/{config.epochs} loss {state.sums[0] / state.sums[2]:.4f}")
            if state.batch < self.steps:
                if interrupted.is_set():
                    self._check_weights()
                    self.save_checkpoint()
                    raise self._interruption()
                if time.monotonic() - self.saved_at > config.checkpoint_seconds:
                    self._check_weights()
                    self.save_checkpoint()

    def _learning_rate(self, batch):
        return self.state.plateau_factor * learning_rate(self.config, self.state.epoch + batch / self.steps)

    def _stop_diverged(self, what, batch, rate):
        """Go back to the newest checkpoint, whose weights are finite, and stop."""
        good = State(**checkpoint.restore(self.dir / runs.CHECKPOINT, self.step.variables))
        self._save_model(runs.LAST)
        raise TrainingDiverged(
            f"{what} at step {batch + 1} of epoch {self.state.epoch + 1}, learning rate {rate:.4g}. "
            + (
                f"The last good model (epoch {good.epoch + 1}, step {good.batch}) is {self.dir / runs.LAST}. "
                if self.keeps_files
                else ""
            )
            + "Try a lower learning rate, a warm-up (--warmup-epochs), or --clip-norm."
        )

    def _check_weights(self):
        """Before they are saved: a step with a finite loss can still leave weights that are not."""
        if not self.step.is_finite():
            last = self.state.batch - 1
            self._stop_diverged("The weights became NaN or infinite", last, self._learning_rate(last))

    def _end_epoch(self):
        """Validate, then write models, checkpoint and history; killed in between, all of it is done again."""
        self._check_weights()
        state = self.state
        loss, correct, examples = state.sums
        row = {
            "epoch": state.epoch + 1,
            "learning_rate": self._learning_rate(self.steps - 1),
            "loss": loss / examples,
            "accuracy": correct / examples,
        }
        if self.validation_data is not None:
            row["val_loss"], row["val_accuracy"] = self._validate()
            if not math.isfinite(row["val_loss"]):
                self._stop_diverged(
                    f"The validation loss became {row['val_loss']}", self.steps - 1, row["learning_rate"]
                )
        row["seconds"] = round(state.seconds, 3)
        row["images_per_second"] = round(examples / state.seconds, 1)
        state.history.append(row)
        state.epoch, state.batch, state.sums, state.seconds = state.epoch + 1, 0, [0.0, 0.0, 0.0], 0.0
        if self._judge(row):
            self._save_model(runs.BEST)
        self._save_model(runs.LAST)
        runs.write_history(self.dir, state.history)
        runs.write_events(self.dir, row, time.time())
        # Last: what is missing before it is done again, what were missing after it would stay so.
        self.save_checkpoint()
        shown = [f"{key} {row[key]:.4f}" for key in ("loss", "accuracy", "val_loss", "val_accuracy") if key in row]
        speed = f"{row['seconds']:.1f} s  {row['images_per_second']:,.0f} images/s"
        console.log(f"epoch {row['epoch']}/{self.config.epochs}  {'  '.join(shown)}  {speed}")

    def _validate(self):
        """Loss and accuracy on the validation data, in the training precision."""
        totals = [0.0, 0.0, 0.0]
        for images, labels in self._batches(self.validation_data):
            sums = self.step.evaluate(images, labels).numpy()
            totals = [total + float(value) for total, value in zip(totals, sums, strict=True)]
        return totals[0] / totals[2], totals[1] / totals[2]

    def _judge(self, row) -> bool:
        """Whether this epoch is the best so far: by validation accuracy, then by validation loss."""
        state, config = self.state, self.config
        score = [row["val_accuracy"], -row["val_loss"]] if "val_loss" in row else [float(row["epoch"]), 0.0]
        improved = state.best is None or score > state.best
        if improved:
            state.best, state.best_epoch, state.stale, state.plateau_stale = score, row["epoch"], 0, 0
            return True
        state.stale += 1
        state.plateau_stale += 1
        if config.schedule == "plateau" and state.plateau_stale >= config.patience:
            state.plateau_factor *= config.decay_rate
            state.plateau_stale = 0
            console.log(f"no improvement for {config.patience} epochs: learning rate times {config.decay_rate:g}")
        return False

    def _is_stopping_early(self) -> bool:
        patience = self.config.early_stopping
        if patience is None or self.state.stale < patience:
            return False
        console.log(f"stopping early: no improvement for {patience} epochs since epoch {self.state.best_epoch}")
        return True

    def finish(self):
        """Score the best model, from its file, and close the run."""
        history = self.state.history
        best = history[self.state.best_epoch - 1]
        metrics = {
            "epochs": len(history),
            "best_epoch": self.state.best_epoch,
            "training_seconds": round(sum(row["seconds"] for row in history), 3),
            "train": {"loss": best["loss"], "accuracy": best["accuracy"]},
        }
        if self.validation_data is not None:
            metrics["validation"] = evaluate(load_model(self.dir, "best"), self.validation_data)
        runs.write_json(self.dir / runs.METRICS, metrics)
        runs.write_curves(self.dir, history)
        self.state.finished = True
        self.save_checkpoint()

    def _batches(self, dataset, **order) -> Iterator:
        batches = dataset.batches(self.config.batch_size, **order)
        return iter(self.step.strategy.experimental_distribute_dataset(batches))

    def _save_model(self, name):
        self.final.set_weights(self.step.model.get_weights())
        save_model(self.final, self.dir / name, self.class_names)

    def _interruption(self):
        where = f"epoch {self.state.epoch + 1} of {self.config.epochs}, batch {self.state.batch} of {self.steps}"
        if not self.keeps_files:
            return TrainingInterrupted(
                f"Interrupted in {where}. Nothing is kept: give fit a run_dir to be able to resume."
            )
        how = (
            f"kzoo train --resume {self.dir}" if self.is_from_command_line else f"kzoo.train.resume({str(self.dir)!r})"
        )
        return TrainingInterrupted(f"Interrupted in {where}. Continue with: {how}")


def _result(run_dir: Path, state: State) -> Result:
    """What a finished run has in its directory."""
    return Result(
        model=load_model(run_dir, "best"),
        history={key: [row[key] for row in state.history] for key in state.history[0]},
        metrics=runs.read_json(run_dir / runs.METRICS),
        run_dir=run_dir,
    )


def _adjust(steps_at_once: int, seconds_per_step: float) -> int:
    """How many steps to execute next; at most ten times as many, since the first ones are slow."""
    return max(1, min(int(SECONDS_PER_EXECUTION / seconds_per_step), 10 * steps_at_once))


@contextmanager
def _deferred_interrupt() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into an event, so that the loop can save its state; the second one interrupts as usual."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return
    before = signal.getsignal(signal.SIGINT)

    def remember(number, frame):
        interrupted.set()
        signal.signal(signal.SIGINT, before)
        console.log("interrupted: saving the state (again to stop at once)")

    signal.signal(signal.SIGINT, remember)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)


def _settle_devices(run_dir: Path, record: dict) -> tuple[TrainConfig, str, int]:
    """Make sure that TensorFlow has the devices which the config was resolved for, and choose again where it has not.

    Only what was left to kzoo is chosen again, and only before the first step.
    """
    config, hardware = record["train"], probe()
    usable = len(tf.config.list_physical_devices("GPU"))
    if usable >= len(hardware.gpus) or (config.devices or "gpu").startswith("cpu"):
        return config, *parse_devices(config.devices, hardware)
    console.warn(f"TensorFlow can use {usable} of this machine's {len(hardware.gpus)} NVIDIA GPUs; see kzoo doctor")
    hardware = usable_only(hardware, usable)
    if not (run_dir / runs.CHECKPOINT).exists():
        config, reasons = resolve(replace(config, **record.get("requested", {})), hardware)
        for reason in reasons:
            console.log(reason)
        runs.update_config(run_dir, train=runs.to_dict(config))
    return config, *parse_devices(config.devices, hardware)


def _settle_data(run_dir: Path, config: TrainConfig, train_data) -> TrainConfig:
    """Choose what the configuration leaves to the data, say so, and write it down."""
    if isinstance(train_data, Stream):
        config = replace(config, batch_size=train_data.batch_size)
    settled = settle_for_data(config, train_data.name, len(train_data), train_data.image_shape)
    if settled != config:
        console.log(
            f"batch size {settled.batch_size}, learning rate up to {settled.peak_learning_rate:.4g}, "
            f"augmentation {settled.augment}"
        )
    runs.update_config(run_dir, train=runs.to_dict(settled))
    return settled


def _build(run_dir: Path, build, train_data, validation_data):
    """The model, as built the first time or as the run directory describes it."""
    path = run_dir / runs.ARCHITECTURE
    # Before the first checkpoint the description alone would mean random weights, where `build` may bring trained ones.
    if (run_dir / runs.CHECKPOINT).exists():
        try:
            return keras.saving.deserialize_keras_object(runs.read_json(path))
        except Exception as error:  # whatever Keras makes of a damaged file
            raise RunError(f"The run's {path.name} is damaged. Received: {str(path)!r}: {error}.") from error
    if build is None:
        raise InvalidArgument(
            f"This run was stopped before its first step. Received: {str(run_dir)!r}. Pass build=, or continue a run "
            "of the command line with kzoo train --resume."
        )
    model = build()
    check_fit(train_data, model, "training")
    if validation_data is not None:
        check_fit(validation_data, model, "validation")
    runs.write_json(path, keras.saving.serialize_keras_object(model))
    return model


def _check_data(run_dir: Path, record: dict, config: TrainConfig, train_data, validation_data) -> None:
    """Refuse data that the configuration cannot be used with, or that is not the run's."""
    if config.class_weight == "balanced" and isinstance(train_data, Stream):
        raise InvalidArgument("class_weight 'balanced' needs the labels in advance. Received: a tf.data.Dataset.")
    if validation_data is None and (config.early_stopping is not None or config.schedule == "plateau"):
        raise InvalidArgument("early_stopping and the plateau schedule need validation data. Received: none.")
    described = record.get("data") or {}
    now = {
        "train": _describe(train_data),
        "validation": None if validation_data is None else _describe(validation_data),
    }
    if "train" not in described:
        names = class_names_of_data(train_data)
        runs.update_config(run_dir, data={**described, **now, "class_names": None if names is None else list(names)})
        return
    for part, recorded in (("train", described["train"]), ("validation", described["validation"])):
        # The same content may lie elsewhere by now.
        if _without_load(recorded) != _without_load(now[part]):
            raise RunError(
                f"The {part} data is not what this run began with. Received: {_without_load(now[part])}, recorded: "
                f"{_without_load(recorded)}. Restore the data, or start a new run."
            )


def _describe(dataset) -> dict:
    """What config.json says of a dataset."""
    is_stream = isinstance(dataset, Stream)
    return {
        "load": None if is_stream or dataset.load_arguments is None else dict(dataset.load_arguments),
        "split": None if is_stream else dataset.split,
        "fingerprint": None if is_stream else dataset.fingerprint,
        "images": None if is_stream else len(dataset),
        "image_shape": list(dataset.image_shape),
    }


def _without_load(description: dict | None) -> dict | None:
    return description and {key: value for key, value in description.items() if key != "load"}

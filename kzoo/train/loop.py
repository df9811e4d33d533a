"""`fit` and `resume`: from a model, data and a configuration to a finished run.

A run is a pure function of its configuration, its data and the machine: shuffling, augmentation and the learning
rate are functions of (seed, epoch, position), and everything else that changes is in the checkpoint. So a run that was
killed and resumed ends in the same bits as one that was not.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kzoo import augment, console, data
from kzoo.backend import keras, tf
from kzoo.classifier import without_auxiliary_heads
from kzoo.data.loading import load_splits
from kzoo.errors import InvalidArgument, RunError
from kzoo.hardware import probe, usable_only
from kzoo.saving import load_model
from kzoo.train import checkpoint, runs
from kzoo.train.config import Strategy, TrainConfig, settle_for_data
from kzoo.train.inputs import Stream, as_data, check_fit, class_names_of_data, data_errors, with_labels_of
from kzoo.train.precision import dtype_policy, in_float32, parse_devices, resolve
from kzoo.train.step import TrainStep
from kzoo.train.strategy import check_made_in_scope, create_strategy, synchronize_batch_norm
from kzoo.train.trainer import State, Trainer


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


def fit(
    build: Callable[[], Any],
    train_data: Any,
    validation_data: Any = None,
    config: TrainConfig | None = None,
    run_dir: str | Path | None = None,
    *,
    overwrite: bool = False,
    callbacks: Sequence[Any] = (),
) -> Result:
    """Train a classifier.

    Args:
        build: Makes the model: a function without arguments that returns a `keras.Model` with an output of shape
            (batch, classes), softmax or logits. It is called inside the strategy's scope and under the dtype policy.
            With auxiliary heads the output is a dict, of which `predictions` is the classifier; what is saved and
            returned is that one alone.
        train_data: A Dataset of kzoo, a pair of NumPy arrays (images, labels), or a `tf.data.Dataset` of such pairs.
            Images (N, height, width, channels), values 0 to 255; labels (N,) int.
        validation_data: The same, or None.
        config: How to train.
        run_dir: An empty or new folder for config, history, checkpoints, models and metrics; None keeps no files.
        overwrite: Whether a run that is in `run_dir` may be deleted.
        callbacks: Of `keras.callbacks`. Their `model` is the one in training, in the training precision. One that sets
            `model.optimizer.learning_rate` takes it over from the schedule from there on. The hooks of a batch are
            called once for each execution of several steps, as in Keras. What is saved with `ema_momentum` is the
            average, which weights that a callback sets do not reach.

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
    with new_run(run_dir, config, overwrite=overwrite) as folder:
        result = run(folder, build, train_data, validation_data, callbacks)
    return replace(result, run_dir=None if run_dir is None else folder)


@contextmanager
def new_run(
    run_dir: str | Path | None, config: TrainConfig | None, *, overwrite: bool = False, **record
) -> Iterator[Path]:
    """Choose what "auto" is on this machine, say so, and make the run directory; None is one that is not kept.

    Raises:
        InvalidArgument: Devices that this machine does not have.
        RunError: As `runs.new`.
    """
    config = config or TrainConfig()
    record["requested"] = {"precision": config.precision, "strategy": config.strategy}
    config, reasons = resolve(config, probe())
    for reason in reasons:
        console.log(reason)
    if run_dir is None:
        with tempfile.TemporaryDirectory(prefix="kzoo-") as folder, runs.new(folder, config, keep=False, **record):
            yield Path(folder)
        return
    with runs.new(run_dir, config, overwrite=overwrite, **record) as folder:
        yield folder


def resume(
    run_dir: str | Path,
    *,
    build: Callable[[], Any] | None = None,
    train_data: Any = None,
    validation_data: Any = None,
    strategy: Strategy | None = None,
    devices: str | None = None,
    callbacks: Sequence[Any] = (),
) -> Result:
    """Continue a run to its end; on a CPU, to the same bits as if it had never stopped.

    That holds on the same machine with the same versions, number of cores and devices, for kzoo's datasets and for
    arrays. On other devices it is the same run, but for rounding, dropout, and batch normalization that is not
    synchronized: each step still takes the images that it would have taken.

    Args:
        run_dir: The run directory. A finished run is not trained again; its result is loaded.
        build: Needed only if the run was stopped before its first step.
        train_data: Needed only if the run was given arrays or a `tf.data.Dataset`: the same again.
        validation_data: Likewise.
        strategy: What to continue with, instead of the run's own strategy and devices.
        devices: Likewise.
        callbacks: As in `fit`; what state they have is not in the run directory.

    Raises:
        InvalidArgument: Not a run directory, or an argument that is needed is missing.
        RunError: The data is not the data of the run, or a file is damaged.
    """
    run_dir = Path(run_dir).expanduser()
    record = runs.read_config(run_dir)
    if "transfer" in record:
        raise InvalidArgument(
            f"This run fine-tunes. Received: {str(run_dir)!r}. Continue it with kzoo.transfer.resume."
        )
    state = checkpoint.finished_state(run_dir / runs.CHECKPOINT)
    if state is not None:
        return result_of(run_dir, State(**state))
    with runs.lock(run_dir):
        if train_data is None:
            train_data, validation_data = load_data(record)
        move(run_dir, strategy, devices)
        return run(run_dir, build, train_data, validation_data, callbacks)


def move(run_dir: Path, strategy: Strategy | None, devices: str | None) -> None:
    """Write into config.json that the run goes on with another strategy or on other devices, where one is given."""
    if strategy is None and devices is None:
        return
    for folder in (run_dir, run_dir / runs.HEAD):
        if not (folder / runs.CONFIG).exists():  # no run that fine-tunes, or one that has no head yet
            continue
        record = runs.read_config(folder)
        config = replace(record["train"], strategy=strategy or "auto", devices=devices)
        requested = {**record.get("requested", {}), "strategy": config.strategy}
        config, reasons = resolve(config, probe())
        for reason in reasons if folder == run_dir else ():
            console.log(reason)
        runs.update_config(folder, train=runs.to_dict(config), requested=requested)


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
        train, *validation = load_splits(runs.splits_of(record), **described["load"])
        return train, validation[0] if validation else None
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


def run(
    run_dir: Path,
    build: Callable[[], Any] | None,
    train_data: Any,
    validation_data: Any = None,
    callbacks: Sequence[Any] = (),
) -> Result:
    """Train what config.json in `run_dir` says from where it stands; the caller holds the run's lock."""
    trainer = prepare(run_dir, build, train_data, validation_data, callbacks)
    with data_errors():
        trainer.train()
        trainer.finish()
    return result_of(run_dir, trainer.state)


def prepare(
    run_dir: Path,
    build: Callable[[], Any] | None,
    train_data: Any,
    validation_data: Any = None,
    callbacks: Sequence[Any] = (),
) -> Trainer:
    """Do all that comes before the first step: check the data, build the model, take up the checkpoint."""
    setting = settle(run_dir, train_data, validation_data)
    with setting.scope():
        model = _build(setting, build)
    how = f"kzoo train --resume {run_dir}" if "model" in setting.record else f"kzoo.train.resume({str(run_dir)!r})"
    return setting.trainer(model, in_float32(without_auxiliary_heads(model)), callbacks=callbacks, how_to_resume=how)


@dataclass(frozen=True)
class Setting:
    """What is settled before there is a model: the run, its configuration, the devices and the data."""

    run_dir: Path
    record: dict
    """The content of config.json as the run was found."""
    config: TrainConfig
    strategy: Any
    train_data: Any
    """A Dataset or a Stream."""
    validation_data: Any
    """The same, or None."""

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Where the model in training is to be made: on the strategy's devices, in the precision of the run."""
        with self.strategy.scope(), dtype_policy(self.config.precision):
            yield

    def check_model(self, classifier) -> None:
        """Raise InvalidArgument unless the classifier takes the images and has an output for each class."""
        check_fit(self.train_data, classifier, "training", augment.policy(self.config.augment))
        if self.validation_data is not None:
            check_fit(self.validation_data, classifier, "validation")

    def trainer(self, model, final, *, rate_factors: Sequence[float] = (), **arguments) -> Trainer:
        """The trainer of a model made in the scope, with the checkpoint taken up.

        Args:
            model: What is trained.
            final: As for `Trainer`.
            rate_factors: As for `create_optimizer`.
            **arguments: More for `Trainer`; the data is the setting's, unless it is among them.
        """
        check_made_in_scope(model, self.strategy)
        if self.config.sync_batch_norm:
            synchronize_batch_norm(model)
        with self.strategy.scope():
            weights = self.train_data.class_weights() if self.config.class_weight == "balanced" else None
            step = TrainStep(model, self.config, weights, rate_factors)
        given = {"train_data": self.train_data, "validation_data": self.validation_data, **arguments}
        trainer = Trainer(self.run_dir, self.config, step, final, **given)
        trainer.restore(self.record)
        return trainer


def settle(run_dir: Path, train_data: Any, validation_data: Any) -> Setting:
    """Choose what is left to the data and the devices, and check that they are the run's; seeds all generators."""
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
    return Setting(run_dir, record, config, strategy, train_data, validation_data)


def result_of(run_dir: Path, state: State) -> Result:
    """What a finished run has in its directory."""
    return Result(
        model=load_model(run_dir, "best"),
        history={key: [row[key] for row in state.history] for key in (state.history or [{}])[0]},
        metrics=runs.read_json(run_dir / runs.METRICS),
        run_dir=run_dir,
    )


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
    settled = settle_for_data(config, train_data.public_name, len(train_data), train_data.image_shape)
    if settled != config:
        console.log(
            f"batch size {settled.batch_size}, learning rate up to {settled.peak_learning_rate:.4g}, "
            f"augmentation {augment.title(settled.augment)}"
        )
    runs.update_config(run_dir, train=runs.to_dict(settled))
    return settled


def _build(setting: Setting, build):
    """The model, as built the first time or as the run directory describes it."""
    path = setting.run_dir / runs.ARCHITECTURE
    # Before the first checkpoint the description alone would mean random weights, where `build` may bring trained ones.
    if (setting.run_dir / runs.CHECKPOINT).exists():
        try:
            return keras.saving.deserialize_keras_object(runs.read_json(path))
        except Exception as error:  # whatever Keras makes of a damaged file
            raise RunError(f"The run's {path.name} is damaged. Received: {str(path)!r}: {error}.") from error
    if build is None:
        raise InvalidArgument(
            f"This run was stopped before its first step. Received: {str(setting.run_dir)!r}. Pass build=, or continue "
            "a run of the command line with kzoo train --resume."
        )
    model = build()
    setting.check_model(without_auxiliary_heads(model))
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

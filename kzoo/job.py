"""Runs by names: what `kzoo train` and `kzoo finetune` do, and the one `resume` for every run.

Offered as `kzoo.train.run_record`, `kzoo.train.start` and `kzoo.train.resume`. Bad data is found before TensorFlow is
started, except that of TFDS, which TensorFlow reads.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kzoo import console, paths, workers
from kzoo.arguments import integer
from kzoo.augment import PHOTO_SIZE
from kzoo.data import Dataset
from kzoo.data.encoded import BadImage, read_file
from kzoo.data.images import header
from kzoo.data.loading import absolute, checked_size, load, load_splits, public_name
from kzoo.errors import InvalidArgument, TrainingInterrupted
from kzoo.models.registry import check_name, defaults, is_name
from kzoo.text import dimensions
from kzoo.train import runs
from kzoo.train.checkpoint import State
from kzoo.train.config import Strategy, TrainConfig, TransferConfig
from kzoo.train.lifecycle import Result, begin, go_on, result_of
from kzoo.train.record import (
    MOST_MEMBERS,
    DataRecord,
    DataSource,
    EnsembleRecord,
    ModelFile,
    RunRecord,
    ZooModel,
    teacher_at,
)
from kzoo.transfer.loading import check_has_weights, images_for, named, portable
from kzoo.weights.records.applications import is_application
from kzoo.weights.resolve import resolve as resolve_weights

if TYPE_CHECKING:
    from kzoo.train.range_test import RangeTest

# From about so many on, networks trained from scratch reach those that start from ImageNet's weights (He, Girshick &
# Dollar, "Rethinking ImageNet Pre-training", 2019, with a tenth of COCO).
MANY_IMAGES = 10_000
# Of a folder, the images whose size is looked at.
SAMPLE = 20


def run_record(
    model: str | None,
    dataset: str,
    *,
    config: TrainConfig | None = None,
    weights: str | None = None,
    like: str | None = None,
    transfer: TransferConfig | None = None,
    all_data: bool = False,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    data_dir: str | None = None,
    download: bool = False,
    on_bad_image: Literal["stop", "skip"] = "stop",
    dropout: float | None = None,
    auxiliary_heads: bool = False,
    teacher: str | Path | None = None,
    temperature: float = 1.0,
    members: int | None = None,
) -> RunRecord:
    """Describe a run by names, for `start`.

    Args:
        model: A name of `kzoo.list_models()`. To fine-tune also "keras:NAME" of keras.applications, a run directory or
            a `.keras` file; None is kzoo's default model.
        dataset: A name or a path, as `kzoo.data.load` takes it.
        config: How to train.
        weights: Pretrained weights to fine-tune: a tag, a file or a folder. By default the model's default ones,
            where it has any.
        like: For weights in a file: the tag whose preprocessing and class names they take.
        transfer: How to fine-tune; None trains from scratch, unless there are weights.
        all_data: Whether to train on the validation images too.
        image_size: As for `kzoo.data.load`; by default the model's, or the weights'.
        channels: Likewise.
        data_dir: As for `kzoo.data.load`.
        download: Likewise.
        on_bad_image: Likewise.
        dropout: Rate before the classifier; by default the model's, and 0 to fine-tune.
        auxiliary_heads: Whether to train with the auxiliary classifiers that the model has.
        teacher: Distillation: a run directory or a `.keras` file with the same classes, whose probabilities for the
            augmented images take the place of the labels in the loss.
        temperature: What both models' logits are divided by for that.
        members: How many models to train, with as many seeds from `config.seed` on; the run is their ensemble.

    Raises:
        InvalidArgument: Arguments that do not fit together.
        WeightsError: Weights that are not on this machine.

    >>> record = run_record("mnist_net", "digits", config=TrainConfig(epochs=3))
    >>> record.data.load.image_size
    (28, 28)
    """
    if like is not None and weights is None:
        raise InvalidArgument(f"like is for weights: --like is for --weights. Received: {like!r}, without weights.")
    if auxiliary_heads and (weights is not None or transfer is not None):
        raise InvalidArgument("auxiliary_heads is for training from scratch. Received: auxiliary_heads=True.")
    model, weights = _resolve_model(model, weights, transfer)
    if weights is not None:
        check_name(model)
        transfer = transfer or TransferConfig()
        chosen = resolve_weights(model, weights, like)  # before a bad path is looked at
        if dropout is not None and not chosen.record.include_top:
            raise InvalidArgument(f"dropout is for weights with a classifier. Received: {dropout!r} with {weights!r}.")
        if dropout is not None and is_application(model):
            raise InvalidArgument(f"dropout is for a model of kzoo list. Received: {dropout!r} with {model!r}.")
        images = images_for(model, chosen, image_size)
        found: Any = ZooModel(model, portable(model, weights), like, dropout, auxiliary_heads)
    elif transfer is not None:
        if dropout is not None:
            raise InvalidArgument(f"dropout is for a model of kzoo list. Received: {dropout!r} with {model!r}.")
        check_has_weights(model)
        paths.find_model(model)  # before TensorFlow is started
        found, images = ModelFile(str(paths.expand(model).resolve())), _images_for_file(model, image_size)
    else:
        found = ZooModel(model, dropout=dropout, auxiliary_heads=auxiliary_heads)
        images = {"image_size": defaults(model)[0][:2] if image_size is None else image_size, "channels": None}
    size = checked_size(images["image_size"])
    images |= {"image_size": size, "channels": images["channels"] if channels is None else channels}
    source = DataSource(**absolute(dataset, data_dir), **images, download=download, on_bad_image=on_bad_image)
    record = RunRecord(model=found, data=DataRecord(source, all_data), train=config or TrainConfig(), transfer=transfer)
    return with_others(record, teacher, temperature, members)


def with_others(
    record: RunRecord, teacher: str | Path | None, temperature: float = 1.0, members: int | None = None
) -> RunRecord:
    """A record with a teacher and members, as `run_record` takes them.

    Raises:
        InvalidArgument: No such teacher, or more seeds than there are.
    """
    if teacher is None and temperature != 1:
        raise InvalidArgument(f"temperature is for a teacher. Received: temperature={temperature!r}, without teacher.")
    if members is not None:
        replace(record.train, seed=record.train.seed + integer("members", members, 2, MOST_MEMBERS) - 1)
    return replace(
        record,
        teacher=None if teacher is None else teacher_at(teacher, temperature),
        ensemble=None if members is None else EnsembleRecord(members),
    )


def _resolve_model(model: str | None, weights: str | None, transfer: TransferConfig | None) -> tuple[str, str | None]:
    """The model and weights that are meant, where they are left out."""
    if weights is None and transfer is None:
        if model is None or is_application(model):
            raise InvalidArgument(
                f"Only fine-tuning takes {'no model' if model is None else 'models of keras.applications'}. Received: "
                f"{model!r}. Use kzoo finetune, or in Python pass transfer=TransferConfig()."
            )
        return model, None
    meant, default = named(model, weights)
    if is_application(meant):
        check_name(meant)
    is_run_or_file = not is_name(meant) or Path(meant).exists()
    return meant, weights if is_run_or_file else default


def start(record: RunRecord, run_dir: str | Path, *, overwrite: bool = False, resume: bool = False) -> Result:
    """Begin a run by names: load its data, make its model, train or fine-tune it to the end.

    Args:
        record: What `run_record` gives.
        run_dir: An empty or new folder for all that `kzoo.train.fit` writes.
        overwrite: Whether a run that is in `run_dir` may be deleted.
        resume: Whether a run that is in `run_dir` goes on to its end; a finished one gives its result. The record must
            be the one it was begun with, except for what does not change the result: devices, where the data lies.

    Raises:
        InvalidArgument: A record without model or data, or arguments that do not fit together.
        DataError: There is no such dataset, or it cannot be used.
        RunError: As `kzoo.train.fit`.

    >>> from kzoo.train import TrainConfig
    >>> import tempfile
    >>> record = run_record("mnist_net", "digits", config=TrainConfig(epochs=1, batch_size=256))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     result = start(record, folder)
    >>> result.metrics["epochs"]
    1
    """
    if record.model is None or record.data.load is None:
        raise InvalidArgument(
            f"A run by names has a model and data. Received: model={record.model!r}, data.load={record.data.load!r}. "
            "Make the record with kzoo.train.run_record, or train with kzoo.train.fit."
        )
    return begin(record, run_dir, _train, overwrite=overwrite, resume=resume)


def find_learning_rate(record: RunRecord, *, steps: int) -> "RangeTest":
    """The range test of `kzoo.train.find_learning_rate` for a run by names that trains from scratch."""
    assert isinstance(record.model, ZooModel)  # noqa: S101 - a record of `run_record` without weights
    train_data, _ = _load(record.data)
    from kzoo.train import range_test

    return range_test.find_learning_rate(_builder(record.model, train_data), train_data, record.train, steps=steps)


def resume(
    run_dir: str | Path,
    *,
    build: Callable[[], Any] | None = None,
    model: Any = None,
    weights: Any = None,
    train_data: Any = None,
    validation_data: Any = None,
    strategy: Strategy | None = None,
    devices: str | None = None,
    callbacks: Sequence[Any] = (),
    teacher: Any = None,
) -> Result:
    """Continue a run to its end, whatever began it; on a CPU, to the same bits as if it had never stopped.

    That holds on the same machine with the same versions, number of cores and devices, for kzoo's datasets and for
    arrays. On other devices it is the same run, except for rounding, dropout, and batch normalization that is not
    synchronized: each step still takes the images that it would have taken.

    Args:
        run_dir: The run directory. A finished run is not trained again; its result is loaded.
        build: Of a run of `fit` that was stopped before its first step: the same again.
        model: Of a run of `fine_tune` that was stopped in its first phase: the same again.
        weights: Likewise.
        train_data: Of a run that was given arrays or a `tf.data.Dataset`: the same again.
        validation_data: Likewise.
        strategy: What to continue with, instead of the run's strategy and devices.
        devices: Likewise.
        callbacks: As in `fit`; what state they have is not in the run directory.
        teacher: Of a run of `fit` that was given a model as a teacher: the same again.

    Raises:
        InvalidArgument: Not a run directory, or an argument that is needed is missing.
        RunError: The data or the weights are not those of the run, or a file is damaged.
    """
    run_dir = paths.expand(run_dir)
    runs.recover(run_dir)
    record = runs.read_record(run_dir)
    if record.fine_tuning.is_head:
        whole = run_dir.resolve().parent
        raise InvalidArgument(
            f"This is the first phase of a run that fine-tunes. Received: {str(run_dir)!r}. Continue it with "
            f"{runs.read_record(whole).how_to_resume(whole)}"
        )
    if record.is_average:
        score = paths.command("kzoo", "evaluate", run_dir)
        raise InvalidArgument(
            f"This is an ensemble, in which nothing is trained. Received: {str(run_dir)!r}. Score it with {score}"
        )
    fine_tunes = record.transfer is not None
    useful = {"model", "weights"} if fine_tunes else {"build"} if record.teacher is None else {"build", "teacher"}
    for name, value in {"build": build, "model": model, "weights": weights, "teacher": teacher}.items():
        if value is not None and name not in useful:
            valid = " and ".join(sorted(useful))
            raise InvalidArgument(f"This run has no use for {name}. Received: {name}={value!r}. Valid: {valid}.")
    given = (build, model, weights, train_data, validation_data, callbacks, teacher)
    return go_on(run_dir, lambda folder: _train(folder, *given), strategy, devices)


def _train(
    run_dir: Path,
    build=None,
    model=None,
    weights=None,
    train_data=None,
    validation_data=None,
    callbacks=(),
    teacher=None,
) -> Result:
    """Train what config.json in `run_dir` says; what is not given is made by the names there."""
    record = runs.read_record(run_dir)
    if isinstance(record.model, ZooModel):
        check_name(record.model.name)
    if record.ensemble is not None:
        return _train_members(run_dir, record)
    if train_data is None:
        console.log(f"run directory {run_dir}")
        train_data, validation_data = _load(record.data)
        console.log(
            f"{len(train_data):,} training and {len(validation_data or ()):,} validation images of "
            f"{dimensions(train_data.image_shape)}, {len(train_data.class_names)} classes"
        )
        if record.transfer is None and record.data.load is not None:
            _suggest_fine_tuning(record.data.load.name, train_data)
    if record.transfer is None:
        from kzoo.train import fitting

        if build is None and isinstance(record.model, ZooModel):
            build = _builder(record.model, train_data)
        return fitting.run(run_dir, build, train_data, validation_data, callbacks, teacher)
    from kzoo.transfer import finetuning

    if model is not None:
        make = finetuning.maker(model, weights)
    else:
        make = None if record.model is None else partial(_make_pretrained, record.model)
    return finetuning.run(run_dir, make, train_data, validation_data, callbacks)


def _builder(model: ZooModel, train_data: Any) -> Callable[[], Any]:
    """What makes a model by name, from scratch, for some images."""
    from kzoo.models.registry import create_model

    arguments: Any = {"dropout": model.dropout, "auxiliary_heads": model.auxiliary_heads}
    arguments |= {"input_shape": train_data.image_shape, "classes": len(train_data.class_names)}
    return partial(create_model, model.name, **arguments)


def _train_members(run_dir: Path, record: RunRecord) -> Result:
    """Train the members of an ensemble one after the other, each in a run of its own, then average them.

    Members that are finished are not trained again.
    """
    assert record.ensemble is not None and record.ensemble.trains is not None  # noqa: S101, PT018 - the caller knows
    if workers.current() is not None:
        raise InvalidArgument(
            f"The members of an ensemble are trained in one process. Received: members={record.ensemble.trains} with "
            "several workers. Train each by its own --seed, then kzoo ensemble."
        )
    count, results = record.ensemble.trains, []
    for number in range(count):
        asked = replace(record.requested, seed=record.requested.seed + number)
        member = replace(record, train=asked, requested=asked, ensemble=None)
        console.log(f"member {number + 1} of {count}, seed {asked.seed}")
        try:
            results.append(start(member, run_dir / runs.MEMBER.format(number), resume=True))
        except TrainingInterrupted:
            raise _interruption(number, run_dir, record) from None
        runs.forget_replaced(run_dir)
        # The first member finds out which weights the teacher has; the others must learn from the same.
        record = replace(record, teacher=runs.read_record(run_dir / runs.MEMBER.format(number)).teacher)
        if results[-1].was_interrupted:
            raise _interruption(number, run_dir, record)
    from kzoo.ensemble import directory

    found = [
        directory.Candidate(folder, folder, result.model, run_dir / folder)
        for folder, result in ((result.run_dir.name, result) for result in results if result.run_dir is not None)
    ]
    _, validation_data = _load(record.data)
    directory.write(run_dir, record, found, validation_data)
    return result_of(run_dir, State(finished=True))


def _interruption(number: int, run_dir: Path, record: RunRecord) -> TrainingInterrupted:
    how = record.how_to_resume(run_dir)
    return TrainingInterrupted(f"Interrupted in member {number + 1}. Continue with: {how}")


def suits_fine_tuning(images: int, side: int) -> bool:
    """Whether pretrained weights do better than training from scratch, by the training images and their shorter side.

    >>> suits_fine_tuning(400, 224), suits_fine_tuning(400, 28), suits_fine_tuning(50_000, 224)
    (True, False, False)
    """
    return images < MANY_IMAGES and side >= PHOTO_SIZE


def _suggest_fine_tuning(dataset: str, train_data: Dataset) -> None:
    """Say of few photos that pretrained weights would do better."""
    if public_name(dataset):
        return
    some = range(0, len(train_data), max(1, len(train_data) // SAMPLE))
    try:
        sides = sorted(min(header(read_file(train_data.where(i)))[:2]) for i in some)
    except (BadImage, OSError):  # it has changed since; training says so
        return
    if suits_fine_tuning(len(train_data), sides[len(sides) // 2]):
        console.log(
            f"{len(train_data):,} photos are few to train a network from scratch: kzoo finetune "
            f"{paths.command(dataset)} starts from one that was trained on a million"
        )


def _make_pretrained(model: ZooModel | ModelFile, image_shape: tuple):
    """The pretrained model for images of a shape. Only the first phase needs it."""
    from kzoo.saving import load_model
    from kzoo.transfer import finetuning

    if isinstance(model, ModelFile):
        return finetuning.copied(load_model(model.path))(image_shape)
    weights = resolve_weights(model.name, model.weights, model.like)
    return finetuning.pretrained(weights, model.dropout)(image_shape)


def _load(described: DataRecord) -> tuple[Any, Any]:
    """The training and validation data of a run."""
    if described.load is not None:
        parts = [(described.load, split) for split in described.splits]
    else:
        parts = [(one.load, one.split) for one in (described.train, described.validation) if one is not None]
    wanted = [(source, split) for source, split in parts if source is not None and split is not None]
    if not wanted or wanted != parts:
        raise InvalidArgument("This run was not given its data by name. Pass train_data and validation_data again.")
    if len({source for source, _ in wanted}) == 1:
        train, *validation = load_splits([split for _, split in wanted], **asdict(wanted[0][0]))
    else:
        train, *validation = [load(**asdict(source), split=split) for source, split in wanted]
    return train, validation[0] if validation else None


def _images_for_file(path: str, size: int | tuple[int, int] | None) -> dict:
    """The arguments of `kzoo.data.load` for a model file or a run."""
    from kzoo.classifier import loading_for
    from kzoo.saving import load_model

    found = loading_for(load_model(path), size)
    if found["image_size"] is None:
        raise InvalidArgument(
            f"The model takes images of any size. Received: {path!r}. Pass image_size (--image-size)."
        )
    return {**found, "range_16_bit": None}  # other images have a range of their own

"""`search` and `resume`: from a model and a dataset to the best configuration, and what can be said of it."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from inspect import signature
from pathlib import Path
from typing import Any

from kzoo import console, onednn, paths, plain
from kzoo.data.loading import fingerprint
from kzoo.errors import InvalidArgument, RunError, TrainingInterrupted, unknown
from kzoo.hardware import probe, share_of_gpus, usable_only
from kzoo.job import run_record
from kzoo.search import ranking, store, worker
from kzoo.search import space as spaces
from kzoo.search.finishing import finish
from kzoo.search.forkserver import ForkServer
from kzoo.search.helper import HelperProcess
from kzoo.search.leases import Lease, Observer
from kzoo.search.settings import SearchConfig, Settings
from kzoo.search.space import Task
from kzoo.search.store import BestTrial, State
from kzoo.search.trials import Trials, trial_record
from kzoo.train import runs
from kzoo.train.config import TrainConfig, TransferConfig
from kzoo.train.precision import resolve
from kzoo.train.record import DataRecord, DataSource, FineTuningState, RunRecord, differences, origin
from kzoo.weights.resolve import resolve as resolve_weights
from kzoo.workers import find_cluster

# Of run_record, those that say how the data is loaded.
DATA_ARGUMENTS = [field.name for field in fields(DataSource) if field.name in signature(run_record).parameters]


@dataclass(frozen=True)
class SearchResult:
    """What a search gives back."""

    best: dict[str, Any]
    """The best configuration: values (rates, not multiples of a default), accuracy (on the validation split, mean over
    seeds), accuracies, epochs, trial and run (numbers), test (figures of the test split, which no trial has seen, or
    None), verified."""
    trials: list[dict[str, Any]]
    """A row per trial, its values likewise."""
    model_path: Path
    """The best model, a `.keras` file."""
    search_dir: Path
    command: str
    """Of kzoo, that trained it."""


def search(
    model: str,
    dataset: str,
    search_dir: str | Path,
    *,
    config: SearchConfig | None = None,
    weights: str | None = None,
    like: str | None = None,
    train: TrainConfig | None = None,
    transfer: TransferConfig | None = None,
    space: dict | None = None,
    **data: Any,
) -> SearchResult:
    """Search for the hyperparameters that train a model best, by the accuracy on the validation split.

    Each trial is a run of `kzoo.train`, or with `weights` of `kzoo.transfer`, in a process and a folder of its own. One
    that crashes, diverges, or takes more than it may, is a row in the table with its reason. Other processes, on this
    machine or on others that share the folder, can join at any moment: `resume`.

    Args:
        model: A name of `kzoo.list_models()`.
        dataset: A name or a path, as `kzoo.data.load` takes it.
        search_dir: An empty or new folder.
        config: How to search.
        weights: Pretrained weights to fine-tune in each trial: a tag, a file or a folder.
        like: For weights in a file: the tag whose preprocessing and class names they take.
        train: What every trial has where the space says nothing, and what the first trial starts from.
        transfer: Likewise.
        space: What to search, as `space_for` gives it; by default that.
        **data: image_size, channels, data_dir, download and on_bad_image of `kzoo.data.load`.

    Raises:
        InvalidArgument: Arguments that do not fit together, or keras-tuner is not installed.
        DataError: There is no such dataset, or it cannot be used.
        WeightsError: Weights that are not on this machine.
        RunError: `search_dir` is occupied, or no trial completed.
        TrainingInterrupted: Ctrl-C; `resume` goes on.
    """
    config = config or SearchConfig()
    base = _base(model, dataset, weights, like, train, transfer, data)
    space = None if space is None else spaces.check(space)
    folder = paths.expand(search_dir)
    with _helper() as helper:
        store.check_free(folder)
        settings, task = _resolve_settings(helper, base, config, space)
        store.make(folder)
        with store.locked(folder):
            store.check_free(folder)
            store.write(folder, State(settings=settings, task=task))
        console.log(f"search directory {folder}")
        return _work(folder, helper, config.workers)


def _refuse_workers(strategy: str) -> None:
    if find_cluster(strategy) is not None:
        raise InvalidArgument(
            "Each trial of a search trains in one process. Received: several workers, in TF_CONFIG or as strategy "
            "'multiworker'. Any number of kzoo search --resume processes, on machines that share its folder, do."
        )


def resume(search_dir: str | Path, *, workers: int | None = None) -> SearchResult:
    """Continue a search to its end, or join the processes that are at it, on any machine that shares the folder.

    Trials that ended are kept. A trial whose process has died goes on from its checkpoint.

    Args:
        search_dir: A folder of `search`. A finished search is not done again.
        workers: Trials at the same time in this process; by default as many as `search` was told.

    Raises:
        InvalidArgument: Not a search directory.
        WeightsError: The weights that trials fine-tune are not on this machine.
        RunError: A file is damaged, the data has changed, or no trial completed.
        TrainingInterrupted: Ctrl-C.
    """
    _refuse_workers("auto")
    folder = paths.expand(search_dir)
    state = store.read(folder)
    with _helper() as helper:
        if state.result is not None:
            console.log(f"this search is finished: {len(state.trials)} trials in {folder}")
            return _result(folder, state, state.result)
        load, began_with = state.settings.load, state.settings.base.origin
        onednn.prepare(began_with.onednn if began_with else None)  # for the trials, which are children of this process
        if (found := fingerprint(load.name, load.data_dir)) != state.settings.fingerprint:
            raise RunError(
                f"The data of this search has changed. Received: {found[:12]}, began with "
                f"{state.settings.fingerprint[:12]}. Restore {load.name!r}, or begin a new search."
            )
        if (model := state.settings.model).weights is not None:
            resolve_weights(model.name, model.weights, model.like)  # without them every trial would fail here
        for change in differences(began_with):
            console.warn(f"not as this search began: {change}")
        console.log(f"resuming {folder} after {len(state.trials) - len(state.running)} trials")
        return _work(folder, helper, workers or state.settings.search.workers)


def space_for(
    model: str,
    dataset: str,
    *,
    weights: str | None = None,
    like: str | None = None,
    train: TrainConfig | None = None,
    transfer: TransferConfig | None = None,
    config: SearchConfig | None = None,
    **data: Any,
) -> dict:
    """The default space of a `search` with these arguments: plain data, to look at, to edit and to give to it."""
    base = _base(model, dataset, weights, like, train, transfer, data)
    with _helper() as helper:
        settings, _ = _resolve_settings(helper, base, config or SearchConfig(), None)
    return settings.space


def _base(model, dataset, weights, like, train, transfer, data) -> RunRecord:
    """The run of every trial where the space says nothing; its weights must be on this machine."""
    _refuse_workers((train or TrainConfig()).strategy)
    if weights is None and (like is not None or transfer not in (None, TransferConfig())):
        given = like if like is not None else transfer
        raise InvalidArgument(
            f"To fine-tune in a search, pass weights (--weights). Received: {given!r} without weights."
        )
    for name in data:
        if name not in DATA_ARGUMENTS:
            raise unknown("argument of a search", name, DATA_ARGUMENTS)
    given = {name: value for name, value in data.items() if value is not None}
    transfer = None if weights is None else transfer or TransferConfig()
    record = run_record(model, dataset, config=train, weights=weights, like=like, transfer=transfer, **given)
    if weights is None and "image_size" not in given:  # each model of the space has its default
        assert record.data.load is not None  # noqa: S101 - for the type checker
        record = replace(record, data=DataRecord(replace(record.data.load, image_size=None)))
    return record


@contextmanager
def _helper() -> Iterator[HelperProcess]:
    for name in ("keras_tuner", "psutil"):
        if importlib.util.find_spec(name) is None:
            raise InvalidArgument(f"A search needs more packages. Received: no {name}. pip install 'kzoo[search]'")
    with ForkServer() as server:
        helper = HelperProcess(server)
        try:
            yield helper
        finally:
            helper.close()


def _resolve_settings(
    helper: HelperProcess, base: RunRecord, config: SearchConfig, space: dict | None
) -> tuple[Settings, Task]:
    """Put a value in every place that was left open, for this data and this machine."""
    helper.server.begin()
    hardware = probe()
    gpus = share_of_gpus(0, config.workers, len(hardware.gpus))
    train, reasons = resolve(base.train, hardware if gpus is None else usable_only(hardware, len(gpus)))
    for reason in reasons:
        console.log(reason)
    base = replace(base, train=train, origin=origin())
    settings = Settings(search=config, base=base, space=space or {}, fingerprint="")
    model, load, transfer = settings.model, settings.load, base.transfer or TransferConfig()
    pretrained = None if model.weights is None else {"weights": model.weights, "like": model.like}
    models = [model.name] if pretrained else spaces.models(settings.space, model.name)
    task = plain.read(Task, helper.ask("inspect", models=models, load=asdict(load), pretrained=pretrained))
    train = spaces.with_epochs(train, task)
    settings = replace(settings, base=replace(base, train=train))
    if space is None:
        space = spaces.default_space(task, train, transfer)
        if config.algorithm == "hyperband":
            del space["epochs"]  # which it chooses itself
    spaces.check_suits(space, task)
    # What cannot be trained in the first trial cannot be trained at all.
    spaces.trial_config(spaces.starts(space), space, train, model.name, task, transfer)
    if config.algorithm == "hyperband" and "epochs" in space:
        raise InvalidArgument("hyperband chooses the epochs itself. Received: a space with 'epochs'. Take it out.")
    return replace(settings, space=space, fingerprint=fingerprint(load.name, load.data_dir)), task


def _work(folder: Path, helper: HelperProcess, slots: int) -> SearchResult:
    """Take part in a search until it has its result."""
    helper.server.begin()
    with Lease(folder) as lease:
        trials = Trials(folder, lease, Observer(folder), helper, slots)
        try:
            while (result := trials.look().result) is None:
                worker.run(trials, slots)
                if trials.is_finisher:
                    trials.write_result(finish(folder, trials.look(), helper))
        except KeyboardInterrupt:
            trials.write_seconds()
            done = len(ranking.completed(trials.look().trials))
            raise TrainingInterrupted(
                f"Interrupted after {done} trials. Continue with: {paths.command('kzoo', 'search', '--resume', folder)}"
            ) from None
    return _result(folder, trials.look(), result)


def _result(folder: Path, state: State, best: BestTrial) -> SearchResult:
    trials = [{**asdict(trial), "values": state.values_of(trial)} for trial in state.trials]
    found = {**asdict(best), "values": state.values_of(best)}
    return SearchResult(found, trials, folder / store.BEST, folder, state.settings.base.command)


def best_of(
    search_dir: str | Path, train: dict[str, Any], transfer: dict[str, Any], *, all_data: bool = False
) -> RunRecord:
    """The run of a finished search's best trial, except for some values: `kzoo.train.start` trains it again.

    Args:
        search_dir: A search directory.
        train: Fields of `TrainConfig` that shall be these. What kzoo derives from them is derived anew.
        transfer: Likewise, of `TransferConfig`.
        all_data: Whether to train without validation data, so that epochs are as many as the best trial's best model
            had where that was stopped early.

    Raises:
        InvalidArgument: Not a search directory, or values that do not fit together.
        RunError: The search is not finished.
    """
    folder = paths.expand(search_dir)
    state = store.read(folder)
    if state.result is None:
        raise RunError(
            f"This search is not finished. Received: {str(search_dir)!r}. Finish it: "
            f"{paths.command('kzoo', 'search', '--resume', search_dir)}"
        )
    best, settings, base = state.result, state.settings, state.settings.base
    run_dir = store.run_dir(folder, best.run)
    metrics = runs.read_metrics(run_dir)
    found: dict[str, Any] = {"epochs": best.epochs}
    if all_data and runs.read_record(run_dir).train.early_stopping is not None and "early_stopping" not in train:
        found = {"early_stopping": None, "epochs": max(1, metrics["best_epoch"])}
        if "epochs" not in train:
            console.log(f"no early stopping without validation data: {found['epochs']} epochs, as of the best model")
    given = {**found, **train, **transfer}
    values = {name: value for name, value in best.values.items() if name not in given}
    if "augment" in given:
        values.pop("augment_strength", None)
    # This machine may choose another precision and strategy than the search's.
    asked = {"precision": base.requested.precision, "strategy": base.requested.strategy}
    wanted = replace(base.train, **{**asked, **found, **train})
    fine_tuning = replace(base.transfer or TransferConfig(), **transfer)
    config = spaces.trial_config(values, settings.space, wanted, settings.model.name, state.task, fine_tuning)
    record = trial_record(settings, config)
    return replace(
        record,
        requested=config.train,
        data=replace(record.data, all_data=all_data),
        fine_tuning=FineTuningState(kept=metrics.get("kept")),
        origin=None,
    )

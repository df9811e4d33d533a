"""`search` and `resume`: from a model and a dataset to the best configuration, and what can be said of it."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from kzoo import console, plain
from kzoo.data.loading import absolute, fingerprint
from kzoo.errors import InvalidArgument, RunError
from kzoo.hardware import probe, usable_only
from kzoo.models.registry import check_name
from kzoo.search import space as spaces
from kzoo.search import store, worker
from kzoo.search.finishing import finish
from kzoo.search.helper import Helper
from kzoo.search.leases import Lease, Observer
from kzoo.search.processes import share_of_gpus
from kzoo.search.settings import Pretrained, SearchConfig, Settings
from kzoo.search.space import Task
from kzoo.search.store import BestTrial, State
from kzoo.search.trials import Trials
from kzoo.train import runs
from kzoo.train.config import TrainConfig
from kzoo.train.precision import resolve
from kzoo.transfer.config import TransferConfig
from kzoo.transfer.loading import images_for, portable
from kzoo.weights.resolve import resolve as resolve_weights


@dataclass(frozen=True)
class SearchResult:
    """What a search gives back."""

    best: dict[str, Any]
    """The best configuration: values, accuracy (on the validation split, mean over seeds), accuracies, epochs, trial
    and run (numbers), test (figures of the test split, which no trial has seen, or None), verified."""
    trials: list[dict[str, Any]]
    """A row per trial, as in search.json."""
    model_path: Path
    """The best model, a `.keras` file."""
    search_dir: Path
    command: Literal["train", "finetune"]
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
    start = _start(model, weights, like, train, transfer, data.get("image_size"))
    space = None if space is None else spaces.check(space)
    folder = Path(search_dir).expanduser()
    with _helper() as helper:
        store.check_free(folder)
        settings, task = _settle(helper, start, dataset, config, space, data)
        store.make(folder)
        with store.locked(folder):
            store.check_free(folder)
            store.write(folder, State(settings=settings, task=task, origin=runs.origin()))
        console.log(f"search directory {folder}")
        return _work(folder, helper, config.workers)


def resume(search_dir: str | Path, *, workers: int | None = None) -> SearchResult:
    """Continue a search to its end, or join the processes that are at it, on any machine that shares the folder.

    Trials that ended are kept. A trial whose process has died goes on from its checkpoint.

    Args:
        search_dir: A folder of `search`. A finished search is not done again.
        workers: Trials at the same time in this process; by default as many as `search` was told.

    Raises:
        InvalidArgument: Not a search directory.
        RunError: A file is damaged, or no trial completed.
        TrainingInterrupted: Ctrl-C.
    """
    folder = Path(search_dir).expanduser()
    state = store.read(folder)
    with _helper() as helper:
        if state.result is not None:
            console.log(f"this search is finished: {len(state.trials)} trials in {folder}")
            return _result(folder, state, state.result)
        load = state.settings.load
        if (found := fingerprint(load["name"], load["data_dir"])) != state.settings.fingerprint:
            raise RunError(
                f"The data of this search has changed. Received: {found[:12]}, began with "
                f"{state.settings.fingerprint[:12]}. Restore {load['name']!r}, or begin a new search."
            )
        for change in runs.differing_versions(state.origin):
            console.warn(f"not the versions this search began with: {change}")
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
    **data: Any,
) -> dict:
    """The default search space for a model and a dataset: plain data, to look at, to edit and to give to `search`.

    Args:
        model: A name of `kzoo.list_models()`.
        dataset: A name or a path.
        weights: As in `search`.
        like: Likewise.
        train: Where the search is to start.
        transfer: Likewise.
        **data: As in `search`.
    """
    start = _start(model, weights, like, train, transfer, data.get("image_size"))
    with _helper() as helper:
        settings, _ = _settle(helper, start, dataset, SearchConfig(), None, data)
    return settings.space


@dataclass(frozen=True)
class _Start:
    """What every trial has where the space says nothing."""

    model: str
    pretrained: Pretrained | None
    images: dict[str, Any]
    """How images are loaded for the pretrained weights."""
    train: TrainConfig
    transfer: TransferConfig


def _start(model, weights, like, train, transfer, image_size) -> _Start:
    """Look at a model and its weights, which must be on this machine."""
    check_name(model)
    if weights is None and (like is not None or transfer not in (None, TransferConfig())):
        given = like if like is not None else transfer
        raise InvalidArgument(f"To fine-tune in a search, pass weights (--weights). Received: {given!r} without.")
    pretrained, images = None, {}
    if weights is not None:
        images = images_for(model, resolve_weights(model, weights, like), image_size)
        pretrained = Pretrained(weights=portable(model, weights), like=like)
    return _Start(model, pretrained, images, train or TrainConfig(), transfer or TransferConfig())


@contextmanager
def _helper() -> Iterator[Helper]:
    if importlib.util.find_spec("keras_tuner") is None or importlib.util.find_spec("psutil") is None:
        raise InvalidArgument(
            "A search needs keras-tuner and psutil. Received: neither or one. pip install 'kzoo[search]'"
        )
    helper = Helper()
    try:
        yield helper
    finally:
        helper.close()


def _settle(helper, start: _Start, dataset, config, space, data) -> tuple[Settings, Task]:
    """Put a value in every place that was left open, for this data and this machine."""
    load = _load_arguments(start, dataset, data)
    models = [start.model]
    if space and "model" in space and start.pretrained is None:
        models = space["model"]["values"]
    hardware = probe()
    gpus = share_of_gpus(0, config.workers, len(hardware.gpus))
    train, reasons = resolve(start.train, hardware if gpus is None else usable_only(hardware, len(gpus)))
    for reason in reasons:
        console.log(reason)
    pretrained = None if start.pretrained is None else asdict(start.pretrained)
    task = plain.read(Task, helper.ask("inspect", models=models, load=load, pretrained=pretrained))
    space = space or spaces.default_space(task, train, start.transfer)
    spaces.check_suits(space, task)
    # What cannot be trained in the first trial cannot be trained at all.
    spaces.trial_config(spaces.starts(space), space, train, start.model, task, start.transfer)
    if config.algorithm == "hyperband" and "epochs" in space:
        raise InvalidArgument("hyperband chooses the epochs itself. Received: a space with 'epochs'. Take it out.")
    settings = Settings(
        model=start.model,
        load=load,
        search=config,
        train=train,
        requested={"precision": start.train.precision, "strategy": start.train.strategy},
        space=space,
        fingerprint=fingerprint(load["name"], load["data_dir"]),
        transfer=start.transfer,
        pretrained=start.pretrained,
    )
    return settings, task


def _load_arguments(start: _Start, dataset, data: dict) -> dict:
    """How every trial loads its data: arguments of `kzoo.data.load`, as plain data."""
    own = {"image_size": None, "channels": None, "download": False, "on_bad_image": "stop"}
    for name in data:
        if name not in (*own, "data_dir"):
            valid = ", ".join((*own, "data_dir"))
            raise InvalidArgument(f"No such argument of a search. Received: {name!r}. Valid: {valid}.")
    given = {name: value for name, value in data.items() if value is not None}
    load = {**own, **absolute(dataset, given.pop("data_dir", None)), **start.images, **given}
    size = load["image_size"]
    return {**load, "image_size": [size] * 2 if isinstance(size, int) else None if size is None else list(size)}


def _work(folder: Path, helper: Helper, slots: int) -> SearchResult:
    """Take part in a search until it has its result."""
    with Lease(folder) as lease:
        trials = Trials(folder, lease, Observer(folder), helper, slots)
        while (result := trials.look().result) is None:
            worker.run(trials, slots)
            if trials.is_finisher:
                trials.write_result(finish(folder, trials.look(), helper))
    return _result(folder, trials.look(), result)


def _result(folder: Path, state: State, best: BestTrial) -> SearchResult:
    command = "train" if state.settings.pretrained is None else "finetune"
    trials = [asdict(trial) for trial in state.trials]
    return SearchResult(asdict(best), trials, folder / store.BEST, folder, command)


@dataclass(frozen=True)
class Best:
    """The best trial of a search, to be trained again."""

    trial: spaces.TrialConfig
    settings: Settings
    kept: str | None
    """Of fine-tuning: "head" where the new classifier alone was the best model, else "fine_tuned"."""


def best_of(search_dir: str | Path, train: dict[str, Any], transfer: dict[str, Any], *, all_data: bool = False) -> Best:
    """The best trial of a finished search, but for some values.

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
    folder = Path(search_dir).expanduser()
    state = store.read(folder)
    if state.result is None:
        raise RunError(
            f"This search is not finished. Received: {str(search_dir)!r}. Finish it: kzoo search --resume {search_dir}"
        )
    best, settings = state.result, state.settings
    run_dir = store.run_dir(folder, best.run)
    metrics = runs.read_json(run_dir / runs.METRICS)
    own = {"epochs": best.epochs}
    if all_data and runs.read_config(run_dir)["train"].early_stopping is not None and "early_stopping" not in train:
        own = {"early_stopping": None, "epochs": max(1, metrics["best_epoch"])}
        if "epochs" not in train:
            console.log(f"no early stopping without validation data: {own['epochs']} epochs, as of the best model")
    given = {**own, **train, **transfer}
    values = {name: value for name, value in best.values.items() if name not in given}
    if "augment" in given:
        values.pop("augment_strength", None)
    # Of what was left to kzoo, this machine may want another than the search's.
    base = replace(settings.train, **{**settings.requested, **own, **train})
    base_transfer = replace(settings.transfer, **transfer)
    trial = spaces.trial_config(values, settings.space, base, settings.model, state.task, base_transfer)
    return Best(trial, settings, metrics.get("kept"))

"""`search` and `resume`: from a model and a dataset to the best configuration, and what can be said of it."""

import importlib.util
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from kzoo import console
from kzoo.data.loading import absolute, fingerprint
from kzoo.errors import InvalidArgument, RunError
from kzoo.files import atomic_path
from kzoo.hardware import probe, usable_only
from kzoo.models.registry import check_name
from kzoo.search import cluster, loop, ranking, store
from kzoo.search import space as spaces
from kzoo.search.config import SearchConfig
from kzoo.search.helper import Helper
from kzoo.search.processes import Child, share_of_gpus
from kzoo.search.trials import Trials, run_record
from kzoo.train import runs
from kzoo.train.config import TrainConfig, TransferConfig
from kzoo.train.precision import resolve
from kzoo.train.record import FineTuningState, RunRecord, differing_versions, origin
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
    that crashes, diverges, or takes more than it may, is a row in the table with its reason. On several machines that
    share a folder, the same call is a chief or a worker by keras-tuner's environment variables (`kzoo.search.cluster`).

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
    if (worker := cluster.worker_name()) is not None:
        return _work(folder, worker)
    with _helper() as helper:
        store.check_free(folder)
        settings, facts = _settle(helper, start, dataset, config, space, data)
        store.make(folder)
        with runs.lock(folder, "searching here"):
            store.check_free(folder)
            state = store.State(settings, asdict(facts), origin=asdict(origin()))
            store.write(folder, state)
            console.log(f"search directory {folder}")
            return _run(folder, state, helper, config.workers)


def resume(search_dir: str | Path, *, workers: int | None = None) -> SearchResult:
    """Continue a search to its end: what was finished is kept, what was in progress goes on from its checkpoint.

    Args:
        search_dir: A folder of `search`. A finished search is not done again.
        workers: Another number of them.

    Raises:
        InvalidArgument: Not a search directory.
        RunError: Another process is at it, a file is damaged, or no trial completed.
        TrainingInterrupted: Ctrl-C.
    """
    folder = Path(search_dir).expanduser()
    if (worker := cluster.worker_name()) is not None:
        return _work(folder, worker)
    store.read(folder)
    with _helper() as helper, runs.lock(folder, "searching here"):
        state = store.read(folder)
        if state.result is not None:
            console.log(f"this search is finished: {len(state.trials)} trials in {folder}")
            return _result(folder, state)
        load = state.settings.load
        if (found := fingerprint(load["name"], load["data_dir"])) != state.settings.fingerprint:
            raise RunError(
                f"The data of this search has changed. Received: {found[:12]}, began with "
                f"{state.settings.fingerprint[:12]}. Restore {load['name']!r}, or begin a new search."
            )
        for change in differing_versions(state.origin["versions"]):
            console.warn(f"not the versions this search began with: {change}")
        done = sum(trial["status"] != "running" for trial in state.trials)
        console.log(f"resuming {folder} after {done} trials")
        return _run(folder, state, helper, workers or SearchConfig(**state.settings.search).workers)


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
    pretrained: dict[str, str | None] | None
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
        pretrained = {"weights": portable(model, weights), "like": like}
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


def _settle(helper, start: _Start, dataset, config, space, data) -> tuple[store.Settings, spaces.Facts]:
    """Put a value in every place that was left open, for this data and this machine."""
    load = _load_arguments(start, dataset, data)
    models = [start.model]
    entry = (space or {}).get("model")
    if entry and start.pretrained is None:
        models = entry["values"]
    hardware = probe()
    gpus = share_of_gpus(0, config.workers, len(hardware.gpus))
    train, reasons = resolve(start.train, hardware if gpus is None else usable_only(hardware, len(gpus)))
    for reason in reasons:
        console.log(reason)
    facts = spaces.Facts(**helper.ask("inspect", models=models, load=load, pretrained=start.pretrained))
    space = space or spaces.default_space(facts, train, start.transfer)
    spaces.check_suits(space, facts)
    # What cannot be trained in the first trial cannot be trained at all.
    spaces.place(spaces.starts(space), space, train, start.model, facts, start.transfer)
    if config.algorithm == "hyperband" and "epochs" in space:
        raise InvalidArgument("hyperband chooses the epochs itself. Received: a space with 'epochs'. Take it out.")
    settings = store.Settings(
        model=start.model,
        load=load,
        search=asdict(config),
        train=asdict(train),
        requested={"precision": start.train.precision, "strategy": start.train.strategy},
        space=space,
        fingerprint=fingerprint(load["name"], load["data_dir"]),
        transfer=asdict(start.transfer),
        pretrained=start.pretrained,
    )
    return settings, facts


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


def _run(folder: Path, state: store.State, helper: Helper, workers: int) -> SearchResult:
    """Search to the end, then say what was found."""
    trials = Trials(folder, state, helper)
    if cluster.role() is not None:
        with cluster.leading(trials):
            return _finish(trials)
    loop.run(trials, workers)
    return _finish(trials)


def _finish(trials: Trials) -> SearchResult:
    """Say what was found, and make sure of it."""
    folder, state = trials.folder, trials.state
    if not ranking.completed(state.trials):
        reasons = [trial["reason"] for trial in state.trials] or ["no trial was begun"]
        raise RunError(f"No trial of the search completed. Received: {reasons[-1]} See {folder / store.TRIALS}.")
    best = ranking.winner(state.trials, trials.facts.validation_images)
    run_dir = store.run_dir(folder, state.trials[best["run"]])
    with atomic_path(folder / store.BEST) as temporary:
        shutil.copyfile(run_dir / runs.BEST, temporary)
    best["verified"] = _verified(folder, run_dir, state.trials[best["run"]])
    best["test"] = _evaluate(folder, run_dir, "test")
    best["pareto"] = sorted(ranking.pareto(state.trials))
    trials.helper.ask("plot", folder=str(folder), best=best)
    state.result = best
    store.write(folder, state)
    return _result(folder, state)


def _work(folder: Path, name: str) -> SearchResult:
    """Run trials for a chief on another machine."""
    done = cluster.work(folder, name)
    console.log(f"worker {name} has run {done} trials")
    return _result(folder, store.read(folder))


def _result(folder: Path, state: store.State) -> SearchResult:
    assert state.result is not None  # noqa: S101 - the search is finished
    command = "train" if state.settings.pretrained is None else "finetune"
    return SearchResult(state.result, state.trials, folder / store.BEST, folder, command)


def _verified(folder: Path, run_dir: Path, trial: dict) -> bool:
    """Whether the best model, loaded in a fresh process, has the score that its trial reported."""
    figures = _evaluate(folder, run_dir, "validation")
    # The same images in the same precision: rounding may differ by the number of cores, so that a tie tips over.
    same = figures is not None and abs(figures["accuracy"] - trial["accuracy"]) * figures["images"] < 1.5
    if not same:
        found = "nothing" if figures is None else figures["accuracy"]
        console.warn(f"loaded again, the best model scores {found}, not {trial['accuracy']}: {run_dir}")
    return same


def _evaluate(folder: Path, run_dir: Path, split: str) -> dict | None:
    """Figures of a run's best model by `kzoo evaluate`, in a fresh process; None, and a line why, if it fails."""
    child = Child(["evaluate", str(run_dir), "--split", split, "--json"], run_dir / store.LOG)
    try:
        status = child.finish()
    except KeyboardInterrupt:
        child.kill("Ctrl-C")
        raise
    if status != 0:
        console.log(f"no {split} figures: {child.reason(status)}")
        return None
    return json.loads(child.last_line())


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
    folder = Path(search_dir).expanduser()
    state = store.read(folder)
    if state.result is None:
        raise RunError(
            f"This search is not finished. Received: {str(search_dir)!r}. Finish it: kzoo search --resume {search_dir}"
        )
    best, settings = state.result, state.settings
    run_dir = store.run_dir(folder, state.trials[best["run"]])
    metrics = runs.read_metrics(run_dir)
    own = {"epochs": best["epochs"]}
    if all_data and runs.read_record(run_dir).train.early_stopping is not None and "early_stopping" not in train:
        own = {"early_stopping": None, "epochs": max(1, metrics["best_epoch"])}
        if "epochs" not in train:
            console.log(f"no early stopping without validation data: {own['epochs']} epochs, as of the best model")
    given = {**own, **train, **transfer}
    values = {name: value for name, value in best["values"].items() if name not in given}
    if "augment" in given:
        values.pop("augment_strength", None)
    # Of what was left to kzoo, this machine may want another than the search's.
    base = replace(TrainConfig(**settings.train), **{**settings.requested, **own, **train})
    base_transfer = replace(TransferConfig(**settings.transfer), **transfer)
    trial = spaces.place(values, settings.space, base, settings.model, spaces.Facts(**state.facts), base_transfer)
    record = run_record(settings, trial)
    return replace(
        record,
        requested=trial.config,
        data=replace(record.data, all_data=all_data),
        fine_tuning=FineTuningState(kept=metrics.get("kept")),
    )

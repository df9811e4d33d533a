"""`kzoo search`."""

from dataclasses import asdict
from json import dumps
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from kzoo.cli import _model, _runs
from kzoo.cli._options import DataOptions, ImageSize, check_resume, parse_image_size, was_given
from kzoo.cli._output import Json, percent, print_json, print_line, print_table
from kzoo.errors import InvalidArgument
from kzoo.paths import command as command_line
from kzoo.search.settings import SearchConfig
from kzoo.train.config import TrainConfig, TransferConfig


def command(
    model: str | None = None,
    dataset: str | None = None,
    /,
    *,
    weights: _model.Weights = None,
    like: _model.Like = None,
    resume: str | None = None,
    run_dir: str | None = None,
    space: str | None = None,
    print_space: bool = False,
    search: Annotated[SearchConfig, Parameter(name="*")] = SearchConfig(),  # noqa: B008 - frozen
    transfer: Annotated[TransferConfig, Parameter(name="*")] = TransferConfig(),  # noqa: B008 - frozen
    config: Annotated[TrainConfig, Parameter(name="*", consume_multiple=True)] = TrainConfig(),  # noqa: B008 - frozen
    data: DataOptions = DataOptions(),  # noqa: B008 - frozen
    image_size: ImageSize = None,
    channels: int | None = None,
    json: Json = False,
) -> None:
    """Search for the hyperparameters that train a model best on a dataset, or resume a search.

    With --weights, trials fine-tune them. The flags of `kzoo train` and `kzoo finetune` say where the search starts,
    and what every trial has where the space says nothing.

    Args:
        model: A name of `kzoo list`.
        dataset: What `kzoo train` takes.
        resume: A search directory to continue to its end. Any number of processes can do so at the same time, also on
            other machines that share the folder; --workers may be another number.
        run_dir: Folder for the search: table, plot, best model, a run directory per trial [default:
            runs/search-MODEL-DATASET-TIME].
        space: A JSON file with the search space [default: what --print-space shows].
        print_space: Print the search space as JSON, and end.
        channels: Channels of the images, 1 or 3 [default: the data's].
    """
    from kzoo.search import searching

    if resume is not None:
        check_resume(model, "workers")
        result = searching.resume(resume, workers=search.workers if was_given("workers") else None)
        _print_result(result, json)
        return
    if model is None or dataset is None:
        raise InvalidArgument(
            "kzoo search takes a MODEL and a DATASET, or --resume RUN. Try: kzoo search mnist_net digits --trials 5"
        )
    start = {"weights": weights, "like": like, "train": config, "transfer": transfer}
    load = {"image_size": parse_image_size(image_size), "channels": channels, **asdict(data)}
    chosen = None if space is None else searching.spaces.read(space)
    if print_space:
        chosen = chosen or searching.space_for(model, dataset, config=search, **start, **load)
        for line in dumps(chosen, indent=2).splitlines():
            print_line(line)
        return
    folder = Path(run_dir or _runs.run_dir_for(model, dataset, "search-"))
    _print_result(searching.search(model, dataset, folder, config=search, space=chosen, **start, **load), json)


def _print_result(result, json: bool) -> None:
    best = result.best
    if json:
        print_json({"run_dir": str(result.search_dir), "best": best, "trials": result.trials})
        return
    from kzoo.search.store import shown

    names = list(best["values"])
    rows = [
        (
            trial["number"],
            _note(trial, best),
            percent(trial["accuracy"]),
            "-" if trial["images_per_second"] is None else f"{trial['images_per_second']:,.0f}",
            "-" if trial["parameters"] is None else f"{trial['parameters']:,}",
            trial["epochs"],
            trial["seconds"],
            *(shown(trial["values"].get(name)) for name in names),
        )
        for trial in result.trials
    ]
    columns = ("trial", "", "validation accuracy", "images/s", "parameters", "epochs", "seconds", *names)
    print_table(columns, rows)
    several = f", mean of {len(best['accuracies'])} seeds" if len(best["accuracies"]) > 1 else ""
    print_table(
        ("result", "value"),
        [
            ("best trial", best["trial"]),
            ("validation accuracy", percent(best["accuracy"]) + several),
            ("the same, loaded again", "yes" if best["verified"] else "NO"),
            ("test accuracy", percent(best["test"] and best["test"]["accuracy"])),
            ("best model", result.model_path),
            ("train it again", command_line("kzoo", result.command, "--from-search", result.search_dir)),
        ],
    )


def _note(trial: dict, best: dict) -> str:
    """What a row of the table has to say besides its numbers."""
    notes = [
        ("best", trial["number"] == best["trial"]),
        (f"repeats {trial['repeats']}", trial["repeats"] is not None),
        ("Pareto", trial["number"] in best["pareto"]),
        (trial["reason"], trial["status"] == "failed"),
    ]
    return ", ".join(text for text, holds in notes if holds)

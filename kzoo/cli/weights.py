"""`kzoo weights`: list, fetch, add, verify, path."""

from dataclasses import asdict
from typing import Annotated

from cyclopts import App, Parameter

from kzoo.cli._output import Json, percent, print_json, print_line, print_table
from kzoo.errors import WeightsError, unknown
from kzoo.weights import checksums, store
from kzoo.weights.locations import on_disk
from kzoo.weights.record import Record
from kzoo.weights.registry import get_record, is_imagenet, list_weights

app = App(name="weights", help="List, fetch, verify and add pretrained weights.")


@app.command(name="list")
def list_command(pattern: str = "*", /, *, json: Json = False) -> None:
    """List the pretrained weights that kzoo knows; the first of a model is its default.

    The column "stated by" says who published an accuracy; kzoo did not measure it unless it says so. "imagenet" marks
    what `--weights imagenet` means: the best accuracy of the weights whose licence does not forbid commercial use.

    Args:
        pattern: A model, or a shell pattern for models, such as "resnet*".
    """
    records = list_weights(pattern)
    if not records:
        raise unknown("model with pretrained weights", pattern, {record.model for record in list_weights()})
    here = [next(on_disk(record), None) for record in records]
    if json:
        found = zip(records, here, strict=True)
        print_json(
            {
                "weights": [
                    {**asdict(r), "imagenet": is_imagenet(r), "path": str(location.path) if location else None}
                    for r, location in found
                ]
            }
        )
        return
    print_table(
        ("model", "tag", "note", "classes", "top-1", "stated by", "size", "on disk"),
        [
            (
                record.model,
                record.tag,
                "imagenet" if is_imagenet(record) else "non-commercial" if record.non_commercial else "-",
                record.classes,
                percent(record.accuracy.top1 if record.accuracy else None),
                record.accuracy.stated_by if record.accuracy else "-",
                _megabytes(record.size),
                "yes" if location else "no",
            )
            for record, location in zip(records, here, strict=True)
        ],
    )


@app.command(name="fetch")
def fetch_command(
    model: str,
    tag: str | None = None,
    /,
    *,
    source: Annotated[str | None, Parameter(name="--from")] = None,
    json: Json = False,
) -> None:
    """Bring pretrained weights onto this machine, verified, and print where they are.

    Args:
        model: A model of `kzoo weights list`.
        tag: Which of its weights [default: the first that `kzoo weights list MODEL` shows].
        source: A folder that has the files: nothing is downloaded then.
    """
    record = get_record(model, tag)
    _print_path(record, store.fetch(record, source=source), json)


@app.command(name="add")
def add_command(
    run: str,
    /,
    *,
    tag: Annotated[str, Parameter(name="--name")],
    overwrite: bool = False,
    json: Json = False,
) -> None:
    """Keep a model of your own as pretrained weights in your cache: a tag, usable wherever a tag is.

    Args:
        run: A finished run directory, whose best model is taken, or a .keras file of a model of `kzoo list`.
        tag: What to call the weights: small letters, digits, ".", "_" and "-".
        overwrite: Replace weights of your own that have this name.
    """
    from kzoo.publishing import add_weights

    record = add_weights(run, tag, overwrite=overwrite)
    _print_path(record, store.require(record), json)


@app.command(name="verify")
def verify_command(model: str = "*", tag: str | None = None, /, *, json: Json = False) -> None:
    """Hash the weights that are on this machine; fails if any is not what its record says.

    Args:
        model: A model, or a shell pattern for models.
        tag: Which of the model's weights.
    """
    records = list_weights(model) if tag is None else [get_record(model, tag)]
    if not records:
        raise unknown("model with pretrained weights", model, {record.model for record in list_weights()})
    if tag is None:
        records = [record for record in records if next(on_disk(record), None)]
    results = [_verify(record) for record in records]
    if json:
        print_json({"weights": results})
    else:
        columns = ("model", "tag", "right", "by", "path")
        shown = {True: "yes", False: "NO", None: "not known"}
        rows = [{**result, "right": shown[result["right"]]} for result in results]
        print_table(columns, [[row[column] for column in columns] for row in rows])
    wrong = [result for result in results if result["right"] is False]
    if wrong:
        raise WeightsError(f"{len(wrong)} of {len(results)} weights are not right. {wrong[0]['problem']}")


@app.command(name="path")
def path_command(model: str, tag: str | None = None, /, *, json: Json = False) -> None:
    """Print where weights are on this machine, verified; fails if they are not here.

    Args:
        model: A model of `kzoo weights list`.
        tag: Which of its weights [default: the first that `kzoo weights list MODEL` shows].
    """
    record = get_record(model, tag)
    _print_path(record, store.require(record), json)


def _verify(record: Record) -> dict:
    problem = None
    location = next(on_disk(record), None)
    try:
        store.verify(record)
    except WeightsError as error:
        problem = f"{error} {store.remedy(record)}" if location else str(error)
    by = _known_by(record, location)
    return {
        "model": record.model,
        "tag": record.tag,
        "right": None if by == "nothing" and problem is None else problem is None,
        "by": by,
        "path": str(location.path) if location else None,
        "problem": problem,
    }


def _known_by(record, location):
    """What `store.verify` compares, for a reader."""
    if location and location.in_hub_cache:
        return "hub"
    return checksums.hash_kind(record.files[0]) or "nothing"


def _print_path(record, path, json):
    if json:
        print_json({"model": record.model, "tag": record.tag, "path": str(path)})
    else:
        print_line(path)


def _megabytes(size):
    return "-" if size is None else f"{size / 1e6:.1f} MB"

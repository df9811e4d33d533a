"""`kzoo ensemble`."""

from pathlib import Path

from kzoo import console, paths
from kzoo.cli._model import Like, Weights, find, load
from kzoo.cli._output import Json, percent, print_json, print_table
from kzoo.errors import InvalidArgument
from kzoo.models.registry import is_name
from kzoo.train import runs
from kzoo.train.record import EnsembleRecord


def command(
    *members: str,
    out: str,
    weights: Weights = None,
    like: Like = None,
    json: Json = False,
) -> None:
    """Average the probabilities of trained models into one model, in a run directory of its own.

    Args:
        members: Run directories, ensembles among them, and .keras files; with --weights also names of `kzoo list`. They
            must have the same classes in the same order.
        out: A new or empty folder.
    """
    if len(members) < 2:
        raise InvalidArgument(f"An ensemble has at least two members. Received: {', '.join(members) or 'none'}.")
    named = [name for name in members if _is_of_zoo(name)]
    if weights is not None and not named:
        raise InvalidArgument(f"--weights is for names of kzoo list. Received: {', '.join(members)}.")
    found = [find(name, *((None, None) if weights and name not in named else (weights, like))) for name in members]
    from kzoo.ensemble.directory import save_named

    models = [
        (name, name) if chosen is None else (f"{name} {weights}", load(name, chosen, "best", "float32"))
        for name, chosen in zip(members, found, strict=True)
    ]
    folder = save_named(models, out)
    made = runs.read_record(folder).ensemble
    assert made is not None  # noqa: S101 - for the type checker
    if json:
        print_json({"run_dir": str(folder), "members": as_json(made)})
        return
    print_members(made, f"ensemble {out}")
    for then in (("evaluate", out), ("predict", out, "IMAGE")):
        console.log(f"next: {paths.command('kzoo', *then)}")


def _is_of_zoo(name: str) -> bool:
    return is_name(name) and not Path(name).exists()


def as_json(ensemble: EnsembleRecord) -> list[dict]:
    """What is known of the members."""
    return [
        {"source": one.source, "model": one.model, "seed": one.seed, "accuracy": one.accuracy, "split": one.split}
        for one in ensemble.members
    ]


def print_members(ensemble: EnsembleRecord, title: str) -> None:
    """Print what is known of the members, and how good they were when the ensemble was made."""
    rows = [
        (one.source, one.model, "-" if one.seed is None else one.seed, percent(one.accuracy), one.split or "-")
        for one in ensemble.members
    ]
    print_table(("member", "model", "seed", "accuracy", "split"), rows, title=title)

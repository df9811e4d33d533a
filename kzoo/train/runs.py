"""The run directory: the one currency of a training run. Every file in it is whole or not there."""

import csv
import io
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from kzoo import paths, plain
from kzoo.errors import InvalidArgument, RunError, reason_of
from kzoo.files import LARGEST_JSON, is_temporary, locked, read_bytes, write_bytes, write_json, write_text
from kzoo.plotting import new_figure, png
from kzoo.train.record import RunRecord, origin

CONFIG = paths.RUN  # what was asked and what it was resolved to: written first
ARCHITECTURE = "model.json"  # the model without its weights
CHECKPOINT = "checkpoint.safetensors"  # the state to resume from
HISTORY = "history.csv"  # a row per epoch
EVENTS = "tensorboard"  # an events file per epoch
BEST = "best.keras"  # the model of the best epoch by validation accuracy
LAST = "last.keras"  # the model of the last epoch
METRICS = "metrics.json"  # accuracy, per-class figures, confusion matrix
TRAINED_ON = "training_images.safetensors"  # their marks, by which a copy among those to score is noticed
CURVES = "curves.png"  # loss and accuracy by epoch
RATES = "learning_rate.png"  # the schedule, drawn before the first step
HEAD = "head"  # of a run that fine-tunes: the run, within this one, that trained the new classifier
MEMBER = "member-{}"  # of a run that trains an ensemble: the runs of its members, within this one
_LOCK = ".lock"
_REPLACED = ".replaced"  # the run that this one overwrites, whole, until this one has a checkpoint
_MOVING = ".moving"  # files on their way there or back: what a kill leaves here goes back (`recover`)
_FILES = (ARCHITECTURE, CHECKPOINT, HISTORY, BEST, LAST, METRICS, TRAINED_ON, CURVES, RATES, CONFIG)


@contextmanager
def new(run_dir: str | Path, record: RunRecord, *, overwrite: bool = False) -> Iterator[Path]:
    """Make a run directory with its config.json, and hold its lock while the run goes on; needs no TensorFlow.

    A run that ends before its first checkpoint, for whatever reason, leaves the folder as it was: what it replaces is
    put aside, and deleted only when the new run has something to show (`forget_replaced`).
    """
    run_dir = paths.expand(run_dir)
    try:
        is_new_folder = not run_dir.exists()
        run_dir.mkdir(parents=True, exist_ok=True)
        _check_free(run_dir, overwrite)  # before the lock, which is a file too
    except OSError as error:
        raise RunError(f"Cannot write the run directory. Received: run_dir={str(run_dir)!r}: {error}.") from error
    with lock(run_dir):
        _check_free(run_dir, overwrite)
        try:
            _put_aside(run_dir)
        except BaseException:
            _settle(run_dir)
            raise
        try:
            create(run_dir, record)
            yield run_dir
        finally:
            if not has_checkpoint(run_dir):
                _delete_run(run_dir)
                _settle(run_dir)
                if is_new_folder and not any(path.name != _LOCK for path in run_dir.iterdir()):
                    (run_dir / _LOCK).unlink()  # with its folder: who has opened it meanwhile can write no run there
                    run_dir.rmdir()


def create(run_dir: Path, record: RunRecord) -> None:
    """Write the config.json of a run, which can then be resumed."""
    write_record(run_dir, replace(record, origin=origin()))


def recover(run_dir: Path) -> None:
    """Put back the run that a process was about to replace when it was killed, unless the new one has begun."""
    if any((run_dir / name).exists() for name in (_REPLACED, _MOVING)):
        with lock(run_dir):
            _settle(run_dir)


def _put_aside(run_dir: Path) -> None:
    """Move the run that is there into a hidden folder, all or nothing: the last rename counts."""
    _settle(run_dir)
    if (run_dir / _REPLACED).exists():  # the run that is there was killed before it had a checkpoint
        _delete_run(run_dir)
    elif (run_dir / CONFIG).exists():
        _move(run_dir, run_dir / _MOVING)
        _delete_empty_folders(run_dir)
        (run_dir / _MOVING).rename(run_dir / _REPLACED)


def _settle(run_dir: Path) -> None:
    """Undo a replacement that has not begun, and forget what is replaced for good; the caller holds the lock."""
    delete_temporary(run_dir)
    if has_checkpoint(run_dir):
        forget_replaced(run_dir)
    if (run_dir / _REPLACED).exists() and not (run_dir / CONFIG).exists():
        (run_dir / _REPLACED).rename(run_dir / _MOVING)
    if (run_dir / _MOVING).exists():
        _move(run_dir / _MOVING, run_dir)
        shutil.rmtree(run_dir / _MOVING)


def _move(run_dir: Path, target: Path) -> None:
    for path in _run_files(run_dir):
        (target / path.relative_to(run_dir)).parent.mkdir(parents=True, exist_ok=True)
        path.replace(target / path.relative_to(run_dir))


def has_checkpoint(run_dir: Path) -> bool:
    """Whether something of a run is trained: there is a checkpoint, of the run or of one within it."""
    return (run_dir / CHECKPOINT).exists() or any(map(has_checkpoint, _parts(run_dir)))


def _parts(run_dir: Path) -> list[Path]:
    """The runs that are within a run."""
    members = sorted(run_dir.glob(MEMBER.format("[0-9]*")))
    return [part for part in (run_dir / HEAD, *members) if part.is_dir()]


def forget_replaced(run_dir: Path) -> None:
    """Delete what the run has replaced: it has a checkpoint of its own now."""
    shutil.rmtree(run_dir / _REPLACED, ignore_errors=True)


def _check_free(run_dir: Path, overwrite: bool) -> None:
    occupied = [p.name for p in run_dir.iterdir() if p.name != _LOCK and not is_temporary(p)]
    is_run = any(name in occupied for name in (CONFIG, _REPLACED, _MOVING))
    if is_run and not overwrite:
        holds = next(part for part in (run_dir, run_dir / _REPLACED, run_dir / _MOVING) if (part / CONFIG).exists())
        raise RunError(
            f"There is a run here already. Received: run_dir={str(run_dir)!r}. Continue it with "
            f"{read_record(holds).how_to_resume(run_dir)}, pass overwrite=True (--overwrite), or name another folder."
        )
    if occupied and not is_run:
        raise RunError(
            f"The folder is not empty and holds no run. Received: run_dir={str(run_dir)!r}. Name another folder."
        )


def delete_temporary(run_dir: Path) -> None:
    """Remove what a killed process was writing; the caller holds the lock."""
    for folder in (run_dir, run_dir / EVENTS):
        for path in folder.glob(".*"):
            if is_temporary(path):
                path.unlink()
    for part in _parts(run_dir):
        delete_temporary(part)


def _run_files(run_dir: Path) -> list[Path]:
    """The files of a run that are there; config.json, by which a folder is known as a run, last."""
    inner = [path for part in _parts(run_dir) for path in _run_files(part)]
    events = sorted((run_dir / EVENTS).glob("events.out.tfevents.*.kzoo"))
    return inner + events + [run_dir / name for name in _FILES if (run_dir / name).exists()]


def copy(run_dir: Path, target: Path) -> None:
    """Copy what a run goes on from to another folder.

    Raises:
        RunError: It is not there.
    """
    paths_of_run = [path for path in _run_files(run_dir) if path.parent.name != EVENTS]
    if run_dir / CONFIG not in paths_of_run:
        raise RunError(f"There is no run here. Received: {str(run_dir)!r}, as on worker 0. The workers must share it.")
    for path in paths_of_run:
        copied = target / path.relative_to(run_dir)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copied)


def _delete_run(run_dir: Path) -> None:
    delete_temporary(run_dir)
    for path in _run_files(run_dir):
        path.unlink()
    _delete_empty_folders(run_dir)


def _delete_empty_folders(run_dir: Path) -> None:
    """Delete the folders within a run that hold nothing any more but locks of members, which the run's lock guards."""
    parts = _parts(run_dir)
    for part in parts:
        _delete_empty_folders(part)
        if all(path.name == _LOCK for path in part.iterdir()):
            (part / _LOCK).unlink(missing_ok=True)
    for folder in (*parts, run_dir / EVENTS):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


@contextmanager
def lock(run_dir: Path, doing: str = "training this run") -> Iterator[None]:
    """Keep other processes from writing to a run. The system lets go of the lock when a process dies."""
    try:
        with locked(run_dir / _LOCK, wait=False):
            yield
    except BlockingIOError:
        raise RunError(f"Another process is {doing}. Received: {str(run_dir)!r}.") from None


def read_record(run_dir: str | Path) -> RunRecord:
    """The record of a run, from its config.json."""
    path = paths.expand(run_dir) / CONFIG
    try:
        return plain.read(RunRecord, json.loads(read_bytes(path)))
    except (FileNotFoundError, NotADirectoryError):
        if (path.parent / paths.SEARCH).exists():
            resume = paths.command("kzoo", "search", "--resume", run_dir)
            raise InvalidArgument(
                f"This is a search, not a run. Received: {str(run_dir)!r}. Continue it with {resume}"
            ) from None
        raise InvalidArgument(f"Not a run directory: it has no {CONFIG}. Received: {str(run_dir)!r}.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(path, error) from error


def write_record(run_dir: Path, record: RunRecord) -> RunRecord:
    """Write the record of a run; returns it."""
    write_json(run_dir / CONFIG, asdict(record))
    return record


def update_record(run_dir: Path, **parts: Any) -> RunRecord:
    """Replace parts of the record of a run; returns the new one."""
    return write_record(run_dir, replace(read_record(run_dir), **parts))


def read_json(path: Path, largest: int = LARGEST_JSON) -> dict:
    """The JSON object in a file of a run, of at most `largest` bytes."""
    try:
        content = json.loads(read_bytes(path, largest))
        if not isinstance(content, dict):
            raise plain.EntryError("no JSON object")
        return content
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(path, error) from error


@dataclass(frozen=True)
class _Scores:
    accuracy: float
    loss: float
    top5_accuracy: float | None


@dataclass(frozen=True)
class _JudgedScores(_Scores):
    images: int
    interval: tuple[float, float]


@dataclass(frozen=True)
class _Metrics:
    epochs: int
    best_epoch: int
    training_seconds: float


@dataclass(frozen=True)
class _FineTuningMetrics(_Metrics):
    kept: Literal["head", "fine_tuned"]
    head: dict[str, Any]


def read_metrics(run_dir: Path) -> dict:
    """The content of a finished run's metrics.json. The entries that kzoo reads are checked."""
    path = run_dir / METRICS
    metrics = read_json(path)
    try:
        record = read_record(run_dir)
        if record.transfer is None or record.ensemble is not None:
            _check_metrics(_Metrics, metrics)
        else:
            _check_metrics(_FineTuningMetrics, metrics)
            _check_metrics(_Metrics, metrics["head"], "head")
    except plain.EntryError as error:
        raise damaged(path, error) from error
    return metrics


def _check_metrics(kind: type, metrics: dict, where: str = "") -> None:
    plain.read(kind, metrics, where, others=True)
    for split in ("train", "validation", "test"):
        if split in metrics:
            scores = metrics[split]
            if isinstance(scores, dict):  # of five classes or fewer there is none
                scores = {"top5_accuracy": None, **scores}
            kind = _JudgedScores if split == "validation" else _Scores
            plain.read(kind, scores, f"{where}.{split}".lstrip("."), others=True)


def damaged(path: Path, error: Exception) -> RunError:
    """The error for a file of a run that cannot be used."""
    return RunError(f"The run's {path.name} is damaged. Received: {str(path)!r}: {reason_of(error)}")


def write_history(run_dir: Path, rows: list[dict]) -> None:
    """Write history.csv, a row per epoch."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(run_dir / HISTORY, text.getvalue())


def read_column(run_dir: Path, name: str) -> list[float]:
    """A column of history.csv."""
    rows = csv.DictReader(read_bytes(run_dir / HISTORY).decode().splitlines())
    return [float(row[name]) for row in rows]


def write_events(run_dir: Path, row: dict, wall_time: float) -> None:
    """Write the TensorBoard events of one epoch as a file of their own.

    A file an epoch, because each then appears whole, TensorBoard follows a growing folder live, and a resumed run
    replaces what it does again instead of adding to it.
    """
    from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue] - made at run time
    from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
    from tensorboard.summary.writer.record_writer import RecordWriter

    epoch = int(row["epoch"])
    scalars = [Summary.Value(tag=tag, simple_value=value) for tag, value in row.items() if tag != "epoch"]
    buffer = io.BytesIO()
    records = RecordWriter(buffer)
    for event in (
        Event(wall_time=wall_time, file_version="brain.Event:2"),
        Event(wall_time=wall_time, step=epoch, summary=Summary(value=scalars)),
    ):
        records.write(event.SerializeToString())
    (run_dir / EVENTS).mkdir(exist_ok=True)
    write_bytes(run_dir / EVENTS / f"events.out.tfevents.{epoch:010d}.kzoo", buffer.getvalue())


def write_curves(
    run_dir: Path, rows: list[dict], kept: int, head_rows: Sequence[dict] = (), kept_of_head: int = 0
) -> None:
    """Draw loss and accuracy by epoch, of training and validation, and mark the epoch whose model is kept.

    Of a run that fine-tunes both phases are drawn, one after the other; with `kept` 0 it is the first one's model.
    """
    if not (rows or head_rows):
        return
    figure = new_figure(figsize=(9, 3.6), layout="constrained")
    from matplotlib.ticker import MaxNLocator

    together = [*head_rows, *rows]
    kept_at = len(head_rows) + kept if kept else kept_of_head
    marker = "o" if len(together) < 30 else ""
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for key, label in ((name, "training"), (f"val_{name}", "validation")):
            if key not in together[0]:
                continue
            # Of two phases two lines of one colour: what is trained changes between them.
            (line,) = axes.plot(*_points(head_rows or rows, key), marker=marker, ms=3, label=label)
            if head_rows:
                axes.plot(*_points(rows, key, len(head_rows)), marker=marker, ms=3, color=line.get_color())
            judged_by = key
        if kept_at:
            axes.plot(kept_at, together[kept_at - 1][judged_by], "*", color="C3", ms=11, label="kept model", zorder=3)
        if head_rows and rows:
            axes.axvline(len(head_rows) + 0.5, color="0.5", lw=1, ls="--")
            for text, side in (("head ", "right"), (" fine-tuning", "left")):
                place = {"transform": axes.get_xaxis_transform(), "ha": side, "va": "bottom"}
                axes.text(len(head_rows) + 0.5, 0.02, text, color="0.4", fontsize="small", **place)
        axes.set(xlabel="epoch", title=name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    write_bytes(run_dir / CURVES, png(figure, dpi=120))


def _points(rows: Sequence[dict], key: str, after: int = 0) -> tuple[list[int], list[float]]:
    """Epochs, counted on from `after`, and what the rows have under `key`."""
    return [after + row["epoch"] for row in rows], [row[key] for row in rows]

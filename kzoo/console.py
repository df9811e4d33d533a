"""What kzoo tells the person at the terminal: log lines and progress, always on standard error.

Lines go through the standard logger "kzoo", so a program that uses the library silences or redirects them in the
ordinary way: `logging.getLogger("kzoo").setLevel("ERROR")`.
"""

import logging
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

from kzoo.text import one_line, printable

logger = logging.getLogger("kzoo")

# The bars on the terminal now: work within work adds its own to them.
_shown = None
# Spent on work that was shown by itself; of the work that it is within it is no measure.
_seconds_within = 0.0

# In a pipe progress is plain lines, at most one in this many seconds.
SECONDS_BETWEEN_LINES = 10.0


class _StandardError(logging.Handler):
    """Writes to whatever sys.stderr is now, so that redirection works at any time."""

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "warning: " if record.levelno >= logging.WARNING else ""
        self.write(f"{prefix}{record.getMessage()}")

    def write(self, text: str) -> None:
        if sys.stderr is not None:
            _Forgiving(sys.stderr).write(f"{text}\n")


class _Forgiving:
    """A stream where a line that cannot be written is dropped: a full disk or a closed pipe ends no training.

    RuntimeError: a signal's handler came while a line was being written.
    """

    def __init__(self, stream: Any):
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError, RuntimeError):
            self._stream.write(text)
        self.flush()

    def flush(self) -> None:
        with suppress(OSError, ValueError, RuntimeError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _configure() -> None:
    """Give the logger a handler, unless the program has configured logging itself.

    The handler that importing TensorFlow puts on the root logger (absl's) does not count: it would hide these lines.
    """
    by_program = [h for h in logging.root.handlers if not type(h).__module__.startswith("absl")]
    if not logger.handlers and not by_program:
        logger.addHandler(_StandardError())
        logger.propagate = False
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.INFO)


def only_warnings() -> None:
    """Say from now on only what needs attention: in a worker, which does as the chief says."""
    _configure()
    logger.setLevel(logging.WARNING)


def log(message: str) -> None:
    """Say one line."""
    _configure()
    logger.info("%s", one_line(message))


def warn(message: str) -> None:
    """Say one line that needs attention."""
    _configure()
    logger.warning("%s", one_line(message))


def escape_what_libraries_say() -> None:
    """Have Python's warnings, the lines of all loggers, and tracebacks be printable: they quote names from files.

    For processes of kzoo's own: a program that uses the library decides for itself.
    """
    warnings.showwarning = lambda message, *_, **__: warn(str(message))
    logging.setLogRecordFactory(_PrintableRecord)
    sys.excepthook = lambda *error: _StandardError().write(_printable_traceback(error))


class _PrintableRecord(logging.LogRecord):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if self.exc_info and self.exc_info[0]:
            self.exc_text = _printable_traceback(self.exc_info)

    def getMessage(self) -> str:  # noqa: N802 - its name there
        return one_line(super().getMessage())


def _printable_traceback(error: Any) -> str:
    # Further lines are indented: those of a message are told from lines of others.
    parts = [part.rstrip("\n").split("\n") for part in traceback.format_exception(*error)]
    return "\n".join("\n ".join(map(printable, part)) for part in parts)


def is_terminal(stream: Any) -> bool:
    """Whether a standard stream is a terminal; one that the caller has closed is none."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def duration(seconds: float) -> str:
    """Seconds in a reader's units.

    >>> duration(7.2), duration(75), duration(7300)
    ('7 s', '1 min 15 s', '2 h 1 min')
    """
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


@contextmanager
def waiting(message: str) -> Iterator[None]:
    """Show a line on a terminal while something takes its time; it goes away. A pipe gets nothing."""
    _configure()
    shown = is_terminal(sys.stderr) and _shown is None and logger.isEnabledFor(logging.INFO)
    if shown:
        _Forgiving(sys.stderr).write(message)
    try:
        yield
    finally:
        if shown:  # blanks, since not every terminal knows how to clear a line
            _Forgiving(sys.stderr).write(f"\r{' ' * len(message)}\r")


@contextmanager
def progress(description: str, total: int) -> Iterator[Callable[..., None]]:
    """Show the progress of `total` units of work with an estimate of the time left.

    Yields `advance(units, detail="")`. A terminal gets a bar; a pipe gets plain lines, and none if the work ends before
    the first is due.
    """
    _configure()
    description = printable(description)
    if not logger.isEnabledFor(logging.INFO):
        yield lambda units, detail="": None
    elif is_terminal(sys.stderr):
        yield from _bar(description, total)
    else:
        yield from _lines(description, total)


def _bar(description: str, total: int) -> Iterator[Callable[..., None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[detail]}", style="cyan", markup=False),
        TimeRemainingColumn(),
    )
    global _shown
    outer = _shown
    console: Any = Console(file=_Forgiving(sys.stderr))  # pyright: ignore[reportArgumentType] - it acts as a file
    with nullcontext(outer) if outer else Progress(*columns, console=console, transient=True) as bar:
        task, _shown = bar.add_task(description, total=total, detail=""), bar
        try:
            yield lambda units, detail="": bar.update(task, advance=units, detail=printable(detail))
        finally:
            bar.remove_task(task)
            _shown = outer


def _lines(description: str, total: int) -> Iterator[Callable[..., None]]:
    global _seconds_within
    start = last = time.monotonic()
    done, before = 0, _seconds_within

    def advance(units: int, detail: str = "") -> None:
        nonlocal last, done
        done += units
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES and done < total:
            last = now
            spent = now - start - (_seconds_within - before)
            left = spent / done * (total - done) if done else 0.0
            log(f"{description} {done}/{total} {detail + ' ' if detail else ''}({duration(left)} left)")

    try:
        yield advance
    finally:
        _seconds_within = before + time.monotonic() - start

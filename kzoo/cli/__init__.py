"""The command line: one small function per command, each calling one library function.

Exit status: 0 success, 1 a failure, 2 a usage error, 130 after Ctrl-C, 143 after SIGTERM; each but 0 with one line on
standard error. Ctrl-C and SIGTERM save the state of a training first; the second one ends it at once.
"""

import io
import os
import sys
from collections.abc import Sequence

from kzoo import console, interrupts, workers
from kzoo.errors import InvalidArgument, KzooError, TrainingInterrupted
from kzoo.text import one_line


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit."""
    _open_standard_streams()
    console.escape_what_libraries_say()
    try:
        interrupts.interrupt_on_signals()
        status = run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:  # the second one, while the first was told
        status = interrupts.exit_status()
    interrupts.end_on_signals()
    _flush(sys.stdout)
    _flush(sys.stderr)
    sys.exit(status)


def run(arguments: Sequence[str]) -> int:
    """Run one command; returns its exit status."""
    try:
        return _run(arguments)
    except TrainingInterrupted as error:
        return _fail(interrupts.exit_status(), str(error))
    except KeyboardInterrupt:
        return _fail(interrupts.exit_status(), "Interrupted.")
    except Exception as error:
        if interrupts.is_pending():  # a library has made another error of it
            return _fail(interrupts.exit_status(), "Interrupted.")
        if isinstance(error, KzooError):
            return _fail(2 if isinstance(error, InvalidArgument) else 1, str(error))
        if isinstance(error, BrokenPipeError):  # the reader of a pipe has gone, as with `| head`
            _discard(sys.stdout)
            return 1
        if isinstance(error, OSError):
            return _fail(1, f"The system refused: {error}.")
        if isinstance(error, MemoryError):
            return _fail(1, "Out of memory. Try a smaller --batch-size or --image-size.")
        if type(error).__name__ == "ResourceExhaustedError":
            return _fail(1, "The device is out of memory. Try a smaller --batch-size or --image-size.")
        raise


def _run(arguments: Sequence[str]) -> int:
    from cyclopts import CycloptsError, UnknownOptionError

    from kzoo.cli._help import explain
    from kzoo.cli.commands import app

    try:
        status = app(list(arguments), exit_on_error=False, print_error=False)
    except CycloptsError as error:
        message = explain(error) if isinstance(error, UnknownOptionError) else str(error)
        command = arguments[0] if arguments and not arguments[0].startswith("-") else ""
        return _fail(2, f"{' '.join(message.split())} See {' '.join(filter(None, ('kzoo', command, '--help')))}.")
    return status if isinstance(status, int) else 0


def _fail(status: int, message: str) -> int:
    workers.fail(message)
    try:
        print(f"kzoo: {one_line(message)}", file=sys.stderr)
    except OSError:  # nobody reads it
        _discard(sys.stderr)
    return status


def _open_standard_streams() -> None:
    """Open as nothing those standard streams that the caller has closed (`>&-`), and have names print on all terminals.

    A file that is opened later would get their number, and with it what TensorFlow prints.
    """
    for number, mode in enumerate(("r", "w", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # which takes the lowest number that is free
            name = ("stdin", "stdout", "stderr")[number]
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 - for as long as the process lives
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _flush(stream) -> None:
    """Flush a stream, or forget what it cannot take: Python would complain of it at its end, with another status."""
    try:
        stream.flush()
    except OSError:
        _discard(stream)


def _discard(stream) -> None:
    """Have what is and will be written to a stream go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)

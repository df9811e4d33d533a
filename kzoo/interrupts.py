"""Ctrl-C and SIGTERM, which schedulers send: one line. A training saves its state first."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kzoo import console

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# The last one that came, and whether it waits for something to end.
_last: int = signal.SIGINT
_pending = False


class Interrupted(KeyboardInterrupt):
    """Raised by `check` when a signal is pending."""


def interrupt_on_signals() -> None:
    """Have SIGTERM raise KeyboardInterrupt as Ctrl-C does, unless the caller of this program wants it ignored."""
    for number in _SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _raise)


def end_on_signals() -> None:
    """Have both end this process without a word, which has nothing more to do."""
    for number in _SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def exit_status() -> int:
    """What a command that was interrupted ends with: 130 after Ctrl-C, 143 after SIGTERM."""
    return 128 + _last


def is_pending() -> bool:
    """Whether a signal came that has not ended yet what it should."""
    return _pending


def check() -> None:
    """Raise Interrupted if a signal is pending: for long work within `deferred`, and after code of others."""
    if _pending:
        raise Interrupted


@contextmanager
def deferred() -> Iterator[None]:
    """Have the first signal wait for `check`, so that a state can be saved; the second, of either kind, acts as usual.

    In another thread than the main one, which alone is told of signals, it does nothing. A program's own handler of
    SIGTERM is left alone.
    """
    global _pending
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {number: signal.getsignal(number) for number in _SIGNALS}
    mine = {signal.SIGINT: before[signal.SIGINT] not in (signal.SIG_IGN, None)}
    mine[signal.SIGTERM] = before[signal.SIGTERM] in (signal.SIG_DFL, _raise)

    def put_back() -> None:
        for number in _SIGNALS:
            if mine[number]:
                signal.signal(number, before[number])

    def remember(number: int, frame: Any) -> None:
        _note(number)
        put_back()
        console.log("interrupted: saving the state (again to stop at once)")

    for number in _SIGNALS:
        if mine[number]:
            signal.signal(number, remember)
    try:
        yield
    finally:
        put_back()
        _pending = False


def _note(number: int) -> None:
    global _last, _pending
    _last, _pending = number, True


def _raise(number: int, frame: Any) -> None:
    _note(number)
    raise KeyboardInterrupt

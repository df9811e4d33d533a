"""The errors kzoo raises: each message is one line that says what is wrong, what was received and what to do next."""

import difflib
from collections.abc import Iterable

from kzoo.text import one_line

LONGEST_REASON = 300  # characters


class KzooError(Exception):
    """Base of every error that kzoo raises on purpose. Its text is meant for the user as it is."""

    # Keras adds lines about the arguments to an error raised in a layer, unless it has done so.
    _keras_call_info_injected = True

    def __init__(self, message: str = ""):
        """Make one line of the message, in which text from a file does nothing to a terminal."""
        super().__init__(one_line(message))


class InvalidArgument(KzooError, ValueError):
    """An argument, flag or name that cannot be used (command line: exit status 2)."""


class DataError(KzooError):
    """Images, labels or dataset files that cannot be used."""


class MissingSplit(DataError):
    """A split that a dataset does not have."""


class RunError(KzooError):
    """A run directory that is missing, occupied, incomplete or damaged."""


class WeightsError(KzooError):
    """Weights that are missing, damaged or hostile, that cannot be fetched, or that do not fit the model."""


class TrainingDiverged(KzooError):
    """The loss became NaN or infinite. The last good model is kept."""


class TrainingInterrupted(KzooError):
    """Ctrl-C or SIGTERM during training, after the state was saved (command line: exit status 130 or 143)."""


def reason_of(error: BaseException) -> str:
    r"""What another library's error says, as the part of a line: what it quotes of a file may be long.

    >>> reason_of(ValueError("no such entry:\nred")), reason_of(KeyError())
    ('no such entry: red', 'KeyError')
    """
    said = getattr(error, "strerror", None) or str(error)  # the system's errors repeat the path
    return one_line(said)[:LONGEST_REASON] or type(error).__name__


def unknown(kind: str, received: object, valid: Iterable[str], hint: str = "") -> InvalidArgument:
    """Make the error for a name that is not in a list of valid ones, with the closest match.

    >>> unknown("optimizer", "adm", ["adam", "sgd"]).args[0]
    "Unknown optimizer. Received: 'adm'. Did you mean 'adam'? Valid: adam, sgd."
    """
    valid = sorted(valid)
    close = difflib.get_close_matches(str(received).lower(), valid, n=1)
    parts = [f"Unknown {kind}. Received: {received!r}."]
    if close:
        parts.append(f"Did you mean {close[0]!r}?")
    parts.append(f"Valid: {', '.join(valid) or 'none'}.")
    if hint:
        parts.append(hint)
    return InvalidArgument(" ".join(parts))

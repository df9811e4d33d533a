"""oneDNN's kernels in TensorFlow: switched on before TensorFlow is imported, and whether they are on.

On Linux TensorFlow uses them by default only on CPUs with instructions for neural networks (`DefaultOneDnnPolicy` in
tensorflow/core/util/port.cc). On the others training a small net without them takes about twice as long. They round
otherwise than TensorFlow's own kernels, so a run records whether they were on, and is resumed with the same.

TensorFlow reads TF_ENABLE_ONEDNN_OPTS once, while it is imported.
"""

import os
import sys
from collections.abc import Mapping

from kzoo.console import log
from kzoo.hardware import cpu

VARIABLE = "TF_ENABLE_ONEDNN_OPTS"
DEFAULT_ON = frozenset({"avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile", "amx_int8", "amx_bf16"})
_VALUES = {"1": True, "true": True, "0": False, "false": False}


def choose(environment: Mapping[str, str], flags: set[str]) -> str | None:
    """What to set the variable to on a CPU with these flags of /proc/cpuinfo; None leaves it.

    A value that the user has set stays. Nothing is set where TensorFlow's default is on, nor where no flags of an x86
    CPU are known: TensorFlow has oneDNN on x86, and decides on Arm and outside Linux.

    >>> choose({}, {"avx", "avx2", "fma"})
    '1'
    >>> choose({}, {"avx", "avx2", "avx_vnni"}), choose({VARIABLE: "0"}, {"avx", "avx2"}), choose({}, set())
    (None, None, None)
    """
    return "1" if "avx" in flags and not flags & DEFAULT_ON and not environment.get(VARIABLE) else None


def will_be_on(environment: Mapping[str, str], flags: set[str]) -> bool | None:
    """What TensorFlow will do with this environment on a CPU with these flags; None where that is not known.

    >>> will_be_on({}, {"avx", "avx2"}), will_be_on({VARIABLE: "1"}, {"avx", "avx2"})
    (False, True)
    """
    default = bool(flags & DEFAULT_ON) if "avx" in flags else None
    return _VALUES.get(environment.get(VARIABLE, "").lower(), default)


def prepare(recorded: bool | None = None) -> None:
    """Set the variable before TensorFlow is imported; afterwards do nothing.

    Args:
        recorded: Whether oneDNN was on in the run that is resumed. It decides, also against the user's setting, which a
            log line then says. By default `choose` decides.
    """
    if "tensorflow" in sys.modules:
        return
    flags, _ = cpu()
    if recorded is None:
        value = choose(os.environ, flags)
    elif will_be_on(os.environ, flags) is recorded:
        return
    else:
        value = "1" if recorded else "0"
        if os.environ.get(VARIABLE):
            log(
                f"{VARIABLE}={os.environ[VARIABLE]} is not used: this run began with {value}, and its bits depend on it"
            )
    if value is not None:
        os.environ[VARIABLE] = value


def is_on() -> bool | None:
    """Whether TensorFlow uses oneDNN in this process, or will when kzoo imports it; None where that is not known."""
    if "tensorflow" in sys.modules:
        try:
            from tensorflow.python.util._pywrap_util_port import IsMklEnabled

            return bool(IsMklEnabled())
        except ImportError:  # a private name, of TensorFlow's own tests; or TensorFlow is broken
            return None
    flags, _ = cpu()
    return will_be_on({**os.environ, VARIABLE: choose(os.environ, flags) or os.environ.get(VARIABLE, "")}, flags)


def explanation() -> str:
    """Whether oneDNN is on in this process, and why, for a reader."""
    flags, _ = cpu()
    on = is_on()
    if on is None:
        return "TensorFlow decides"
    if on:
        return "on, by TensorFlow's default for this CPU" if flags & DEFAULT_ON else f"on, by {VARIABLE}=1"
    if os.environ.get(VARIABLE):
        return f"off, by {VARIABLE}={os.environ[VARIABLE]}"
    return f"off: TensorFlow was imported before kzoo. Set {VARIABLE}=1 before Python starts"


def advice() -> list[str]:
    """A line for whoever begins a run, if training could be faster: TensorFlow was imported first."""
    flags, _ = cpu()
    late = is_on() is False and choose(os.environ, flags) is not None
    return [f"oneDNN is {explanation()}: training may take twice as long without."] if late else []

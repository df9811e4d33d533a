"""TensorFlow imported without its start-up chatter on the terminal."""

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kzoo import interrupts, onednn
from kzoo.plotting import import_matplotlib

# TensorFlow's C++ logging of what it found on this machine. The start-up lines ignore TF_CPP_MIN_LOG_LEVEL (they come
# before its logging is initialised), so they are taken out by file descriptor; `kzoo doctor` says what matters of them.
_CHATTER = re.compile(
    rb"[IWE]\d{4} \d\d:\d\d:\d\d|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IWE] |WARNING: All log messages before absl"
    rb"|To enable the following instructions|INFO: Created TensorFlow Lite"
)


@contextmanager
def without_chatter() -> Iterator[None]:
    """Hold back standard error, then pass on what is not TensorFlow's start-up chatter (everything, after an error)."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        sys.stderr.flush()
        original = os.dup(2)
    except (AttributeError, OSError, ValueError):  # a process without a standard error
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        failed = False
        try:
            yield
        except Exception:
            failed = not interrupts.is_pending()
            raise
        finally:
            sys.stderr.flush()
            os.dup2(original, 2)
            os.close(original)
            held.seek(0)
            for line in held:
                if failed or not _CHATTER.match(line):
                    os.write(2, line)
    interrupts.check()  # a library may have swallowed it


def tensorflow() -> Any:
    """Import TensorFlow quietly, the search for devices included."""
    import_matplotlib()  # before Keras does, which TensorFlow imports
    onednn.prepare()
    with without_chatter():
        import tensorflow as tf

        tf.config.list_physical_devices()  # the CUDA libraries are looked for here, with a line of complaint
    return tf

"""Signals where OpenVINO runs: Ctrl-C is not to crash the process."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_DISABLE = 2  # SS_DISABLE


class _Stack(ctypes.Structure):
    """stack_t of Linux."""

    _fields_ = (("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextmanager
def own_signal_stack() -> Iterator[None]:
    """Put back, at the end, the stack on which this thread handles signals.

    OpenVINO's plugin for CPUs registers a stack of its own. Where several plugins come and go, one that is gone stays
    registered, and the next signal is a segmentation fault (tests/upstream/test_openvino.py).
    """
    if sys.platform != "linux":
        yield
        return
    sigaltstack = ctypes.CDLL(None).sigaltstack
    before = _Stack()
    sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        # Linux refuses a stack that is too small for the registers of AMX, which the plugin may have turned on.
        if sigaltstack(ctypes.byref(before), None) != 0:
            sigaltstack(ctypes.byref(_Stack(None, _DISABLE, 0)), None)

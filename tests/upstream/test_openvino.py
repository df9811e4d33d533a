"""OpenVINO's plugin for CPUs leaves a stack registered for signals that is gone (kzoo/deploy/signal_stack.py)."""

import signal
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the stack for signals is read as Linux has it")

# Two plugins, of which the first to come is the first to go; then a signal, as of Ctrl-C.
COMPILE = """
import contextlib, signal, sys
import numpy as np
import openvino as ov
from openvino import opset13
from kzoo.deploy.signal_stack import own_signal_stack

guard = own_signal_stack if sys.argv[1] == "ours" else contextlib.nullcontext
given = opset13.parameter([1, 4], np.float32)
model = ov.Model([opset13.relu(given)], [given])
with guard():
    first = ov.Core().compile_model(model, "CPU")
with guard():
    second = ov.Core().compile_model(model, "CPU")
del first, second
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_a_signal_after_two_plugins_is_a_segmentation_fault(fresh_python):
    pytest.importorskip("openvino")
    fresh_python(COMPILE, "theirs", status=-signal.SIGSEGV)
    assert fresh_python(COMPILE, "ours").stdout == "interrupted\n"

"""Checkpoints: bit for bit, or one line that says what is wrong."""

import numpy as np
import pytest

from kzoo.backend import tf
from kzoo.errors import RunError
from kzoo.train import checkpoint
from kzoo.train.checkpoint import State


def variables():
    random = np.random.default_rng(0)
    special = np.array([0.0, -0.0, 1e-45, np.inf, np.nan, 3.4e38], "float32")
    return [
        tf.Variable(random.normal(size=(3, 5)).astype("float32")),
        tf.Variable(special),
        tf.Variable(np.int64(2**40)),
        tf.Variable(np.array([7, 2**31], "uint32")),
        tf.Variable(np.float32(0.1)),
        tf.Variable(tf.cast(random.normal(size=(4,)), tf.bfloat16)),
        tf.Variable(np.zeros((0, 3), "float32")),
    ]


STATE = State(epoch=3, sums=[0.1, 1 / 3, 5e-324], history=[{"loss": 0.30000000000000004}], best=None)


def bits(values):
    return [(v.dtype, tuple(v.shape), v.numpy().tobytes()) for v in values]


def test_roundtrip_is_bit_exact(tmp_path):
    originals = variables()
    checkpoint.save(tmp_path / "c", originals, STATE)
    others = [tf.Variable(tf.zeros_like(v)) for v in originals]
    assert checkpoint.restore(tmp_path / "c", others) == STATE
    assert bits(others) == bits(originals)


def test_order_is_by_position_beyond_ten(tmp_path):
    checkpoint.save(tmp_path / "c", [tf.Variable(float(i)) for i in range(120)], State())
    others = [tf.Variable(0.0) for _ in range(120)]
    checkpoint.restore(tmp_path / "c", others)
    assert [float(v) for v in others] == list(range(120))


def refused(path, others):
    before = bits(others)
    with pytest.raises(RunError) as caught:
        checkpoint.restore(path, others)
    assert bits(others) == before, "a variable has changed"
    assert "\n" not in str(caught.value)
    assert repr(str(path)) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("size", [0, 5, 200, -1])
def test_truncated(tmp_path, size):
    path = tmp_path / "c"
    checkpoint.save(path, variables(), STATE)
    path.write_bytes(path.read_bytes()[:size])
    assert refused(path, variables()).startswith("The checkpoint is damaged.")


@pytest.mark.parametrize("content", [b"garbage" * 100, b"\xff" * 64, b"{}"])
def test_garbage(tmp_path, content):
    (tmp_path / "c").write_bytes(content)
    assert refused(tmp_path / "c", variables()).startswith("The checkpoint is damaged.")


def test_absent_or_without_a_state(tmp_path):
    assert refused(tmp_path / "c", variables()).startswith("The checkpoint is damaged.")
    import safetensors.numpy

    safetensors.numpy.save_file({"00000": np.zeros(3, "float32")}, tmp_path / "c")
    assert refused(tmp_path / "c", variables()).startswith("The checkpoint is damaged.")


def test_another_model(tmp_path):
    checkpoint.save(tmp_path / "c", variables(), STATE)
    assert "7 tensors for 6 variables" in refused(tmp_path / "c", variables()[:-1])
    other = variables()
    other[0] = tf.Variable(tf.zeros((5, 3)))
    assert "is of another model or optimizer" in refused(tmp_path / "c", other)

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


ROW = {"epoch": 1, "loss": 0.30000000000000004, "accuracy": 0.5, "seconds": 1.25}
STATE = State(epoch=2, sums=[0.1, 1 / 3, 5e-324, 0.0], history=[ROW, {**ROW, "epoch": 2}], best=None)


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


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        ({"history": [ROW]}, "epoch must be the number of rows in history. Received: 2."),
        ({"best_epoch": 3}, "best_epoch must be a whole number from 0 to 2. Received: 3."),
        ({"best_epoch": -1}, "best_epoch must be a whole number from 0 to 2. Received: -1."),
        ({"step": -1}, "step must be a whole number of at least 0. Received: -1."),
        ({"sums": [1.0, 2.0, 3.0]}, "sums must be empty or of at least 4 numbers. Received: [1.0, 2.0, 3.0]."),
        ({"best": [1.0]}, "best must be null or of 2 numbers. Received: [1.0]."),
        ({"history": [ROW, {"epoch": 2}]}, "a row of history must be an object with accuracy, epoch, loss, seconds."),
        ({"history": [{"epoch": 1}] * 2}, "a row of history must be an object with accuracy, epoch, loss, seconds."),
        ({"history": [ROW, {**ROW, "val_loss": 1.0}]}, "a row of history must be an object with"),
    ],
)
def test_a_state_of_no_run(damage, line, tmp_path):
    state = State(epoch=STATE.epoch, history=STATE.history)
    for name, value in damage.items():
        setattr(state, name, value)
    checkpoint.save(tmp_path / "c", variables(), state)
    message = refused(tmp_path / "c", variables())
    assert message.startswith("The checkpoint is damaged.")
    assert f"state: {line}" in message


def test_another_model(tmp_path):
    checkpoint.save(tmp_path / "c", variables(), STATE)
    assert "7 tensors for 6 variables" in refused(tmp_path / "c", variables()[:-1])
    other = variables()
    other[0] = tf.Variable(tf.zeros((5, 3)))
    assert "is of another model or optimizer" in refused(tmp_path / "c", other)

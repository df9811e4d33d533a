"""What "auto" becomes on which machine, and models copied to another precision."""

import numpy as np
import pytest

import kzoo
from kzoo.backend import keras
from kzoo.errors import InvalidArgument
from kzoo.hardware import Hardware
from kzoo.train import TrainConfig
from kzoo.train.precision import dtype_policy, in_float32, in_precision, parse_devices, resolve


def machine(gpus=(), tensor_cores=False, bfloat16=False):
    return Hardware(8, 2**34, "a CPU", bfloat16, tuple(gpus), tensor_cores)


PLAIN, BF16 = machine(), machine(bfloat16=True)
H100 = machine(["H100"], tensor_cores=True, bfloat16=True)
TWO = machine(["H100", "H100"], tensor_cores=True)
P100 = machine(["P100"], bfloat16=True)


@pytest.mark.parametrize(
    ("hardware", "arguments", "precision", "strategy", "reasons"),
    [
        (PLAIN, {}, "float32", "one", ["float32: the CPU has no bfloat16 instructions", "one: 1 device (cpu)"]),
        (
            BF16,
            {},
            "mixed_bfloat16",
            "one",
            ["mixed_bfloat16: the CPU has bfloat16 instructions", "one: 1 device (cpu)"],
        ),
        (H100, {}, "mixed_float16", "one", ["mixed_float16: H100 has tensor cores", "one: 1 device (gpu)"]),
        (TWO, {}, "mixed_float16", "mirrored", ["mixed_float16: H100 has tensor cores", "mirrored: 2 devices (gpu)"]),
        (TWO, {"devices": "gpu:1"}, "mixed_float16", "one", None),
        (P100, {}, "float32", "one", ["float32: P100 has no tensor cores", "one: 1 device (gpu)"]),
        (H100, {"devices": "cpu:1"}, "mixed_bfloat16", "one", None),
        (PLAIN, {"devices": "cpu:2"}, "float32", "mirrored", None),
        (PLAIN, {"precision": "mixed_bfloat16", "strategy": "mirrored"}, "mixed_bfloat16", "mirrored", []),
        (TWO, {"strategy": "one"}, "mixed_float16", "one", None),
        (H100, {"precision": "float32", "strategy": "one"}, "float32", "one", []),
    ],
)
def test_resolve(hardware, arguments, precision, strategy, reasons):
    config, said = resolve(TrainConfig(**arguments), hardware)
    assert (config.precision, config.strategy) == (precision, strategy)
    if reasons is not None:
        assert [line.split(" ", 1)[1] for line in said] == reasons
    assert resolve(config, hardware)[0] == config


def test_float16_on_a_cpu_is_advised_against():
    _, said = resolve(TrainConfig(precision="mixed_float16", strategy="one"), PLAIN)
    assert said == ["precision mixed_float16: CPUs compute it very slowly; mixed_bfloat16 or float32 suit a CPU"]


@pytest.mark.parametrize("devices", ["cpu", "tpu:1", "cpu:0", "cpu:-1", "gpu:100", "cpu:2x", ""])
def test_devices_that_cannot_be_read(devices):
    with pytest.raises(InvalidArgument, match="devices must be cpu:N or gpu:N with N from 1 to 99"):
        parse_devices(devices, TWO)


def test_devices_that_are_not_there():
    with pytest.raises(InvalidArgument, match=r"This machine has 2 usable GPUs. Received: devices='gpu:3'."):
        resolve(TrainConfig(devices="gpu:3"), TWO)
    with pytest.raises(InvalidArgument, match=r"strategy 'one' uses one device. Received: devices='cpu:2'."):
        resolve(TrainConfig(devices="cpu:2", strategy="one"), PLAIN)


def test_the_policy_is_restored_after_an_error():
    before = keras.config.dtype_policy().name
    with pytest.raises(RuntimeError), dtype_policy("mixed_bfloat16"):
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
        raise RuntimeError
    assert keras.config.dtype_policy().name == before


def compute_dtypes(model):
    return {layer.name: layer.compute_dtype for layer in model.layers}


def test_copies_in_another_precision():
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28, 1), "uint8")
    exact = kzoo.create_model("mnist_net")
    half = in_precision(exact, "mixed_bfloat16")
    again = in_float32(half)
    dtypes = compute_dtypes(half)
    assert {name for name, dtype in dtypes.items() if dtype == "float32"} == {"images", "preprocessing", "predictions"}
    assert set(dtypes.values()) == {"float32", "bfloat16"}
    assert set(compute_dtypes(again).values()) == {"float32"}
    for one, other in zip(exact.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(again(images), exact(images))
    # Built under the policy, the same layers run in the same precision.
    with dtype_policy("mixed_bfloat16"):
        built = kzoo.create_model("mnist_net")
    assert {**compute_dtypes(built), "images": "float32"} == dtypes
    built.set_weights(exact.get_weights())
    np.testing.assert_array_equal(half(images), built(images))
    assert half(images).dtype == "float32"
    np.testing.assert_allclose(half(images), exact(images), atol=0.03)  # 8 bits through four layers
    assert compute_dtypes(in_precision(half, "float32")) == compute_dtypes(exact)

"""Precision and strategy: what "auto" becomes on this machine, and why."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from kzoo.errors import InvalidArgument
from kzoo.hardware import Hardware
from kzoo.train.config import TrainConfig
from kzoo.workers import current


def resolve(config: TrainConfig, hardware: Hardware) -> tuple[TrainConfig, list[str]]:
    """Replace "auto" by what this machine is best at; returns the new config and a line of reason for each choice.

    Raises:
        InvalidArgument: `devices` that this machine does not have.

    >>> laptop = Hardware(cores=4, memory_bytes=2**33, cpu="x", cpu_bfloat16=False, gpus=(), tensor_cores=False)
    >>> config, reasons = resolve(TrainConfig(), laptop)
    >>> config.precision, config.strategy
    ('float32', 'one')
    """
    kind, count = parse_devices(config.devices, hardware)
    reasons = []
    if config.precision == "auto":
        precision, reason = _best_precision(kind, hardware)
        config = replace(config, precision=precision)
        reasons.append(f"precision {precision}: {reason}")
    elif config.precision == "mixed_float16" and kind == "cpu":
        reasons.append("precision mixed_float16: CPUs compute it very slowly; mixed_bfloat16 or float32 suit a CPU")
    workers = current()
    if config.strategy == "auto" and workers is not None:
        config = replace(config, strategy="multiworker")
        reasons.append(f"strategy multiworker: {workers.size} workers (TF_CONFIG)")
    elif config.strategy == "auto":
        several = count > 1
        config = replace(config, strategy="mirrored" if several else "one")
        reasons.append(f"strategy {config.strategy}: {count} {'devices' if several else 'device'} ({kind})")
    elif config.strategy == "one" and config.devices and count > 1:
        raise InvalidArgument(
            f"strategy 'one' uses one device. Received: devices={config.devices!r}. Use --strategy mirrored or auto."
        )
    return config, reasons


def _best_precision(kind: str, hardware: Hardware) -> tuple[str, str]:
    if kind == "gpu" and hardware.tensor_cores:
        return "mixed_float16", f"{hardware.gpus[0]} has tensor cores"
    if kind == "gpu":
        return "float32", f"{hardware.gpus[0]} has no tensor cores"
    if hardware.cpu_bfloat16:
        return "mixed_bfloat16", "the CPU has bfloat16 instructions"
    return "float32", "the CPU has no bfloat16 instructions"


def parse_devices(devices: str | None, hardware: Hardware) -> tuple[str, int]:
    """Read "cpu:2" or "gpu:1"; None is all GPUs, else the CPU.

    >>> parse_devices("cpu:2", Hardware(4, 2**33, "x", False, (), False))
    ('cpu', 2)
    """
    if devices is None:
        return ("gpu", len(hardware.gpus)) if hardware.gpus else ("cpu", 1)
    match = re.fullmatch(r"(cpu|gpu):([1-9]\d?)", devices)
    if not match:
        raise InvalidArgument(f"devices must be cpu:N or gpu:N with N from 1 to 99. Received: {devices!r}.")
    kind, count = match[1], int(match[2])
    if kind == "gpu" and count > len(hardware.gpus):
        raise InvalidArgument(f"This machine has {len(hardware.gpus)} usable GPUs. Received: devices={devices!r}.")
    return kind, count


@contextmanager
def dtype_policy(precision: str) -> Iterator[None]:
    """Build layers under a dtype policy, then restore the one that was set."""
    from kzoo.backend import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def in_float32(model):
    """A copy of `model` whose layers all compute in float32: what is saved, evaluated and handed to the user.

    The weights are float32 under every policy, so only the config differs: the copy runs at full speed on any machine,
    whatever the training machine had.
    """
    return twin(model, lambda config: _with_policy(config, "float32"))


def in_precision(model, precision: str):
    """A copy of a kzoo model that computes under the dtype policy `precision`, pixels and logits in float32."""
    kept = _layers_of_logits(model)

    def all_but_pixels_and_logits(config):
        for layer in config["config"]["layers"][:-1]:
            is_for_pixels = layer["class_name"] in ("InputLayer", "Cropping2D", "Rescaling", "Normalization")
            if not is_for_pixels and layer["config"].get("name") not in kept:
                layer["config"] = _with_policy(layer["config"], precision)
        return config

    return twin(model, all_but_pixels_and_logits)


def _layers_of_logits(model) -> set[str]:
    """The names of the layers from the logits on, of an ensemble those of each member."""
    from kzoo import functional
    from kzoo.backend import keras

    names, waiting = set(), list(model.outputs)
    while waiting:
        call = functional.call_of(waiting.pop())
        names.add(call.operation.name)
        if isinstance(call.operation, keras.layers.Average | keras.layers.Softmax | keras.layers.Concatenate):
            waiting.extend(call.input_tensors)
    return names


def twin(model, change: Callable[[dict], dict] = lambda config: config):
    """A copy of `model` with the same weights, made from its serialized config as `change` gives it back."""
    from kzoo.backend import keras
    from kzoo.classifier import metadata, set_metadata

    copy = keras.saving.deserialize_keras_object(change(keras.saving.serialize_keras_object(model)))
    copy.set_weights(model.get_weights())
    return set_metadata(copy, **metadata(model))


def _with_policy(config, name):
    """`config` with every dtype policy in it replaced."""
    if isinstance(config, list | tuple):
        return type(config)(_with_policy(item, name) for item in config)
    if not isinstance(config, dict):
        return config
    if config.get("class_name") == "DTypePolicy":
        return {**config, "config": {**config["config"], "name": name}}
    return {key: _with_policy(value, name) for key, value in config.items()}

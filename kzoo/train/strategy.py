"""From a resolved config to a `tf.distribute.Strategy`."""

from kzoo.backend import tf
from kzoo.errors import KzooError
from kzoo.train.config import TrainConfig


def create_strategy(config: TrainConfig, kind: str, count: int):
    """The strategy for `count` devices of `kind` ("cpu" or "gpu"); the caller has resolved them.

    Raises:
        KzooError: TensorFlow cannot provide the devices, with the next step.
    """
    if config.strategy == "one":
        keep_off_the_gpu = kind == "cpu" and tf.config.list_physical_devices("GPU")
        return tf.distribute.OneDeviceStrategy("/cpu:0") if keep_off_the_gpu else tf.distribute.get_strategy()
    if kind == "cpu":
        _make_logical_cpus(count)
    names = [device.name.removeprefix("/device:") for device in tf.config.list_logical_devices(kind.upper())]
    return tf.distribute.MirroredStrategy(names[:count])


def _make_logical_cpus(count: int) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    except RuntimeError:  # TensorFlow has started: it keeps the devices it has
        if len(tf.config.list_logical_devices("CPU")) < count:
            raise KzooError(
                f"TensorFlow has started with fewer than {count} logical CPU devices and cannot add any. "
                f"Received: devices='cpu:{count}'. Train before anything else in this process runs TensorFlow."
            ) from None

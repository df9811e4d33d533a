"""What `kzoo.layers.BatchNormalization` mends in Keras. Where one of these fails, Keras has: drop our mend."""

import keras
import numpy as np
import pytest

pytestmark = pytest.mark.skipif(
    not keras.__version__.startswith("3.15"), reason=f"shows a fault of Keras 3.15; this is {keras.__version__}"
)

REPLICAS = """
import numpy as np
from kzoo.backend import keras, tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2
with strategy.scope():
    layer = keras.layers.BatchNormalization(momentum=0.5)
    layer.build((None, 3))
    halves = [np.full((4, 3), 1.0, "float32"), np.full((4, 3), 5.0, "float32")]
inputs = strategy.experimental_distribute_values_from_function(
    lambda context: tf.constant(halves[context.replica_id_in_sync_group])
)
tf.function(lambda: strategy.run(lambda x: layer(x, training=True), (inputs,)))()
print([float(v.numpy()[0]) for v in strategy.experimental_local_results(layer.moving_mean.value)])
print(float(layer.moving_mean.numpy()[0]))
"""


def test_moving_statistics_drift_apart_on_two_replicas(fresh_python):
    replicas, saved = fresh_python(REPLICAS).stdout.splitlines()
    assert replicas == "[0.5, 2.5]"
    assert saved == "0.5"  # the first replica's


@pytest.mark.parametrize("shape", [(0, 3), (0, 4, 4, 3)])
def test_empty_batch_makes_the_moving_statistics_nan(shape):
    layer = keras.layers.BatchNormalization()
    layer(np.zeros(shape, "float32"), training=True)
    assert np.isnan(layer.get_weights()[2]).all()
    assert np.isnan(layer.get_weights()[3]).all()

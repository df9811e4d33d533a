"""Fine-tune on two logical CPUs and on one, and print how far the results are apart; for test_finetune_replicas.py."""

import json
from typing import Any

import numpy as np
from small_models import digits, functional

from kzoo.backend import tf
from kzoo.train import TrainConfig
from kzoo.transfer import TransferConfig, fine_tune


def main():
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    data, found = digits(200, 50), []
    where: Any
    for where in ({"strategy": "one"}, {"strategy": "mirrored", "devices": "cpu:2"}):
        config = TrainConfig(
            epochs=3, batch_size=48, precision="float32", optimizer="sgd", learning_rate=0.02, augment="digits", **where
        )
        transfer = TransferConfig(head_epochs=3, views=3, head_learning_rate=0.05)
        # Without dropout, which draws by replica.
        found.append(fine_tune(functional(dropout=0.0), *data, config=config, transfer=transfer))
    pairs = list(zip(*(result.model.get_weights() for result in found), strict=True))
    print(
        json.dumps(
            {
                "apart": max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in pairs),
                "losses": [result.history["loss"] for result in found],
                "kept": [result.metrics["kept"] for result in found],
            }
        )
    )


if __name__ == "__main__":
    main()

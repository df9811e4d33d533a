"""A process that opens a model in its engine, classifies one image, and tells its peak memory: for `bench.engines`."""

import json
import sys

import numpy as np

from kzoo.bench.peak import peak_memory_of_process


def main() -> None:
    """Answer, and end."""
    work = json.load(sys.stdin)
    image = np.zeros((1, *work["shape"]), np.uint8)
    if work["precision"] is None:
        from kzoo.deploy.checking import keras_compute
        from kzoo.deploy.graph import classifier_of
        from kzoo.saving import load_model

        keras_compute(classifier_of(load_model(work["path"])))(image)
    else:
        from kzoo.deploy import load

        load(work["path"], work["precision"]).compute(image)
    print(peak_memory_of_process())


if __name__ == "__main__":
    main()

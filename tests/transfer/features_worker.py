"""Compute features for test_features.py: features_worker.py FOLDER slowly; prints a hash of them, and how many."""

import hashlib
import sys
import time
from pathlib import Path

import numpy as np
from small_models import digits, functional

from kzoo import augment
from kzoo.transfer import features as module
from kzoo.transfer import freeze
from kzoo.transfer.cutting import split

COMPUTED = []


def slowly(compute):
    """Leave time for a kill, and for the other process."""

    def one(batch):
        time.sleep(0.3)
        COMPUTED.append(len(batch))
        return compute(batch)

    return one


def main():
    images = digits(40, 1)[0]
    model, _ = split(freeze(functional()), "flat")
    module.compiled = slowly
    key = module.key_of(model, module.digests(images), ("digits",), 2, 0)
    policy = augment.policy(("digits",))
    views = module.Views(images, module.Frozen(model), key, policy=policy, count=2, seed=0, folder=Path(sys.argv[1]))
    found = module.features_of(views)
    assert found is not None
    print(hashlib.sha256(b"".join(np.array(view).tobytes() for view in found.views)).hexdigest(), sum(COMPUTED))


if __name__ == "__main__":
    main()

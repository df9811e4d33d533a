"""Every set of pretrained weights that kzoo knows, as data. A model and a tag name one record.

kzoo's own weights for mnist_net, tag "mnist", will be one more module of `records`.
"""

from kzoo.weights.record import Record
from kzoo.weights.records import akamaster, bvlc, keras_applications, timm_hub, torchvision_models

RECORDS: tuple[Record, ...] = (
    *keras_applications.RECORDS,
    *timm_hub.RECORDS,
    *torchvision_models.RECORDS,
    *bvlc.RECORDS,
    *akamaster.RECORDS,
)

# The tag "imagenet" means the first of these that a model has: what the family's preprocessing without weights is for.
IMAGENET = ("keras_in1k", "bvlc_in1k", "tv_in1k")

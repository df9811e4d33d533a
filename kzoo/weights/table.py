"""Every set of pretrained weights that kzoo knows, as data. A model and a tag name one record."""

from kzoo.weights.record import Record
from kzoo.weights.records import akamaster, bvlc, keras_applications, packaged, timm_hub, torchvision_models

RECORDS: tuple[Record, ...] = (
    *keras_applications.RECORDS,
    *timm_hub.RECORDS,
    *torchvision_models.RECORDS,
    *bvlc.RECORDS,
    *akamaster.RECORDS,
    *packaged.RECORDS,
)

# The tag "imagenet" means the first of these that a model has: what the family's preprocessing without weights is for.
IMAGENET = ("keras_in1k", "bvlc_in1k", "tv_in1k")

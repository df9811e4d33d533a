"""Every set of pretrained weights that kzoo knows, as data. A model and a tag name one record."""

from collections.abc import Iterable

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


def best_on_imagenet(records: Iterable[Record]) -> Record | None:
    """The record of the highest published top-1 accuracy on ImageNet, of those that may be used commercially.

    Weights whose licence forbids commercial use must be asked for by their tag. Of equals the first is taken.
    """
    free = (r for r in records if r.labels == "imagenet" and r.accuracy and not r.non_commercial)
    return max(free, key=lambda record: record.accuracy.top1 if record.accuracy else 0.0, default=None)


_BEST = ((model, best_on_imagenet(r for r in RECORDS if r.model == model)) for model in {r.model for r in RECORDS})
# What the tag "imagenet" means, by the model's name.
IMAGENET: dict[str, Record] = {model: record for model, record in _BEST if record}

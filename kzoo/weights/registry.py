"""Records by model and tag, the user's included. Looking them up imports neither Keras nor TensorFlow."""

import fnmatch

from kzoo.errors import unknown
from kzoo.weights import user_weights
from kzoo.weights.record import Record
from kzoo.weights.records import applications
from kzoo.weights.table import IMAGENET, RECORDS


def list_weights(model: str = "*") -> list[Record]:
    """List the records of pretrained weights of a model, or of all models that match a shell pattern.

    A model's default comes first, then the others by their published accuracy, and what the user has added (`kzoo
    weights add`) last; a model without pretrained weights has none. The models of keras.applications are listed by a
    pattern that begins with "keras:".

    >>> [record.tag for record in list_weights("vgg16")]
    ['tv_in1k', 'keras_in1k', 'keras_in1k_notop']
    >>> list_weights("plain*")
    []
    """
    if applications.is_application(model):  # which are listed where they are asked for
        return [record for name in fnmatch.filter(applications.RECORDS, model) for record in applications.RECORDS[name]]
    records = (*sorted(RECORDS, key=_rank), *user_weights.records())
    names = fnmatch.filter(sorted({record.model for record in records}), model)
    return [record for name in names for record in records if record.model == name]


def get_record(model: str, tag: str | None = None) -> Record:
    """Find the record of one set of weights.

    Args:
        model: The name of a model.
        tag: The record's tag, or "imagenet" for the best published ImageNet weights of the model whose licence does
            not forbid commercial use. By default the model's default, which is that, where there is one.

    Raises:
        kzoo.errors.InvalidArgument: There is no such record.

    >>> record = get_record("resnet50_v1_5", "imagenet")
    >>> record.tag, record.accuracy.top1, record.accuracy.source, record.accuracy.measured
    ('tv2_in1k', 0.80858, 'torchvision 0.28.0', False)
    """
    records = list_weights(model)
    if model not in {record.model for record in records}:  # a pattern is no name
        names = applications.RECORDS if applications.is_application(model) else {r.model for r in list_weights()}
        raise unknown("model with pretrained weights", model, names)
    if tag is None:
        return records[0]
    tags = {record.tag: record for record in records}
    if applications.is_application(model):
        tags["imagenet"] = records[0]
    elif model in IMAGENET:
        tags["imagenet"] = IMAGENET[model]
    if tag not in tags:
        raise unknown(f"weights for {model}", tag, tags, f"See kzoo weights list {model}.")
    return tags[tag]


def is_tag(model: str, weights: str) -> bool:
    """Whether weights are named by a tag of a model, or "imagenet", and not by a path.

    >>> is_tag("vgg16", "tv_in1k"), is_tag("vgg16", "vgg16.pth")
    (True, False)
    """
    return weights in ("imagenet", *(record.tag for record in list_weights(model)))


def is_imagenet(record: Record) -> bool:
    """Whether "imagenet" means this record of its model."""
    if applications.is_application(record.model):
        return record == applications.RECORDS[record.model][0]
    return record == IMAGENET.get(record.model)


def _rank(record):
    return record is not IMAGENET.get(record.model), -(record.accuracy.top1 if record.accuracy else 0.0)

"""Records by model and tag, the user's included. Looking them up imports neither Keras nor TensorFlow."""

import fnmatch

from kzoo.errors import unknown
from kzoo.weights import user_weights
from kzoo.weights.record import Record
from kzoo.weights.records import applications
from kzoo.weights.table import IMAGENET, RECORDS


def list_weights(model: str = "*") -> list[Record]:
    """List the records of pretrained weights of a model, or of all models that match a shell pattern.

    A model's default comes first, and what the user has added (`kzoo weights add`) last; a model without pretrained
    weights has none. The models of keras.applications are listed by a pattern that begins with "keras:".

    >>> [record.tag for record in list_weights("resnet18")]
    ['tv_in1k', 'a1_in1k']
    >>> list_weights("plain*")
    []
    """
    if applications.is_application(model):  # which are listed where they are asked for
        return [record for name in fnmatch.filter(applications.RECORDS, model) for record in applications.RECORDS[name]]
    records = (*RECORDS, *user_weights.records())
    names = fnmatch.filter(sorted({record.model for record in records}), model)
    return [record for name in names for record in sorted((r for r in records if r.model == name), key=_rank)]


def get_record(model: str, tag: str | None = None) -> Record:
    """Find the record of one set of weights.

    Args:
        model: The name of a model.
        tag: The record's tag, or "imagenet" for the model's default ImageNet weights. By default the model's default.

    Raises:
        kzoo.errors.InvalidArgument: There is no such record.

    >>> get_record("resnet50", "imagenet").files[0].name
    'resnet50_weights_tf_dim_ordering_tf_kernels.h5'
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
    if records[0].tag in IMAGENET:
        tags["imagenet"] = records[0]
    if tag not in tags:
        raise unknown(f"weights for {model}", tag, tags, f"See kzoo weights list {model}.")
    return tags[tag]


def _rank(record):
    return IMAGENET.index(record.tag) if record.tag in IMAGENET else len(IMAGENET)

"""Figures of a classifier, computed from what it says of labelled images: functions of arrays, without a model."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from kzoo.errors import DataError

CONFIDENCE = 0.95  # of intervals
CALIBRATION_BINS = 15  # as in the tables of Guo et al., 2017

MOST_CLASSES_OF_MATRIX = 1_000  # of 20,000 it would take gigabytes
MOST_PAIRS = 10
MOST_MISTAKES = 24


class Outcomes(NamedTuple):
    """What a classifier says of N labelled images: all that figures need, some 30 bytes an image."""

    labels: np.ndarray
    """int [N]."""
    predictions: np.ndarray
    """int [N], the likeliest class."""
    confidences: np.ndarray
    """float64 [N], its probability."""
    log_likelihoods: np.ndarray
    """float64 [N], the logarithm of the label's probability."""
    in_top5: np.ndarray
    """bool [N], whether the label is among the five likeliest classes."""


def outcomes_of(labels: np.ndarray, logits: np.ndarray) -> Outcomes:
    """The outcomes of some images, of labels [N] and logits [N, classes].

    Raises:
        DataError: A label that is none of the outputs.
    """
    count, classes = logits.shape
    if count and (labels.min() < 0 or labels.max() >= classes):
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise DataError(f"A label is none of the model's {classes} outputs. Received: {wrong}. Labels count from 0.")
    logits = logits.astype(np.float64)
    rows = np.arange(count)
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_sums = np.log(np.exp(shifted).sum(axis=1))
    predictions = logits.argmax(axis=1)
    top5 = np.argpartition(logits, -5, axis=1)[:, -5:] if classes > 5 else np.tile(np.arange(classes), (count, 1))
    return Outcomes(
        labels=labels,
        predictions=predictions,
        confidences=np.exp(shifted[rows, predictions] - log_sums),
        log_likelihoods=shifted[rows, labels] - log_sums,
        in_top5=(top5 == labels[:, np.newaxis]).any(axis=1),
    )


def together(parts: Sequence[Outcomes]) -> Outcomes:
    """The outcomes of several batches as those of one."""
    return Outcomes(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def figures_of(outcomes: Outcomes, class_names: Sequence[str], where: Callable[[int], str]) -> dict[str, Any]:
    """Figures as plain data; `kzoo.train.evaluate` says what they are.

    Args:
        outcomes: Of all images.
        class_names: A name for each output of the model.
        where: Where the image of a row comes from.

    >>> found = outcomes_of(np.array([0, 1, 1]), np.log([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]))
    >>> figures = figures_of(found, ["cat", "dog"], "photo {}".format)
    >>> round(figures["accuracy"], 3), [round(end, 3) for end in figures["interval"]], figures["confusion_matrix"]
    (0.667, [0.208, 0.939], [[1, 0], [1, 1]])
    >>> figures["confused_pairs"]
    [{'true': 'dog', 'predicted': 'cat', 'images': 1, 'of': 2}]
    """
    names, count = list(class_names), len(outcomes.labels)
    hits = outcomes.predictions == outcomes.labels
    figures: dict[str, Any] = {
        "accuracy": float(hits.mean()),
        "interval": interval(int(hits.sum()), count),
        "loss": float(-outcomes.log_likelihoods.mean()),
        "calibration_error": calibration_error(outcomes.confidences, hits),
        "calibration_error_by_chance": calibration_error_by_chance(outcomes.confidences),
        "confidence": float(outcomes.confidences.mean()),
        "images": count,
    }
    if len(names) > 5:
        figures["top5_accuracy"] = float(outcomes.in_top5.mean())
    return {
        **figures,
        "classes": names,
        "per_class": _per_class(outcomes, names),
        "confused_pairs": _confused_pairs(outcomes, names),
        "mistakes": _mistakes(outcomes, names, where),
        **_confusion_matrix(outcomes, len(names)),
    }


def interval(successes: int, count: int) -> list[float]:
    """The 95 % interval of a share of `count` independent images: [low, high] (Wilson, 1927).

    Unlike the interval of a normal distribution it says something of few images, and at 0 and 100 %.

    >>> [round(end, 3) for end in interval(3, 3)]
    [0.439, 1.0]
    """
    from scipy.stats import binomtest

    found = binomtest(successes, count).proportion_ci(CONFIDENCE, method="wilson")
    return [float(found.low), float(found.high)]


def calibration_error(confidences: np.ndarray, hits: np.ndarray) -> float:
    """The expected calibration error, in 15 bins of equal width (Guo et al., 2017, section 2).

    Args:
        confidences: Float [N], the probability of each prediction.
        hits: Bool [N], whether it is right.

    Returns:
        By how much confidence and accuracy differ, as a mean over the images: 0 to 1.

    >>> round(calibration_error(np.array([0.9, 0.9, 0.6]), np.array([True, False, True])), 3)
    0.4
    """
    bins = _bins(confidences)
    sums = np.bincount(bins, confidences - hits, minlength=CALIBRATION_BINS)
    return float(np.abs(sums).sum() / len(confidences))


def calibration_error_by_chance(confidences: np.ndarray) -> float:
    """What a classifier of these confidences that is perfectly calibrated would show, by chance, on so many images.

    The hits of a bin are then a sum of independent draws, whose distance from its mean is about that of a normal
    distribution. The error of few images is mostly this; Bröcker and Smith, 2007, draw it instead.

    >>> round(calibration_error_by_chance(np.full(100, 0.9)), 4), round(calibration_error_by_chance(np.ones(5)), 4)
    (0.0239, 0.0)
    """
    variances = np.bincount(_bins(confidences), confidences * (1 - confidences), minlength=CALIBRATION_BINS)
    return float(np.sqrt(2 / np.pi * variances.clip(0)).sum() / len(confidences))


def _bins(confidences: np.ndarray) -> np.ndarray:
    """The bin of each confidence: bin m has those above m / 15, up to and with (m + 1) / 15."""
    edges = np.arange(1, CALIBRATION_BINS) / CALIBRATION_BINS
    return np.searchsorted(edges, confidences)


def _per_class(outcomes: Outcomes, names: list[str]) -> dict[str, dict]:
    labels, predictions = outcomes.labels, outcomes.predictions
    hits, actual, predicted = (
        np.bincount(found, minlength=len(names)).tolist()
        for found in (labels[predictions == labels], labels, predictions)
    )
    return {
        name: {
            "precision": hits[i] / predicted[i] if predicted[i] else None,
            "recall": hits[i] / actual[i] if actual[i] else None,
            "images": actual[i],
            "predicted": predicted[i],
        }
        for i, name in enumerate(names)
    }


def _confused_pairs(outcomes: Outcomes, names: list[str]) -> list[dict]:
    """The pairs (true class, predicted class) with the most mistakes; of as many, of the smaller class first.

    Counted from the mistakes alone: of many classes a matrix would be large, and nearly empty.
    """
    labels, predictions = outcomes.labels.astype(np.int64), outcomes.predictions
    wrong = labels != predictions
    pairs, counts = np.unique(labels[wrong] * len(names) + predictions[wrong], return_counts=True)
    of = np.bincount(labels, minlength=len(names))[pairs // len(names)]
    most = np.lexsort((pairs, of, -counts))[:MOST_PAIRS]
    return [
        {"true": names[pair // len(names)], "predicted": names[pair % len(names)], "images": count, "of": total}
        for pair, count, total in zip(pairs[most].tolist(), counts[most].tolist(), of[most].tolist(), strict=True)
    ]


def _mistakes(outcomes: Outcomes, names: list[str], where: Callable[[int], str]) -> list[dict]:
    """The mistakes of which the classifier is most confident."""
    wrong = np.flatnonzero(outcomes.predictions != outcomes.labels)
    most = wrong[np.argsort(-outcomes.confidences[wrong], kind="stable")[:MOST_MISTAKES]]
    return [
        {
            "where": where(row),
            "row": row,
            "true": names[outcomes.labels[row]],
            "predicted": names[outcomes.predictions[row]],
            "probability": float(outcomes.confidences[row]),
            "true_probability": float(np.exp(outcomes.log_likelihoods[row])),
        }
        for row in most.tolist()
    ]


def _confusion_matrix(outcomes: Outcomes, classes: int) -> dict[str, list]:
    """The matrix as an entry; of very many classes none."""
    if classes > MOST_CLASSES_OF_MATRIX:
        return {}
    from sklearn.metrics import confusion_matrix

    return {"confusion_matrix": confusion_matrix(*outcomes[:2], labels=range(classes)).tolist()}

"""Figures against scikit-learn's, SciPy's and those of papers, and their size for many classes."""

import json
import math
from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats
import sklearn.metrics

from kzoo.errors import DataError
from kzoo.train import figures, runs
from kzoo.train.figures import (
    calibration_error,
    calibration_error_by_chance,
    figures_of,
    interval,
    outcomes_of,
    together,
)


def scores(count=500, classes=8):
    random = np.random.default_rng(0)
    labels = random.integers(0, classes - 1, count)  # the last class has no image
    logits = random.normal(size=(count, classes)).astype("float32")
    logits[:, 2] -= 10  # the third is never predicted
    logits[np.arange(count), labels] += 1
    return labels, logits


def report(labels, logits, names=None) -> dict[str, Any]:
    names = names or [f"class {i}" for i in range(logits.shape[1])]
    return figures_of(outcomes_of(labels, logits), names, "image {}".format)


def test_figures_are_scikit_learns():
    labels, logits = scores()
    found = report(labels, logits)
    predictions = logits.argmax(axis=1)
    metrics: Any = sklearn.metrics
    precision, recall, _, support = metrics.precision_recall_fscore_support(
        labels, predictions, labels=range(8), zero_division=np.nan
    )
    for i, name in enumerate(found["classes"]):
        assert found["per_class"][name] == {
            "precision": None if i == 2 else pytest.approx(precision[i], rel=1e-12),
            "recall": None if i == 7 else pytest.approx(recall[i], rel=1e-12),
            "images": support[i],
            "predicted": (predictions == i).sum(),
        }
    probabilities = scipy.special.softmax(logits.astype("float64"), axis=1)
    assert found["accuracy"] == sklearn.metrics.accuracy_score(labels, predictions)
    assert found["loss"] == pytest.approx(sklearn.metrics.log_loss(labels, probabilities, labels=range(8)), rel=1e-9)
    assert found["confidence"] == pytest.approx(probabilities.max(axis=1).mean(), rel=1e-12)
    top5 = sklearn.metrics.top_k_accuracy_score(labels, logits, k=5, labels=range(8))
    assert found["top5_accuracy"] == pytest.approx(top5, rel=1e-12)
    matrix = sklearn.metrics.confusion_matrix(labels, predictions, labels=range(8))
    assert found["confusion_matrix"] == matrix.tolist()
    assert found["images"] == 500
    # The most confused pairs, from the matrix.
    np.fill_diagonal(matrix, 0)
    pairs = sorted(
        ((-matrix[i, j], support[i], i, j) for i in range(8) for j in range(8) if matrix[i, j]),
    )[:10]
    assert found["confused_pairs"] == [
        {"true": f"class {i}", "predicted": f"class {j}", "images": -count, "of": of} for count, of, i, j in pairs
    ]


def test_batches_are_as_one():
    labels, logits = scores()
    cut = together([outcomes_of(labels[:128], logits[:128]), outcomes_of(labels[128:], logits[128:])])
    assert figures_of(cut, list("abcdefgh"), str) == figures_of(outcomes_of(labels, logits), list("abcdefgh"), str)


def test_figures_are_plain_data():
    found = report(*scores())
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(
    ("right", "count", "low", "high"), [(3, 3, 0.4385, 1), (0, 3, 0, 0.5615), (95, 100, 0.8882, 0.9785)]
)
def test_intervals_are_wilsons(right, count, low, high):
    """Wilson, 1927: the shares from which the found one is 1.96 standard deviations away."""
    found = interval(right, count)
    assert found == pytest.approx([low, high], abs=5e-5)
    z = scipy.stats.norm.ppf(0.975)
    for end in found:
        if end not in (0, 1):
            assert abs(right / count - end) / math.sqrt(end * (1 - end) / count) == pytest.approx(z, rel=1e-9)


def test_an_interval_holds_the_truth_19_times_in_20():
    random = np.random.default_rng(0)
    held = [low <= 0.9 <= high for low, high in (interval(k, 50) for k in random.binomial(50, 0.9, 2000).tolist())]
    assert np.mean(held) == pytest.approx(0.95, abs=0.025)


def test_calibration_error_is_guos():
    """Section 2, equation 3, written as there: bins ((m - 1) / M, m / M]."""
    random = np.random.default_rng(0)
    confidences = np.concatenate([random.random(400), np.arange(16) / 15])  # edges too
    hits = random.random(len(confidences)) < confidences**2
    error = 0.0
    for m in range(1, 16):
        inside = (confidences > (m - 1) / 15) & (confidences <= m / 15) | ((m == 1) & (confidences == 0))
        if inside.any():
            error += inside.mean() * abs(hits[inside].mean() - confidences[inside].mean())
    assert error > 0.1
    assert calibration_error(confidences, hits) == pytest.approx(error, rel=1e-12)


def test_chance_is_what_calibrated_models_show():
    random = np.random.default_rng(0)
    confidences = random.random(300) * 0.5 + 0.5
    drawn = [calibration_error(confidences, random.random(300) < confidences) for _ in range(500)]
    assert calibration_error_by_chance(confidences) == pytest.approx(np.mean(drawn), rel=0.03)


def test_mistakes_are_the_most_confident_ones():
    logits = np.zeros((100, 3))
    logits[:, 1] = np.arange(100) / 10
    labels = np.where(np.arange(100) % 2, 1, 0)  # image 0 is right by a tie, the odd ones by confidence
    found = report(labels, logits)["mistakes"]
    assert len(found) == figures.MOST_MISTAKES
    assert [one["row"] for one in found] == list(range(98, 50, -2))
    assert found[0]["where"] == "image 98"
    expected = scipy.special.softmax([0, 9.8, 0])
    assert (found[0]["probability"], found[0]["true_probability"]) == pytest.approx(tuple(expected[1::-1]), rel=1e-12)


def test_certain_mistakes_have_a_finite_loss():
    found = report(np.array([0, 1]), np.array([[0, 5000.0], [0, 5000.0]]))
    assert found["loss"] == 2500
    assert found["mistakes"][0]["true_probability"] == 0


def test_five_classes_have_no_top_five():
    assert "top5_accuracy" not in report(np.array([0, 1]), np.zeros((2, 5)))


def test_one_logit_for_all_classes_is_no_perfect_top_five():
    assert report(np.arange(10), np.zeros((10, 10)))["top5_accuracy"] == 0.5


def test_the_figures_of_many_classes_can_be_read_again(tmp_path):
    """The matrix of 2,500 classes made a metrics.json that was too large for kzoo itself."""
    for classes, has_matrix in ((1_000, True), (1_001, False), (20_000, False)):
        labels = np.array([classes - 1, 0, 0])
        logits = np.full((3, classes), -20.0)
        logits[[0, 1, 2], [classes - 1, 0, 1]] = 0
        found = report(labels, logits, [f"a class with a long name {i}" for i in range(classes)])
        one = {"precision": 1, "recall": 0.5, "images": 2, "predicted": 1}
        assert found["per_class"]["a class with a long name 0"] == one
        assert ("confusion_matrix" in found) == has_matrix
        assert [(pair["true"][-1], pair["predicted"][-1], pair["images"]) for pair in found["confused_pairs"]] == [
            ("0", "1", 1)
        ]
        # As of a run that was fine-tuned and then evaluated.
        metrics = {"head": {"validation": found}, "validation": found, "test": found}
        runs.write_json(tmp_path / "metrics.json", metrics)
        assert runs.read_json(tmp_path / "metrics.json") == metrics


def test_a_label_beyond_the_outputs():
    with pytest.raises(DataError, match=r"A label is none of the model's 2 outputs. Received: 2."):
        report(np.array([0, 2]), np.zeros((2, 2)))

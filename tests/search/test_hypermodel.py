"""keras-tuner's own tuners with kzoo's hypermodel: trials complete, in the dtype policy and with the score they say."""

import json

import pytest

pytestmark = pytest.mark.slow  # the doctest of ImageClassifier builds one by default

CODE = """
import json, sys
import keras, keras_tuner
import kzoo
from kzoo.search import ImageClassifier
from kzoo.train import TrainConfig, evaluate

tuner_class, options, train = json.loads(sys.argv[1])
digits = [kzoo.data.load("digits", split, image_size=28) for split in ("train", "validation")]
space = {"learning_rate": {"min": 0.5, "max": 2, "relative": True}, "dropout": {"values": [0.1, 0.3]}}
policies = set()

class Watched(ImageClassifier):
    def build(self, hp):
        model = super().build(hp)
        policies.add(model.get_layer("conv1").dtype_policy.name)
        return model

hypermodel = Watched("mnist_net", *digits, train=TrainConfig(**train), space=space)
tuner = getattr(keras_tuner, tuner_class)(
    hypermodel, objective="val_accuracy", directory=sys.argv[2], seed=1, **options
)
tuner.search(verbose=0)
trials = list(tuner.oracle.trials.values())
model = tuner.get_best_models()[0]
print()
print(json.dumps({
    "statuses": [trial.status for trial in trials],
    "values": [trial.hyperparameters.values for trial in trials],
    "best": tuner.oracle.get_best_trials()[0].score,
    "loaded": evaluate(model, digits[1])["accuracy"],
    "policies": sorted(policies),
}))
"""


def tune(fresh_python, tmp_path, tuner, options, train):
    arguments = json.dumps([tuner, options, train])
    return json.loads(fresh_python(CODE, arguments, tmp_path / "tuner").stdout.splitlines()[-1])


def test_a_tuner_of_keras_tuner(fresh_python, tmp_path):
    train = {"epochs": 1, "batch_size": 128, "precision": "mixed_bfloat16"}
    found = tune(fresh_python, tmp_path, "RandomSearch", {"max_trials": 2}, train)
    assert found["statuses"] == ["COMPLETED"] * 2
    assert found["policies"] == ["mixed_bfloat16"]
    assert sorted(found["values"][0]) == ["dropout", "learning_rate"]
    # Validation in training is in bfloat16, so that an image or two of 179 may tip over.
    assert found["loaded"] == pytest.approx(found["best"], abs=2.5 / 179)


@pytest.mark.parametrize(
    ("tuner", "options"),
    [
        ("BayesianOptimization", {"max_trials": 3, "num_initial_points": 2}),
        ("GridSearch", {"max_trials": 2}),
        ("Hyperband", {"max_epochs": 3}),
    ],
)
def test_the_other_tuners_on_two_replicas(tuner, options, fresh_python, tmp_path):
    train = {"epochs": 1, "batch_size": 128, "precision": "float32", "strategy": "mirrored", "devices": "cpu:2"}
    found = tune(fresh_python, tmp_path, tuner, options, train)
    assert set(found["statuses"]) == {"COMPLETED"}
    assert found["policies"] == ["float32"]
    assert found["loaded"] == pytest.approx(found["best"], abs=0.5 / 179)

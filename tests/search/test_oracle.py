"""Proposals are a function of the table: they start at the start, stay in the space, and learn.

The references are keras-tuner's own tuners where those do not forget, and a function with a known best point.
"""

import json
import math

import keras_tuner
import pytest

from kzoo.search.oracle import hyperparameters, propose
from kzoo.search.settings import Algorithm
from kzoo.search.space import check, starts

SPACE = check(
    {
        "optimizer": {"values": ["adamw", "sgd"], "start": "sgd"},
        "learning_rate": {"min": 0.01, "max": 100, "scale": "log", "relative": True, "start": 30},
        "augment": {"values": [["none"], ["digits"], ["digits", "trivial"]]},
        "batch_size": {"values": [16, 32, 64]},
        "patience": {"min": 2, "max": 9},
    }
)


def score(values):
    """Best at 1 with adamw."""
    return 1 - 0.1 * abs(math.log10(values["learning_rate"])) - 0.3 * (values["optimizer"] == "sgd")


DEFAULTS = {"optimizer": "adamw", "learning_rate": 1, "augment": ["digits"], "batch_size": 32, "patience": 5}


def ask(algorithm, rows, state, *, space=SPACE, defaults=None, epochs=9, most=100):
    """One proposal, through JSON, as the search asks for it."""
    question = [
        algorithm,
        space,
        starts(space) if defaults is None else defaults,
        7,
        epochs,
        most,
        len(rows),
        rows,
        state,
    ]
    return json.loads(json.dumps(propose(*json.loads(json.dumps(question)))))


def trials(algorithm, count, *, fails=(), space=SPACE, **how):
    rows, state = [], None
    while len(rows) < count:
        answer = ask(algorithm, rows, state, space=space, **how)
        if answer["status"] != "run":
            break
        state = answer["state"]
        status = "failed" if len(rows) in fails else "completed"
        rows.append(
            {
                "number": len(rows),
                "values": answer["values"],
                "epochs": answer["epochs"],
                "status": status,
                "accuracy": None if status == "failed" else score(answer["values"]),
                "rung": answer["rung"],
            }
        )
    return rows


@pytest.mark.parametrize("algorithm", Algorithm.__args__)
def test_proposals_start_at_the_start_and_stay_in_the_space(algorithm):
    count = 9 if algorithm == "bayesian" else 25  # its last three take a second each
    rows = trials(algorithm, count, fails=(1, 2, 3, 4, 9))
    assert rows[0]["values"] == starts(SPACE)
    assert len({json.dumps([row["values"], row["epochs"]]) for row in rows}) == count
    for row in rows:
        values = row["values"]
        assert list(values) == list(SPACE)
        assert values["optimizer"] in ("adamw", "sgd")
        assert 0.01 <= values["learning_rate"] <= 100
        assert values["augment"] in SPACE["augment"]["values"]
        assert type(values["patience"]) is int
        assert 2 <= values["patience"] <= 9


@pytest.mark.parametrize("algorithm", ["bayesian", "hyperband", "random"])
def test_what_kzoo_does_by_itself_comes_second(algorithm):
    rows = trials(algorithm, 4, defaults=DEFAULTS, fails=(0,))
    assert [row["values"] for row in rows[:2]] == [starts(SPACE), DEFAULTS]
    assert DEFAULTS not in [row["values"] for row in rows[2:]]
    # Where it is the start, no trial is spent on it.
    assert trials(algorithm, 4)[1]["values"] != starts(SPACE)


@pytest.mark.parametrize("algorithm", Algorithm.__args__)
def test_the_same_table_gives_the_same_proposal(algorithm):
    rows = trials(algorithm, 7)
    assert trials(algorithm, 7) == rows


def test_bayesian_learns():
    space = {name: SPACE[name] for name in ("optimizer", "learning_rate")}
    found = trials("bayesian", 15, space=space)
    late = [row["values"] for row in found[8:]]
    assert sum(values["optimizer"] == "adamw" for values in late) >= 5
    # The start scores 0.55, a point at random 0.75 on average.
    assert max(map(score, late)) > 0.95


def test_bayesian_avoids_what_fails():
    """A region of the space that crashes, and would be the best: it is not proposed again and again."""
    space = check({"learning_rate": {"min": 0.01, "max": 100, "scale": "log", "start": 0.02}})
    rows, state = [], None
    while len(rows) < 20:
        answer = ask("bayesian", rows, state, space=space)
        state, rate = answer["state"], answer["values"]["learning_rate"]
        outcome = (
            {"status": "failed", "accuracy": None} if rate > 1 else {"status": "completed", "accuracy": 0.5 + rate / 3}
        )
        rows.append({"number": len(rows), "values": answer["values"], "rung": {}, **outcome})
    # It looks there 5 times of the last ten; keras-tuner, which leaves failures out, all ten times.
    assert sum(row["status"] == "failed" for row in rows[10:]) <= 6


def test_grid_tries_each_combination_once():
    space = check({"optimizer": {"values": ["adamw", "sgd"]}, "label_smoothing": {"min": 0, "max": 0.2, "start": 0.05}})
    rows = trials_of_grid(space)
    assert {(row["values"]["optimizer"], round(row["values"]["label_smoothing"], 9)) for row in rows} == {
        (optimizer, value) for optimizer in ("adamw", "sgd") for value in (0, 0.05, 0.1, 0.2)
    }
    assert len(rows) == 8


def trials_of_grid(space):
    rows = []
    while (answer := ask("grid", rows, None, space=space))["status"] == "run":
        rows.append(
            {"number": len(rows), "values": answer["values"], "status": "running", "accuracy": None, "rung": {}}
        )
    return rows


def test_hyperband_gives_more_epochs_to_the_best():
    rows = trials("hyperband", 22)
    # Li et al., 2018: with 9 epochs and a factor of 3, brackets of 1, 3 and 9 epochs; the sizes are keras-tuner's.
    assert [row["epochs"] for row in rows] == [1] * 9 + [3] * 3 + [9] + [3] * 5 + [9] * 2 + [9] * 2
    first, second = rows[:9], rows[9:12]
    best = sorted(first, key=lambda row: row["accuracy"], reverse=True)[:3]
    assert sorted(row["number"] for row in best) == sorted(int(row["rung"]["tuner/trial_id"]) for row in second)


def test_hyperband_waits_for_a_trial_in_progress():
    rows = trials("hyperband", 9)
    state = None
    replayed = []
    for row in rows:
        state = ask("hyperband", replayed, state)["state"]
        replayed.append({**row, "status": "running", "accuracy": None})
    # Nothing can be promoted yet; keras-tuner goes on with the next bracket instead.
    answer = ask("hyperband", replayed, state)
    assert (answer["status"], answer["epochs"]) == ("run", 3)
    assert "tuner/trial_id" not in answer["rung"]
    # Unless those that are promoted need all trials that are left.
    assert ask("hyperband", replayed, state, most=13)["status"] == "wait"


@pytest.mark.parametrize(("epochs", "most"), [(9, 13), (15, 10), (60, 20), (60, 5)])
def test_hyperband_trains_to_the_end_within_its_trials(epochs, most):
    """The sizes of the first bracket are halved until it fits: keras-tuner's for 60 epochs has 49 trials."""
    rows = trials("hyperband", most, epochs=epochs, most=most)
    assert [row["epochs"] for row in rows].count(epochs) >= 1
    if most > 5:
        assert min(row["epochs"] for row in rows) < epochs


def test_a_failed_trial_does_not_stop_hyperband():
    for fails in [(3,), (0, 1, 2, 3, 4)]:
        rows = trials("hyperband", 13, fails=fails, most=13)
        assert [row["epochs"] for row in rows] == [1] * 9 + [3] * 3 + [9]
        assert not {int(row["rung"]["tuner/trial_id"]) for row in rows[9:]} & set(fails)


def test_random_is_keras_tuners():
    """After the start, the draws are those of its own oracle with the same seed."""
    reference = keras_tuner.oracles.RandomSearchOracle(
        keras_tuner.Objective("accuracy", "max"), hyperparameters=hyperparameters(SPACE), seed=8
    )
    own = [row["values"] for row in trials("random", 5)[1:]]
    theirs = [reference.populate_space(str(i))["values"] for i in range(4)]
    assert [values["learning_rate"] for values in own] == [values["learning_rate"] for values in theirs]
    assert [json.dumps(values["augment"]) for values in own] == [values["augment"] for values in theirs]


def test_a_space_that_is_used_up():
    space = check({"optimizer": {"values": ["adamw", "sgd"]}})
    rows = trials("random", 9, space=check({**space, "learning_rate": {"values": [1.0, 2.0], "relative": True}}))
    assert len(rows) == 4

"""Which trial to try next: keras-tuner's algorithms, as a function of what has been tried.

keras-tuner keeps its state in objects and in files that a kill can damage, and forgets part of it (a resumed grid
search ends at once). Here an oracle is made for each question from the rows of the trials table and a little state,
which goes back with the answer: whoever asks writes it down together with the trial, in one file.
"""

import copy
import functools
import json
import warnings
from collections.abc import Sequence
from typing import Any

import keras_tuner
import numpy as np
from keras_tuner.engine import trial as tuner_trial
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from kzoo.search.space import is_whole

OBJECTIVE = keras_tuner.Objective("accuracy", "max")
HYPERBAND_FACTOR = 3
# What hyperband adds to the values of a trial.
_RUNG = "tuner/"
_STATUSES = {"completed": "COMPLETED", "failed": "FAILED", "running": "RUNNING"}


def propose(
    algorithm: str,
    space: dict,
    defaults: dict,
    seed: int,
    epochs: int,
    trials: int,
    number: int,
    rows: Sequence[dict],
    state: dict | None,
) -> dict[str, Any]:
    """The next trial.

    Args:
        algorithm: One of `kzoo.search.settings.Algorithm`.
        space: As `kzoo.search.space.check` gives it.
        defaults: Of kzoo, as `kzoo.search.space.default_values` gives them; not used by a grid.
        seed: Of the draws. The answer depends on nothing but the arguments.
        epochs: Of a whole training, which hyperband gives to the best trials only.
        trials: How many there can be in all; hyperband begins with a bracket that fits.
        number: Of the trial that is asked for.
        rows: The trials so far, in their order: number, values, status, accuracy, rung (what hyperband noted).
        state: What the last answer had; None at first.

    Returns:
        status "run", "wait" (for a trial to end) or "stop"; with "run" also values, epochs and rung; state.
    """
    oracle = _oracle(algorithm, space, seed, epochs, trials)
    if algorithm != "grid":
        oracle.defaults = _as_declared(defaults, {hp.name: hp for hp in oracle.hyperparameters.space})
    _restore(oracle, algorithm, rows, state)
    # Threads would wait for each other at matrices as small as these, and take the cores from the trials.
    with threadpool_limits(1), warnings.catch_warnings():
        # Of a Gaussian process that explains the scores by noise, as it may.
        warnings.simplefilter("ignore", ConvergenceWarning)
        answer = oracle.populate_space(str(number))
    if algorithm == "bayesian" and oracle._duplicate(answer["values"] or {}):  # which keras-tuner tries again
        answer = oracle._random_populate_space()
    status = {"RUNNING": "run", "IDLE": "wait", "STOPPED": "stop"}[answer["status"]]
    found = {"status": status, "state": _state(oracle, algorithm)}
    if status == "run":
        values = answer["values"]
        rung = {key: value for key, value in values.items() if key.startswith(_RUNG)}
        found |= {
            "values": decode({key: value for key, value in values.items() if key not in rung}, space),
            "epochs": min(epochs, rung.get("tuner/epochs", epochs)),
            "rung": rung,
        }
    return found


def hyperparameters(space: dict, *, points: int | None = None) -> keras_tuner.HyperParameters:
    """The space as keras-tuner's; with `points`, so many values of each range."""
    hp = keras_tuner.HyperParameters()
    for name in space:
        declare(hp, name, space[name], points)
    return hp


def declare(hp, name: str, entry: dict, points: int | None = None) -> Any:
    """Name one hyperparameter to keras-tuner; returns the value that it has now, as keras-tuner keeps it."""
    if "values" in entry:
        choices = _encoded(entry["values"])
        start = choices[entry["values"].index(entry["start"])]
        return hp.Choice(name, choices, default=start)
    whole, low, high = is_whole(name), entry["min"], entry["max"]
    if points is not None:
        values = np.geomspace(low, high, points) if entry["scale"] == "log" else np.linspace(low, high, points)
        kept = {(round if whole else float)(value) for value in [*values.tolist(), entry["start"]]}
        return hp.Choice(name, sorted(kept), default=(int if whole else float)(entry["start"]))
    kind = hp.Int if whole else hp.Float
    return kind(name, low, high, sampling=entry["scale"], default=(int if whole else float)(entry["start"]))


def _encoded(values: list) -> list:
    """Values as keras-tuner takes them: numbers of one kind stay numbers, which have an order; others become text."""
    kinds = {type(value) for value in values}
    if kinds in ({int}, {float}, {str}):
        return values
    return list(map(float, values)) if kinds == {int, float} else list(map(json.dumps, values))


def decode(values: dict, space: dict) -> dict:
    """Keras-tuner's values as they stand in the space."""
    return {
        name: space[name]["values"][_encoded(space[name]["values"]).index(value)] if "values" in space[name] else value
        for name, value in values.items()
    }


class _FromStart:
    """Trial 0 of a search is the start. Trial 1 has kzoo's defaults, if they differ."""

    defaults: dict

    def _random_values(self):
        start = {hp.name: hp.default for hp in self.hyperparameters.space}  # pyright: ignore
        begin = [start] if self.defaults == start else [start, self.defaults]
        if len(self.trials) < len(begin):  # pyright: ignore[reportAttributeAccessIssue]
            return begin[len(self.trials)]  # pyright: ignore[reportAttributeAccessIssue]
        return super()._random_values()  # pyright: ignore[reportAttributeAccessIssue]


class _Random(_FromStart, keras_tuner.oracles.RandomSearchOracle):
    pass


class _Bayesian(_FromStart, keras_tuner.oracles.BayesianOptimizationOracle):
    pass


class _Hyperband(_FromStart, keras_tuner.oracles.HyperbandOracle):
    """Li et al., 2018, algorithm 1, within a number of trials: without it, few would end before the first promotion."""

    def __init__(self, trials: int, **options):
        self._most = trials
        super().__init__(**options)

    def _get_num_brackets(self):
        """As many as there are, without those that are too large for the trials."""
        brackets = super()._get_num_brackets()
        while brackets > 1 and self._trials_of(brackets - 1) > self._most:
            brackets -= 1
        return brackets

    def populate_space(self, trial_id):
        """As keras-tuner's, but wait for promotions rather than spend their trials on the next bracket."""
        before = copy.deepcopy((self._brackets, self._current_bracket, self._current_iteration))
        owed = sum(self._trials_of(one["bracket_num"]) - sum(map(len, one["rounds"])) for one in self._brackets)
        newest = self._brackets[-1] if self._brackets else None
        answer = super().populate_space(trial_id)
        is_new = bool(self._brackets) and self._brackets[-1] is not newest
        if is_new and self.ongoing_trials and owed >= self._most - len(self.trials):
            self._brackets, self._current_bracket, self._current_iteration = before
            return {"status": "IDLE", "values": None}
        return answer

    def _trials_of(self, bracket: int) -> int:
        return sum(self._get_size(bracket, number) for number in range(self._get_num_rounds(bracket)))


def _oracle(algorithm: str, space: dict, seed: int, epochs: int, trials: int) -> Any:
    """An oracle that has seen nothing."""
    options: dict[str, Any] = {
        "max_trials": None,  # the search counts them itself
        "objective": OBJECTIVE,
        "seed": seed % (2**32 - 1) + 1,  # keras-tuner takes 0 for none
        "hyperparameters": hyperparameters(space, points=3 if algorithm == "grid" else None),
        "allow_new_entries": False,
        "tune_new_entries": False,
    }
    if algorithm == "hyperband":
        del options["max_trials"]
        # As many rounds as the budget lasts.
        options |= {"trials": trials, "max_epochs": epochs, "factor": HYPERBAND_FACTOR, "hyperband_iterations": None}
    if algorithm == "bayesian":
        # keras-tuner begins with three for each dimension, which is as many as most searches have.
        options["num_initial_points"] = len(space) + 1
    kinds = {
        "random": _Random,
        "bayesian": _Bayesian,
        "hyperband": _Hyperband,
        "grid": keras_tuner.oracles.GridSearchOracle,
    }
    return kinds[algorithm](**options)


def _restore(oracle, algorithm: str, rows: Sequence[dict], state: dict | None) -> None:
    """Tell an oracle what has been tried."""
    space = {hp.name: hp for hp in oracle.hyperparameters.space}
    if algorithm == "bayesian":
        # The one thing that it draws from besides; keras-tuner forgets it.
        oracle._random_state = np.random.RandomState((oracle.seed + len(rows)) % 2**32)
    if algorithm in ("bayesian", "hyperband"):
        rows = _with_failures_as_worst(rows)
    for row in rows:
        hp = oracle.get_space()
        hp.values = {**_as_declared(row["values"], space), **row["rung"]}
        trial = tuner_trial.Trial(hp, trial_id=str(row["number"]), status=_STATUSES[row["status"]])
        trial.score = row["accuracy"] if row["status"] == "completed" else None
        oracle.trials[trial.trial_id] = trial
        oracle.start_order.append(trial.trial_id)
        oracle._tried_so_far.add(oracle._compute_values_hash(hp.values))
        if row["status"] == "running":
            oracle.ongoing_trials[trial.trial_id] = trial
    for name, value in (state or {}).items():
        setattr(oracle, name, value)
    if algorithm == "grid":
        _order(oracle)


def _with_failures_as_worst(rows: Sequence[dict]) -> list[dict]:
    """The rows, a failed trial as good as the worst one.

    keras-tuner leaves it out, would go there again, and in a bracket of hyperband wait for it for ever.
    """
    scores = [row["accuracy"] for row in rows if row["status"] == "completed"]
    worst = {"status": "completed", "accuracy": min(scores, default=0.0)}
    return [{**row, **worst} if row["status"] == "failed" else row for row in rows]


def _as_declared(values: dict, space: dict) -> dict:
    """Values of a row as keras-tuner keeps them."""
    found = {}
    for name, value in values.items():
        choices = getattr(space[name], "_values", None)  # of a Choice alone
        kept = value if choices is None or value in choices else json.dumps(value)
        found[name] = kept if choices is None else choices[choices.index(kept)]
    return found


def _order(oracle) -> None:
    """Put the trials of a grid search in the grid's order; from each of them the search may go on."""
    ordered = sorted(
        oracle.trials.values(),
        key=functools.cmp_to_key(lambda a, b: oracle._compare(a.hyperparameters.values, b.hyperparameters.values)),
    )
    for trial in ordered:
        oracle._ordered_ids.insert(trial.trial_id)
    oracle._populate_next = list(oracle.trials)


def _state(oracle, algorithm: str) -> dict:
    """What an oracle knows besides its trials, as plain data."""
    names = ["_seed_state"]
    if algorithm == "hyperband":
        names += ["_brackets", "_current_bracket", "_current_iteration"]
    return {name: getattr(oracle, name) for name in names}

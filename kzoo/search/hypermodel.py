"""`ImageClassifier`: kzoo's models, search space and training for those who write their own keras-tuner script."""

from dataclasses import replace
from typing import Any

from kzoo.backend import keras  # starts TensorFlow without its chatter, before keras-tuner does

# isort: split
import keras_tuner

from kzoo.data import Dataset
from kzoo.errors import InvalidArgument
from kzoo.hardware import probe
from kzoo.models import create_model
from kzoo.search.oracle import declare, decode
from kzoo.search.space import (
    Task,
    TrialConfig,
    check,
    check_suits,
    default_space,
    dropout_of,
    trial_config,
    with_epochs,
)
from kzoo.train.config import TrainConfig
from kzoo.train.fitting import fit
from kzoo.train.inputs import as_data
from kzoo.train.precision import dtype_policy, parse_devices, resolve
from kzoo.train.strategy import create_strategy


class ImageClassifier(keras_tuner.HyperModel):
    """A `keras_tuner.HyperModel` that builds with `create_model` and trains with `kzoo.train.fit`.

    Any tuner of keras-tuner takes it, with the objective "val_accuracy" or "val_loss". In it the dtype policy and the
    strategy are those of the configuration: tuners reset the one and know nothing of kzoo's care for the other.

    Args:
        model: A name of `kzoo.list_models()`.
        train_data: What `kzoo.train.fit` takes.
        validation_data: The same.
        train: What every trial has where the space says nothing.
        space: As `kzoo.search.space_for` gives it; by default the one for this model and data.

    Raises:
        InvalidArgument: No such model, or a space that cannot be used.

    >>> import kzoo, keras_tuner
    >>> train, validation = (kzoo.data.load("digits", split, image_size=28) for split in ("train", "validation"))
    >>> hypermodel = ImageClassifier("mnist_net", train, validation)
    >>> hypermodel.build(keras_tuner.HyperParameters()).count_params()
    524894
    """

    def __init__(
        self,
        model: str,
        train_data: Any,
        validation_data: Any,
        *,
        train: TrainConfig | None = None,
        space: dict | None = None,
    ):
        super().__init__()
        hardware = probe()
        self.train, _ = resolve(train or TrainConfig(), hardware)
        # Logical devices can only be made before TensorFlow runs anything, as it does to build a model.
        create_strategy(self.train, *parse_devices(self.train.devices, hardware))
        data, validation = as_data(train_data, None), as_data(validation_data, None)
        if not isinstance(data, Dataset) or not isinstance(validation, Dataset):
            raise InvalidArgument(
                "ImageClassifier takes Datasets of kzoo or arrays. "
                f"Received: {type(train_data).__name__}, {type(validation_data).__name__}."
            )
        self.model, self.data = model, (data, validation)
        shape, classes = data.image_shape, len(data.class_names)
        made = create_model(model, input_shape=shape, classes=classes)
        parameters = {model: made.count_params()}
        self.task = Task(data.public_name, len(data), len(validation), shape, classes, dropout_of(made), parameters)
        self.train = with_epochs(self.train, self.task)
        if space is None:
            space = default_space(self.task, self.train)
            del space["epochs"]  # which tuners may choose, as hyperband does
        self.space = check(space)
        check_suits(self.space, self.task)

    def build(self, hp: keras_tuner.HyperParameters) -> Any:
        """The model of a trial, under the trial's dtype policy, whatever policy is set."""
        trial = self._trial(hp)
        keras.utils.set_random_seed(trial.train.seed)
        return self._make(trial)

    def fit(self, hp: keras_tuner.HyperParameters, model: Any, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Train the model of a trial; returns val_accuracy and val_loss of its best epoch.

        Args:
            hp: The trial's values.
            model: What `build` made, perhaps with other weights: hyperband goes on with those of a shorter trial.
            *args: Not used: the data is known.
            **kwargs: callbacks are called; epochs and initial_epoch are hyperband's.
        """
        epochs = kwargs.get("epochs", self._trial(hp).train.total_epochs) - kwargs.get("initial_epoch", 0)
        trial = self._trial(hp, epochs)

        def again():
            fresh = self._make(trial)  # in the scope of the strategy
            fresh.set_weights(model.get_weights())
            return fresh

        result = fit(again, *self.data, trial.train, callbacks=kwargs.get("callbacks", ()))
        best = result.metrics["best_epoch"] - 1
        return {name: result.history[name][best] for name in ("val_accuracy", "val_loss")}

    def _trial(self, hp: keras_tuner.HyperParameters, epochs: int | None = None) -> TrialConfig:
        values = decode({name: declare(hp, name, entry) for name, entry in self.space.items()}, self.space)
        values |= {} if epochs is None or "epochs" not in values else {"epochs": epochs}
        train = self.train if epochs is None else replace(self.train, epochs=epochs)
        return trial_config(values, self.space, train, self.model, self.task)

    def _make(self, trial: TrialConfig) -> Any:
        with dtype_policy(trial.train.precision):
            return create_model(
                trial.model, input_shape=self.task.image_shape, classes=self.task.classes, **trial.arguments
            )

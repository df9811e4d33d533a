"""The helper of a search: a process that imports keras-tuner, TensorFlow and matplotlib, so that the search need not.

It answers a line of JSON on its standard input by one on its standard output, and ends when the input does. It keeps
nothing between two questions: killed, it is started again and asked again.
"""

import json
import os
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kzoo import console, errors
from kzoo.errors import KzooError
from kzoo.search.forkserver import ForkServer
from kzoo.search.space import Task, dropout_of


class HelperProcess:
    """The search's side of it; starts the process at the first question."""

    def __init__(self, server: ForkServer):
        self.server = server
        self._process: Any = None

    def ask(self, question: str, **arguments: Any) -> Any:
        """What `ANSWERS[question]` gives for these arguments, as plain data; its errors are raised here."""
        for _ in range(2):
            answer = self._exchange(json.dumps([question, arguments]))
            if answer is not None:
                break
            self.close()
        else:
            raise KzooError(f"The helper process of the search ended at the question {question!r}, twice.")
        if "error" in answer:
            raise getattr(errors, answer["error"])(answer["message"])
        return answer["answer"]

    def _exchange(self, line: str) -> dict | None:
        """One question; None if the process is gone."""
        if self._process is not None and self._process.poll() is not None:
            self.close()  # its pipes are still open
        if self._process is None:
            self._process = self.server.start("kzoo.search.helper")
        try:
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            return None
        return json.loads(answer) if answer else None

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            with suppress(BrokenPipeError), self._process as process:  # a question that it has not read
                process.kill()
                process.wait()
            self._process = None


def inspect(models: list[str], load: dict[str, Any], pretrained: dict[str, Any] | None = None) -> Task:
    """Look at the data and the models of a search.

    Raises:
        KzooError: Whatever would make every trial fail: data that cannot be read, a model that does not take it.
    """
    from kzoo.data.checks import check
    from kzoo.data.loading import load_splits
    from kzoo.models import create_model
    from kzoo.models.registry import defaults

    if pretrained is not None:
        return _inspect_pretrained(models[0], load, **pretrained)
    shapes, parameters, rates, image_shapes = {}, {}, [], {}
    for name in models:
        size = tuple(load["image_size"] or defaults(name)[0][:2])
        if size not in shapes:
            train, validation = load_splits(["train", "validation"], **{**load, "image_size": list(size)})
            if not shapes:
                check(train, validation)
            shapes[size] = train.image_shape
        image_shapes[name] = shapes[size]
        model = create_model(name, input_shape=image_shapes[name], classes=len(train.class_names))
        parameters[name] = model.count_params()
        rates.append(dropout_of(model))
    return Task(
        dataset=train.public_name,
        images=len(train),
        validation_images=len(validation),
        image_shape=image_shapes[models[0]],
        image_shapes=image_shapes,
        classes=len(train.class_names),
        dropout=rates[0],
        parameters=parameters,
    )


def _inspect_pretrained(name: str, load: dict[str, Any], *, weights: str, like: str | None) -> Task:
    """Likewise, with a model whose pretrained weights are fine-tuned."""
    from kzoo.backend import keras
    from kzoo.data.checks import check
    from kzoo.data.loading import load_splits
    from kzoo.transfer import add_head
    from kzoo.transfer.finetuning import pretrained
    from kzoo.transfer.freezing import leaves
    from kzoo.transfer.layerwise import lowest_of_last_size, stage_outputs
    from kzoo.weights.resolve import resolve

    train, validation = load_splits(["train", "validation"], **load)
    check(train, validation)
    chosen = resolve(name, weights, like)
    model = add_head(pretrained(chosen)(train.image_shape), len(train.class_names))
    return Task(
        dataset=train.public_name,
        images=len(train),
        validation_images=len(validation),
        image_shape=train.image_shape,
        classes=len(train.class_names),
        dropout=dropout_of(model) if chosen.record.include_top else None,
        parameters={name: model.count_params()},
        stages=tuple(stage_outputs(model)),
        unfreeze=lowest_of_last_size(model),
        batch_norms=any(isinstance(leaf, keras.layers.BatchNormalization) for leaf in leaves(model)),
    )


def _propose(**arguments: Any) -> dict:
    from kzoo import backend  # noqa: F401 - starts TensorFlow without its chatter, before keras-tuner does
    from kzoo.search.oracle import propose

    return propose(**arguments)


def _get_ready() -> None:
    """Import what proposals need, which takes seconds."""
    from kzoo import backend  # noqa: F401 - as above
    from kzoo.search import oracle  # noqa: F401


def _plot(folder: str, best: dict) -> None:
    from kzoo.search.plot import write_plot
    from kzoo.search.store import BestTrial

    write_plot(Path(folder), BestTrial(**best))


ANSWERS = {"inspect": inspect, "get_ready": _get_ready, "propose": _propose, "plot": _plot}


def _serve() -> None:
    console.escape_what_libraries_say()
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        question, arguments = json.loads(line)
        try:
            answer = {"answer": ANSWERS[question](**arguments)}
        except KzooError as error:
            kind = type(error).__name__
            answer = {"error": kind if hasattr(errors, kind) else "KzooError", "message": str(error)}
        except Exception as error:  # one line, and the search goes on or ends as it does for others
            answer = {"error": "KzooError", "message": f"{question} failed: {type(error).__name__}: {error}"}
        print(json.dumps(answer, default=asdict), file=answers, flush=True)


if __name__ == "__main__":
    _serve()

"""The command line: one small function per command, each calling one library function.

Exit status: 0 success, 1 a failure, 2 a usage error, 130 after Ctrl-C; each failure with one line on standard error.
"""

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from cyclopts import App, CycloptsError, Parameter

from kzoo.cli._options import note_given
from kzoo.errors import InvalidArgument, KzooError, TrainingInterrupted

app = App(
    name="kzoo",
    help="The classic CNNs for Keras 3: train, evaluate and predict.",
    version=lambda: f"kzoo {version('kzoo')}",
    help_format="plaintext",
    default_parameter=Parameter(negative=()),
    config=note_given,
    result_action="return_value",
)
for _name, _function, _help in (
    ("list", "models:list_command", "List the models of the zoo."),
    ("info", "models:info_command", "Show what a model is: parameters, multiply-adds, depth, stages."),
    ("train", "train:command", "Train a model on a dataset, or resume a run."),
    ("finetune", "finetune:command", "Fine-tune a pretrained model on a dataset of your own, or resume a run."),
    ("search", "search:command", "Search for the hyperparameters that train a model best."),
    ("evaluate", "evaluate:command", "Score a trained model on labelled images."),
    ("predict", "predict:command", "Classify images with a trained model."),
    ("weights", "weights:app", "List, fetch, verify and add pretrained weights."),
    ("augment", "augment:command", "Show what augmentation makes of a dataset's images, in a picture."),
    ("bench", "bench:command", "Measure kzoo against plain Keras on this machine."),
    ("doctor", "doctor:command", "Tell what kzoo would use on this machine, and what is wrong."),
):
    # A command's module is imported when it is called.
    app.command(f"kzoo.cli.{_function}", name=_name, help=_help)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command; returns its exit status."""
    try:
        status = app(list(arguments), exit_on_error=False, print_error=False)
    except CycloptsError as error:
        return _fail(2, f"{_one_line(error)} See kzoo --help.")
    except TrainingInterrupted as error:
        return _fail(130, _one_line(error))
    except KeyboardInterrupt:
        return _fail(130, "Interrupted.")
    except KzooError as error:
        return _fail(2 if isinstance(error, InvalidArgument) else 1, _one_line(error))
    except BrokenPipeError:  # the reader of a pipe has gone, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _fail(1, f"The system refused: {_one_line(error)}.")
    except MemoryError:
        return _fail(1, "Out of memory. Try a smaller --batch-size or --image-size.")
    except Exception as error:
        if type(error).__name__ != "ResourceExhaustedError":
            raise
        return _fail(1, "The device is out of memory. Try a smaller --batch-size or --image-size.")
    return status if isinstance(status, int) else 0


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _fail(status: int, message: str) -> int:
    print(f"kzoo: {message}", file=sys.stderr)
    return status

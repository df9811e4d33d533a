"""`kzoo predict`."""

import glob
import sys
from pathlib import Path
from typing import Literal

from kzoo import console
from kzoo.cli._model import Like, Weights, check_exported, find, is_exported, load
from kzoo.cli._options import ImageSize, Tta, parse_image_size
from kzoo.cli._output import Json, percent, print_json, print_table
from kzoo.console import is_terminal
from kzoo.errors import DataError, InvalidArgument
from kzoo.paths import expand

# Images that are decoded and classified at a time; one, where bad ones are skipped.
CHUNK = 256


def command(
    run: str,
    /,
    *images: str,
    top: int = 5,
    weights: Weights = None,
    like: Like = None,
    which: Literal["best", "last"] = "best",
    image_size: ImageSize = None,
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32",
    engine: Literal["keras", "openvino", "onnx", "litert"] = "keras",
    tta: Tta = False,
    on_bad_image: Literal["stop", "skip"] = "stop",
    json: Json = False,
) -> None:
    """Classify images with a trained or exported model, or with a model of the zoo and pretrained weights.

    Prints a table on a terminal, a line of JSON per image in a pipe.

    Args:
        run: A run directory, a .keras file, what `kzoo export` made, or with --weights a name of `kzoo list`.
        images: Image files, folders of them, or quoted patterns such as "new/*.jpg".
        top: How many classes to show for each image.
        which: The run's best or last model.
        precision: The dtype policy to compute under.
        engine: What computes. For another than Keras the model is exported once and kept in kzoo's cache; after that
            TensorFlow is not started. An exported model has its own.
        on_bad_image: What to do at an image that cannot be read.
    """
    files = find_images(images)
    if top < 1:
        raise InvalidArgument(f"--top must be at least 1. Received: {top}.")
    size = parse_image_size(image_size)
    rank, views = _ranker(run, weights, like, which, precision, engine, files, top, size, tta)
    said = {"tta": list(views)} if tta else {}
    predictions, skipped = [], []
    step = CHUNK if on_bad_image == "stop" else 1
    with console.progress("predicting", len(files)) as advance:
        for start in range(0, len(files), step):
            chunk, ranked = files[start : start + step], []
            try:
                ranked = rank(start, start + len(chunk))
            except DataError as error:
                if on_bad_image == "stop":
                    raise
                skipped.append(str(error))
            for file, best in zip(chunk, ranked, strict=False):  # none of a bad image
                predictions.append({"file": file, "top": [prediction._asdict() for prediction in best], **said})
                if not json and not is_terminal(sys.stdout):
                    print_json(predictions[-1])
            advance(len(chunk))
    if skipped:
        console.warn(f"left out {len(skipped)} bad image{'s' * (len(skipped) > 1)}, first: {skipped[0]}")
    if json:
        print_json({"predictions": predictions})
    elif is_terminal(sys.stdout):
        rows = []
        for prediction in predictions:
            for rank, one in enumerate(prediction["top"]):
                rows.append((prediction["file"] if rank == 0 else "", one["label"], percent(one["probability"])))
        print_table(("file", "class", "probability"), rows)


def _ranker(run, weights, like, which, precision, engine, files, top, size, tta):
    """What classifies some of the files, in the engine that is asked for or of an exported model; the views of each."""
    exported = is_exported(run, weights)
    if exported:
        check_exported(run, like, which)
    if exported and engine != "keras":
        raise InvalidArgument(f"An exported model has its own engine. Received: --engine {engine}. Leave it out.")
    if tta and (exported or engine != "keras"):
        which_one = f"{run}, which is exported" if exported else f"--engine {engine}"
        raise InvalidArgument(f"--tta is for models in Keras. Received: {which_one}. Leave --tta out.")
    if not exported:
        chosen = find(run, weights, like, which)
        if engine == "keras":
            from kzoo.prediction import ranker
            from kzoo.views import AS_IT_IS, views_of

            model = load(run, chosen, which, precision, size)
            views = views_of(model) if tta else AS_IT_IS
            return ranker(model, files, top, size, views), views
        from kzoo.deploy.cached import cached
        from kzoo.deploy.engines import check_precision

        check_precision(engine, precision)
        run = str(cached(run, chosen, which, engine, files, size, lambda: load(run, chosen, which, "float32", size)))
    from kzoo import deploy
    from kzoo.deploy import scoring

    return scoring.ranker(deploy.load(run, precision), files, top, size), ()


def find_images(arguments: tuple[str, ...]) -> list[str]:
    """Files from files, folders and patterns, in the order of the arguments; within a folder by name.

    What is an image in a folder is decided as for training, and what is left out is said.

    Raises:
        InvalidArgument: An argument that matches nothing.
        DataError: A folder without images.
    """
    from kzoo.data.layouts import images_of_folder

    if not arguments:
        raise InvalidArgument("Name images to classify: files, folders or quoted patterns.")
    files = []
    for argument in arguments:
        path = expand(argument)
        if path.is_dir():
            found = images_of_folder(path)
        elif path.exists():
            found = [str(path)]
        else:
            matches = glob.glob(str(path), recursive=True)  # noqa: PTH207 - may be absolute
            found = sorted(match for match in matches if Path(match).is_file())
            if not found:
                raise InvalidArgument(f"No such file, folder or pattern. Received: {argument!r}.")
        files += found
    return files

"""`kzoo doctor`."""

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from kzoo import hardware, onednn
from kzoo.cli._output import Json, print_json, print_line, print_table
from kzoo.train.config import TrainConfig
from kzoo.train.precision import resolve

# Less free disk than this is worth a word: checkpoints and models are written all the time.
LITTLE_DISK = 2 << 30


def command(*, json: Json = False) -> int:
    """Tell what kzoo would use on this machine, and what is wrong with the installation.

    Exit status 1 if something is wrong.
    """
    machine = hardware.probe()
    versions, package_problems = _packages()
    usable, tensorflow_problems = _tensorflow_problems(machine)
    problems = [*package_problems, *tensorflow_problems]
    if (free := shutil.disk_usage(Path.cwd()).free) < LITTLE_DISK:
        problems.append(f"only {free / 2**30:.1f} GiB of disk are free here")
    config, reasons = resolve(TrainConfig(), hardware.usable_only(machine, usable))
    facts = {
        "python": platform.python_version(),
        **versions,
        "cpu": f"{machine.cpu}, {machine.cores} cores, bfloat16 {'yes' if machine.cpu_bfloat16 else 'no'}",
        "memory": f"{machine.memory_bytes / 2**30:.1f} GiB",
        "onednn": onednn.explanation(),
        "gpus": ", ".join(machine.gpus) or "none",
        "precision": reasons[0].removeprefix("precision "),
        "strategy": reasons[1].removeprefix("strategy "),
        "tfds data": os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets"),
    }
    if json:
        resolved = {"precision": config.precision, "strategy": config.strategy}
        print_json({**facts, **resolved, "reasons": reasons, "problems": problems})
    else:
        print_table(("what", "found"), facts.items())
        for line in [f"problem: {problem}" for problem in problems] or ["no problems found"]:
            print_line(line)
    return 1 if problems else 0


def _packages() -> tuple[dict[str, str], list[str]]:
    """The versions of kzoo and of all that it requires, and what is wrong with them."""
    versions, problems = {"kzoo": version("kzoo")}, []
    for requirement in map(Requirement, requires("kzoo") or []):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            found = "missing"
            problems.append(f'{requirement.name} is not installed: pip install "{requirement}"')
        else:
            if not requirement.specifier.contains(found, prereleases=True):
                problems.append(f'{requirement.name} {found} was not tested with kzoo: pip install "{requirement}"')
        versions[requirement.name] = found
    return versions, problems


def _tensorflow_problems(machine: hardware.Hardware) -> tuple[int, list[str]]:
    """What only starting TensorFlow shows: how many GPUs it can use, and what is wrong."""
    try:
        from kzoo.backend import keras, tf
    except Exception as error:  # a broken installation can raise anything
        return 0, [f"TensorFlow or Keras cannot be imported: {' '.join(str(error).split())}"]
    if tf is None:
        return 0, [f"Keras runs on {keras.backend.backend()}, where kzoo cannot train: unset KERAS_BACKEND"]
    problems = []
    if keras.config.image_data_format() != "channels_last":
        problems.append("Keras is set to channels_first: remove image_data_format from ~/.keras/keras.json")
    usable = len(tf.config.list_physical_devices("GPU"))
    if usable < len(machine.gpus):
        problems.append(
            f"TensorFlow can use {usable} of {len(machine.gpus)} NVIDIA GPUs: "
            'pip install "tensorflow[and-cuda]", or update the NVIDIA driver'
        )
    return min(usable, len(machine.gpus)), problems

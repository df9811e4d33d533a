"""`kzoo launch`."""

from typing import Annotated

from cyclopts import Parameter

from kzoo import launching


def command(
    *arguments: Annotated[str, Parameter(name="COMMAND", allow_leading_hyphen=True)],
    workers: int,
    restarts: int = 0,
) -> int:
    """Train with several workers on this machine.

    Args:
        arguments: kzoo train or kzoo finetune, with its arguments: train mnist_net digits.
        workers: Processes that share out each batch. They share the cores and the GPUs.
        restarts: How often all are started again, from the run's checkpoint, after one was killed or hung.
    """
    return launching.launch(arguments, count=workers, restarts=restarts)

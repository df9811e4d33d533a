"""`kzoo bench`."""

from typing import Literal

from kzoo.cli._output import Json, print_json, print_table
from kzoo.errors import InvalidArgument
from kzoo.models.registry import check_name


def command(
    what: Literal["train-step"], model: str, /, *, images: int = 16384, rounds: int = 5, json: Json = False
) -> None:
    """Measure kzoo against plain Keras on this machine.

    Args:
        what: train-step, the training throughput.
        model: A name of `kzoo list`.
        images: Images in the epoch that is measured.
        rounds: How often each is measured; the median is shown.
    """
    check_name(model)
    if images < 1 or rounds < 1:
        raise InvalidArgument(f"--images and --rounds must be at least 1. Received: {images} and {rounds}.")
    from kzoo.bench import train_step

    result = train_step(model, images, rounds)
    if json:
        print_json(result)
        return
    columns = ("training " + model, "precision", "batch", "augmentation", "images/s", "ratio")
    rows = []
    for r in result["rows"]:
        speed, ratio = f"{r['images_per_second']:,.0f}", f"{r['ratio']:.2f}"
        rows.append((r["name"], r["precision"], r["batch_size"], r["augment"], speed, ratio))
    print_table(columns, rows)
    print(f"median of {rounds} rounds of {images} images each, in turn; {result['machine']}")

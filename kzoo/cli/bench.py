"""`kzoo bench`."""

from typing import Literal

from kzoo.cli._output import Json, print_json, print_table
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
    from kzoo.bench import train_step

    result = train_step(model, images, rounds)
    if json:
        print_json(result)
        return
    print_table(
        ("training " + model, "precision", "batch", "images/s", "ratio"),
        [
            (r["name"], r["precision"], r["batch_size"], f"{r['images_per_second']:,.0f}", f"{r['ratio']:.2f}")
            for r in result["rows"]
        ],
    )
    print(f"median of {rounds} rounds of {images} images each, in turn; {result['machine']}")

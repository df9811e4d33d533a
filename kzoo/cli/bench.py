"""`kzoo bench`."""

from typing import Annotated, Literal

from cyclopts import Parameter

from kzoo.cli._output import Json, print_json, print_table
from kzoo.errors import InvalidArgument
from kzoo.models.registry import check_name

Precision = Literal["float32", "mixed_bfloat16", "mixed_float16"]


def command(
    what: Literal["train-step", "infer"],
    model: str,
    /,
    *,
    against: Literal["applications", "plain"] | None = None,
    precision: Annotated[tuple[Precision, ...], Parameter(consume_multiple=True)] = (),
    batch_size: int | None = None,
    images: int | None = None,
    rounds: int = 5,
    json: Json = False,
) -> None:
    """Measure kzoo against Keras on this machine: images per second in turn in one process, and peak memory.

    Args:
        what: train-step, training; infer, prediction.
        model: A name of `kzoo list`.
        against: applications, the model of keras.applications; plain, the same layers with Keras's convolution and
            batch normalization [default: applications where it has the model].
        precision: One dtype policy or several [default: float32 and what kzoo takes on this machine].
        batch_size: Images per step [default: 128 for images up to 64x64, else 16].
        images: Images that each passes over [default: 16384 for images up to 64x64, else 64].
        rounds: How often each is measured; the median is shown.
    """
    check_name(model)
    for flag, value in (("--batch-size", batch_size), ("--images", images), ("--rounds", rounds)):
        if value is not None and value < 1:
            raise InvalidArgument(f"{flag} must be at least 1. Received: {value}.")
    from kzoo.bench import measure

    result = measure(
        what, model, against=against, precisions=precision, batch_size=batch_size, images=images, rounds=rounds
    )
    if json:
        print_json(result)
        return
    columns = (f"{what} {model}", "precision", "batch", "augmentation", "images/s", "ratio", "peak memory")
    rows = []
    for r in result["rows"]:
        speed, memory = (
            f"{r['images_per_second']:,.{0 if r['images_per_second'] >= 100 else 1}f}",
            r["peak_memory_bytes"],
        )
        numbers = (speed, f"{r['ratio']:.2f}", f"{memory / 2**30:.2f} GiB")
        rows.append((r["name"], r["precision"], r["batch_size"], r["augment"], *numbers))
    print_table(columns, rows)
    print(f"median of {rounds} rounds of {result['images']:,} images each, in turn; {result['machine']}")

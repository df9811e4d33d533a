"""`kzoo bench`."""

from typing import Annotated, Literal

from cyclopts import Parameter

from kzoo import arguments
from kzoo.cli._output import Json, print_json, print_line, print_table
from kzoo.errors import InvalidArgument
from kzoo.models.registry import check_name
from kzoo.text import megabytes

Precision = Literal["float32", "mixed_bfloat16", "mixed_float16"]


def command(
    what: Literal["train-step", "infer", "precision"],
    model: str | None = None,
    /,
    *,
    against: Literal["applications", "plain"] | None = None,
    precision: Annotated[tuple[Precision, ...], Parameter(consume_multiple=True)] = (),
    batch_size: int | None = None,
    images: int | None = None,
    rounds: int = 5,
    json: Json = False,
) -> None:
    """Measure kzoo on this machine: images per second, all in turn in one process, and peak memory.

    Args:
        what: train-step, training against Keras; infer, prediction against Keras; precision, training under each dtype
            policy, with the bytes of weights, gradients and activations.
        model: A name of `kzoo list`.
        against: applications, the model of keras.applications; plain, the same layers with Keras's convolution and
            batch normalization [default: applications where it has the model].
        precision: One dtype policy or several [default: float32 and what kzoo takes on this machine; all three for
            precision].
        batch_size: Images per step [default: 128 for images up to 64x64, else 16].
        images: Images that each passes over [default: 16384 for images up to 64x64, else 64].
        rounds: How often each is measured; the median is shown.
    """
    for flag, value in (("--batch-size", batch_size), ("--images", images), ("--rounds", rounds)):
        if value is not None:
            arguments.integer(flag, value, 1, valid="at least 1")
    if model is None:
        raise InvalidArgument(f"kzoo bench {what} takes a MODEL. Received: {model!r}. Try: kzoo bench {what} mnist_net")
    check_name(model)
    if what == "precision" and against is not None:
        raise InvalidArgument(f"precision compares kzoo with itself. Received: --against {against}. Leave it out.")
    from kzoo.bench import measure, measure_precisions

    sizes = {"batch_size": batch_size, "images": images, "rounds": rounds}
    if what == "precision":
        result = measure_precisions(model, **({"precisions": precision} if precision else {}), **sizes)
    else:
        result = measure(what, model, against=against, precisions=precision, **sizes)
    if json:
        print_json(result)
    elif what == "precision":
        _print_precisions(result)
    else:
        _print_speeds(result)


def _print_speeds(result) -> None:
    columns = (
        f"{result['what']} {result['model']}",
        "precision",
        "batch",
        "augmentation",
        "images/s",
        "ratio",
        "peak memory",
    )
    print_table(
        columns,
        [(r["name"], r["precision"], r["batch_size"], r["augment"], *_speed_and_memory(r)) for r in result["rows"]],
    )
    _print_conditions(result)


def _print_precisions(result) -> None:
    columns = (
        f"training {result['model']}", "batch", "images/s", "ratio", "peak memory", "weights", "as computed with",
        "gradients", "activations per image",
    )  # fmt: skip
    kinds = ("weight", "computed_weight", "gradient", "activation")
    print_table(
        columns,
        [
            (r["precision"], r["batch_size"], *_speed_and_memory(r), *(megabytes(r[f"{k}_bytes"]) for k in kinds))
            for r in result["rows"]
        ],
    )
    _print_conditions(result)
    if not result["gpus"] and any(r["precision"] == "mixed_float16" for r in result["rows"]):
        print_line(
            "mixed_float16 was measured on a single small batch: CPUs have no kernels for it. Use mixed_bfloat16."
        )


def _speed_and_memory(row) -> tuple[str, str, str]:
    from kzoo.bench.turns import shown_speed

    return *shown_speed(row), f"{row['peak_memory_bytes'] / 2**30:.2f} GiB"


def _print_conditions(result) -> None:
    print_line(f"median of {result['rounds']} rounds of {result['images']:,} images each, in turn; {result['machine']}")

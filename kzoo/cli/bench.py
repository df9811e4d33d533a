"""`kzoo bench`."""

from typing import Annotated, Literal

from cyclopts import Parameter

from kzoo import arguments
from kzoo.cli._output import Json, print_json, print_line, print_table
from kzoo.errors import InvalidArgument
from kzoo.models.registry import check_name, is_name
from kzoo.paths import find_model
from kzoo.text import megabytes

Precision = Literal["float32", "mixed_bfloat16", "mixed_float16"]
Engine = Literal[
    "keras", "applications", "savedmodel", "openvino", "openvino-bfloat16", "openvino-int8", "onnx", "onnx-int8",
    "litert", "litert-int8",
]  # fmt: skip


def command(
    what: Literal["train-step", "infer", "precision"],
    model: str | None = None,
    /,
    *,
    against: Literal["applications", "plain"] | None = None,
    precision: Annotated[tuple[Precision, ...], Parameter(consume_multiple=True)] = (),
    engines: Annotated[tuple[Engine, ...], Parameter(consume_multiple=True)] = (),
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
        engines: For infer, the engines to compare; the first is the reference. MODEL may then be a run too.
        batch_size: Images per step [default: 128 for images up to 64x64, else 16; 32 with --engines].
        images: Images that each passes over [default: 16384 for images up to 64x64, else 64].
        rounds: How often each is measured; the median is shown.
    """
    for flag, value in (("--batch-size", batch_size), ("--images", images), ("--rounds", rounds)):
        if value is not None:
            arguments.integer(flag, value, 1, valid="at least 1")
    if model is None:
        raise InvalidArgument(f"kzoo bench {what} takes a MODEL. Received: {model!r}. Try: kzoo bench {what} mnist_net")
    if engines:
        _bench_engines(what, model, engines, against, precision, batch_size, images, rounds, json)
        return
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


def _bench_engines(what, model, engines, against, precision, batch_size, images, rounds, json) -> None:
    if what != "infer" or against is not None or precision:
        raise InvalidArgument(
            f"--engines is for infer, without --against and --precision. Received: {what}. Name the engines alone, "
            "such as openvino-bfloat16."
        )
    if not is_name(model):
        find_model(model)
    from kzoo.bench import measure_engines

    sizes = {"images": images, "rounds": rounds, **({} if batch_size is None else {"batch_size": batch_size})}
    result = measure_engines(model, tuple(dict.fromkeys(engines)), **sizes)
    if json:
        print_json(result)
        return
    from kzoo.bench.turns import shown_speed

    first = result["rows"][0]
    columns = (
        f"infer {model}", "images/s", "ratio", "images/s one by one", "ratio", "latency, median", "99 %",
        "start-up", "ratio", "peak memory", "ratio", "file", "ratio",
    )  # fmt: skip
    rows = []
    for row in result["rows"]:
        single = {key.removeprefix("single_"): row[key] for key in ("single_images_per_second", "single_ratio")}
        shown = [f"{1000 * row[key]:.1f} ms" for key in ("latency_50", "latency_99")]
        shown += [f"{row['startup_seconds']:.1f} s", _ratio(row, first, "startup_seconds")]
        for key in ("peak_memory_bytes", "file_bytes"):
            shown += [megabytes(row[key]), _ratio(row, first, key)]
        rows.append((row["engine"], *shown_speed(row), *shown_speed(single), *shown))
    print_table(columns, rows)
    print_line(
        f"batches of {result['batch_size']}, and one by one; median of {rounds} rounds, in turn; {result['machine']}"
    )


def _ratio(row, first, key: str) -> str:
    return f"{row[key] / first[key]:.2f}"


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

"""`kzoo bench`."""

from typing import Annotated, Any, Literal

from cyclopts import Parameter

from kzoo.cli import _model
from kzoo.cli._output import Json, percent, print_json, print_table
from kzoo.errors import InvalidArgument
from kzoo.models.registry import check_name
from kzoo.text import by, megabytes
from kzoo.transfer.loading import images_for

Precision = Literal["float32", "mixed_bfloat16", "mixed_float16"]


def command(
    what: Literal["train-step", "infer", "precision", "augment", "transfer"],
    model: str | None = None,
    dataset: str | None = None,
    /,
    *,
    weights: _model.Weights = None,
    accuracy: float = 0.93,
    plot: str | None = None,
    against: Literal["applications", "plain"] | None = None,
    precision: Annotated[tuple[Precision, ...], Parameter(consume_multiple=True)] = (),
    batch_size: int | None = None,
    images: int | None = None,
    rounds: int | None = None,
    json: Json = False,
) -> None:
    """Measure kzoo on this machine: images per second, all in turn in one process, and peak memory.

    transfer measures seconds: of fine-tuning pretrained weights to a validation accuracy.

    Args:
        what: train-step, training against Keras; infer, prediction against Keras; precision, training under each dtype
            policy, with the bytes of weights, gradients and activations; augment, kzoo's augmentation against Keras's,
            and training without and with it; transfer, fine-tuning against the workflow of Keras's guide.
        model: A name of `kzoo list`; none for augment.
        dataset: For transfer, the images, as for kzoo finetune.
        accuracy: For transfer, the validation accuracy to reach, a fraction.
        plot: For transfer, a PNG file for the curves.
        against: applications, the model of keras.applications; plain, the same layers with Keras's convolution and
            batch normalization [default: applications where it has the model].
        precision: One dtype policy or several [default: float32 and what kzoo takes on this machine; all three for
            precision].
        batch_size: Images per step [default: 128 for images up to 64x64, else 16].
        images: Images that each passes over [default: 16384 for images up to 64x64, else 64].
        rounds: How often each is measured; the median is shown [default: 5; 1 for transfer].
    """
    for flag, value in (("--batch-size", batch_size), ("--images", images), ("--rounds", rounds)):
        if value is not None and value < 1:
            raise InvalidArgument(f"{flag} must be at least 1. Received: {value}.")
    if what == "transfer":
        if any((against, precision, batch_size, images)):
            raise InvalidArgument(
                "kzoo bench transfer takes MODEL, DATASET, --weights, --accuracy, --rounds, --plot and --json. "
                "Received: more than these."
            )
        _transfer(model, dataset, weights, accuracy, plot, rounds or 1, json)
        return
    if any((dataset, weights, plot)):
        raise InvalidArgument("A dataset, --weights and --plot are for kzoo bench transfer. Received: them.")
    rounds = rounds or 5
    if what == "augment":
        if any((model, against, precision, batch_size, images)):
            raise InvalidArgument("kzoo bench augment takes --rounds and --json alone. Received: more than these.")
        _augmentation(rounds, json)
        return
    if model is None:
        raise InvalidArgument(f"kzoo bench {what} takes a MODEL. Received: none. Try: kzoo bench {what} mnist_net")
    check_name(model)
    sizes = {"batch_size": batch_size, "images": images, "rounds": rounds}
    if what == "precision":
        _precisions(model, against, precision, sizes, json)
        return
    from kzoo.bench import measure

    result = measure(what, model, against=against, precisions=precision, **sizes)
    if json:
        print_json(result)
        return
    columns = (f"{what} {model}", "precision", "batch", "augmentation", "images/s", "ratio", "peak memory")
    print_table(
        columns,
        [(r["name"], r["precision"], r["batch_size"], r["augment"], *_speed_and_memory(r)) for r in result["rows"]],
    )
    _print_conditions(result)


def _precisions(model, against, precision, sizes, json) -> None:
    if against is not None:
        raise InvalidArgument(f"precision compares kzoo with itself. Received: --against {against}. Leave it out.")
    from kzoo.bench import measure_precisions

    result = measure_precisions(model, **({"precisions": precision} if precision else {}), **sizes)
    if json:
        print_json(result)
        return
    columns = (
        f"training {model}", "batch", "images/s", "ratio", "peak memory", "weights", "as computed with", "gradients",
        "activations per image",
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
        print("mixed_float16 was measured on a single small batch: CPUs have no kernels for it. Use mixed_bfloat16.")


def _augmentation(rounds, json) -> None:
    from kzoo.bench import measure_augmentation

    result = measure_augmentation(rounds=rounds)
    if json:
        print_json(result)
        return
    print_table(
        ("augmentation", "image", "batch", "by", "images/s", "ratio"),
        [(r["what"], by(r["shape"]), r["batch_size"], r["name"], *_speed(r)) for r in result["rows"]],
    )
    print_table(
        ("training", "image", "batch", "precision", "augmentation", "images/s", "ratio"),
        [
            (r["model"], by(r["shape"]), r["batch_size"], r["precision"], r["augment"], *_speed(r))
            for r in result["training"]
        ],
    )
    print(f"median of {result['rounds']} rounds, in turn; {result['machine']}")


def _transfer(model, dataset, weights, accuracy, plot, rounds, json) -> None:
    if model is None or dataset is None or weights is None:
        raise InvalidArgument(
            "kzoo bench transfer takes a MODEL, a DATASET and --weights. Try: kzoo bench transfer inception_v1 PHOTOS "
            "--weights imagenet"
        )
    chosen: Any = _model.find(model, weights, None)
    from kzoo.bench import draw, measure_transfer
    from kzoo.data.loading import load_splits

    images = load_splits(["train", "validation"], dataset, **images_for(model, chosen))
    result = measure_transfer(chosen, *images, accuracy=accuracy, rounds=rounds)
    if plot is not None:
        draw(result, plot)
    if json:
        print_json(result)
        return
    goal = percent(result["accuracy"])
    print_table(
        (f"{model} on {dataset}", "precision", f"seconds to {goal}", "times kzoo's", "best"),
        [
            (
                r["name"],
                r["precision"],
                ", ".join("never" if s is None else f"{s:.1f}" for s in r["seconds"]),
                "" if r["ratio"] is None else f"{r['ratio']:.1f}",
                ", ".join(map(percent, r["best"])),
            )
            for r in result["rows"]
        ],
    )
    print(f"each from the making of the model, nothing cached; rounds in turn: {rounds}; {result['machine']}")


def _speed(row) -> tuple[str, str]:
    speed = row["images_per_second"]
    digits = 0 if speed >= 100 else 1
    # A ratio near 0 tells nothing in two decimals.
    ratio = f"{row['ratio']:.2f}" if row["ratio"] >= 0.1 else f"{row['ratio']:.2g}"
    return f"{speed:,.{digits}f}", ratio


def _speed_and_memory(row) -> tuple[str, str, str]:
    return *_speed(row), f"{row['peak_memory_bytes'] / 2**30:.2f} GiB"


def _print_conditions(result) -> None:
    print(f"median of {result['rounds']} rounds of {result['images']:,} images each, in turn; {result['machine']}")

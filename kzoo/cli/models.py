"""`kzoo list` and `kzoo info`."""

from kzoo.cli._options import ImageSize, parse_image_size
from kzoo.cli._output import Json, print_json, print_table
from kzoo.errors import unknown
from kzoo.models.registry import check_name, defaults, list_models


def list_command(pattern: str = "*", /, *, json: Json = False) -> None:
    """List the models of the zoo.

    Args:
        pattern: A shell pattern for their names, such as "resnet*".
    """
    names = list_models(pattern)
    if not names:
        raise unknown("model pattern", pattern, list_models())
    models = [{"name": name, "input_shape": defaults(name)[0], "classes": defaults(name)[1]} for name in names]
    if json:
        print_json({"models": models})
        return
    print_table(
        ("model", "input", "classes"),
        [(m["name"], "x".join(map(str, m["input_shape"])), m["classes"]) for m in models],
    )


def info_command(
    model: str,
    /,
    *,
    image_size: ImageSize = None,
    channels: int | None = None,
    classes: int | None = None,
    json: Json = False,
) -> None:
    """Show what a model is: input, classes, parameters, layers.

    Args:
        model: A name of `kzoo list`.
        channels: Channels of the images.
        classes: Number of classes.
    """
    check_name(model)
    size = parse_image_size(image_size)
    (height, width, default_channels), _ = defaults(model)
    shape = (*(size or (height, width)), default_channels if channels is None else channels)
    from kzoo import create_model

    built = create_model(model, input_shape=shape, classes=classes)
    trainable = sum(w.value.shape.num_elements() for w in built.trainable_weights)
    layers = [
        {
            "name": layer.name,
            "type": type(layer).__name__,
            "output_shape": list(layer.output.shape[1:]),
            "parameters": layer.count_params(),
        }
        for layer in built.layers
    ]
    description = {
        "name": model,
        "input_shape": list(shape),
        "classes": built.output_shape[-1],
        "parameters": built.count_params(),
        "trainable_parameters": trainable,
        "layers": layers,
    }
    if json:
        print_json(description)
        return
    counts = f"{built.count_params():,} parameters, {trainable:,} of them trainable"
    print(f"{model}: {counts}; {built.output_shape[-1]} classes")
    print_table(
        ("layer", "type", "output", "parameters"),
        [(x["name"], x["type"], "x".join(map(str, x["output_shape"])), f"{x['parameters']:,}") for x in layers],
    )

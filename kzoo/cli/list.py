"""`kzoo list`."""

from kzoo.cli._output import Json, print_json, print_table
from kzoo.errors import unknown
from kzoo.models.registry import defaults, list_models


def list_(pattern: str = "*", /, *, json: Json = False) -> None:
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

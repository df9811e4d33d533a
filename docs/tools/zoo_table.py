"""Write the table of docs/zoo.md, and docs/zoo.png: parameters, multiply-adds, depth and receptive field of each model.

It also writes the constructors in kzoo/__init__.pyi, which editors read.

    python docs/tools/zoo_table.py

Takes half a minute on 2 cores. The numbers are `kzoo.describe`'s, for each model's default size of image.
"""

from pathlib import Path

from matplotlib import ticker
from matplotlib.figure import Figure

import kzoo
from kzoo.files import write_text
from kzoo.models.registry import CARDS, CONSTRUCTORS, FAMILIES
from kzoo.text import dimensions, markdown_table, quantity
from pages import png, write_page

STUB = Path(kzoo.__file__).with_suffix(".pyi")
TITLES = ("model", "input", "parameters", "multiply-adds", "depth", "receptive field", "stride", "last feature map")
MARKERS = "*sDoPXv^<>"  # one a family
# Models that lie together share a label; where it stands from the first of them, in points.
IMAGENET_LABELS = {
    ("inception_v1",): ("inception_v1", (9, 2)),
    ("inception_v1_bn",): ("inception_v1_bn", (9, -8)),
    ("resnet18", "plain18"): ("resnet18, plain18", (9, -3)),
    ("resnet34", "plain34"): ("resnet34, plain34", (9, -6)),
    ("resnet50_v2", "resnet50", "resnet50_v1_5"): ("resnet50, _v1_5, _v2", (-4, 10)),
    ("resnext50_32x4d",): ("resnext50_32x4d", (11, -1)),
    ("resnet101_v2", "resnet101", "resnet101_v1_5"): ("resnet101, _v1_5, _v2", (26, -3)),
    ("resnet152_v2", "resnet152", "resnet152_v1_5"): ("resnet152, _v1_5, _v2", (20, -10)),
    ("wide_resnet50_2",): ("wide_resnet50_2", (10, 2)),
    ("resnext101_32x8d",): ("resnext101_32x8d", (-6, -16)),
    ("wide_resnet101_2",): ("wide_resnet101_2", (-50, -18)),
    **{(f"vgg{n}", f"vgg{n}_bn"): (f"vgg{n}, _bn", (-20, 9)) for n in (11, 13, 16, 19)},
}
SMALL_LABELS = {
    ("mnist_net",): ("mnist_net", (10, -3)),
    **{
        (f"resnet{n}_cifar", f"plain{n}_cifar"): (f"resnet{n}_cifar, plain{n}_cifar", (-12, 9) if n < 44 else (-145, 6))
        for n in (20, 32, 44, 56)
    },
    ("resnet110_cifar",): ("resnet110_cifar", (-92, -3)),
}
DEPTH_LABELS = {
    ("mnist_net",): ("mnist_net", (8, -3)),
    ("vgg16",): ("vgg16", (8, -3)),
    ("inception_v1",): ("inception_v1", (8, 2)),
    ("inception_v1_bn",): ("inception_v1_bn (3x3)", (8, -6)),
    ("plain34",): ("resnet34", (8, 2)),
    ("resnet50",): ("resnet50", (8, -2)),
    ("resnet101",): ("resnet101", (-14, -20)),
    ("resnet152",): ("resnet152", (-62, -3)),
    ("resnet20_cifar",): ("resnet20_cifar", (8, -6)),
    ("resnet110_cifar",): ("resnet110_cifar", (-30, -16)),
}


def row(found) -> tuple[str, ...]:
    """A model's row of the table."""
    last = found.stages[-1]
    size = (f"{found.parameters:,}", quantity(found.multiply_adds), str(found.depth))
    return (
        f"`{found.name}`",
        dimensions(found.input_shape),
        *size,
        str(last.receptive_field),
        str(last.stride),
        dimensions(last.output_shape),
    )


def scatter(axes, models, x, y, labels):
    """One point a model, a label for each group."""
    for family, style in styles().items():
        points = [models[card.name] for card in FAMILIES[family] if card.name in models]
        axes.scatter([x(m) for m in points], [y(m) for m in points], **style)
    for (first, *_), (text, offset) in labels.items():
        if first in models:
            point = x(models[first]), y(models[first])
            axes.annotate(text, point, xytext=offset, textcoords="offset points", fontsize=8)
    axes.set(xscale="log", yscale="log")
    axes.grid(visible=True, which="both", alpha=0.2)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(ticker.NullFormatter())


def plot(models: dict) -> bytes:
    """Draw the three panels, as PNG."""
    figure = Figure(figsize=(11, 11), layout="constrained")
    panels = figure.subplot_mosaic([["imagenet", "imagenet"], ["small", "depth"]], height_ratios=(6, 5))
    small = {name: m for name, m in models.items() if m.input_shape[0] < 224}
    large = {name: m for name, m in models.items() if name not in small}

    def billions(model):
        return model.multiply_adds / 1e9

    def millions(model):
        return model.parameters / 1e6

    scatter(panels["imagenet"], large, billions, millions, IMAGENET_LABELS)
    scatter(panels["small"], small, billions, millions, SMALL_LABELS)
    scatter(panels["depth"], models, lambda m: m.depth, lambda m: m.stages[-1].receptive_field, DEPTH_LABELS)
    for name, title in (("imagenet", "224 x 224 pixels"), ("small", "28 x 28 and 32 x 32 pixels")):
        panels[name].set(title=title, xlabel="multiply-adds (billions)", ylabel="parameters (millions)")
    panels["imagenet"].set(xticks=(1, 2, 5, 10, 20), yticks=(5, 10, 20, 50, 100), xlim=(1.3, 30), ylim=(5.5, 190))
    panels["small"].set(xticks=(0.01, 0.02, 0.05, 0.1, 0.2), yticks=(0.2, 0.5, 1, 2), ylim=(0.22, 2.2))
    panels["depth"].set(title="What depth sees", xlabel="depth (layers with weights)")
    panels["depth"].set(ylabel="receptive field of the last stage (pixels)", xticks=(5, 10, 20, 50, 100))
    panels["depth"].set(yticks=(10, 20, 50, 100, 200, 500, 1000))
    for family, style in styles().items():
        panels["imagenet"].scatter([], [], label=family, **style)
    panels["imagenet"].legend(loc="lower right", fontsize=9)
    return png(figure)


def styles() -> dict[str, dict]:
    """How the points of each family are drawn."""
    return {
        family: {"color": f"C{i}", "marker": MARKERS[i % len(MARKERS)], "s": 46, "alpha": 0.75}
        for i, family in enumerate(FAMILIES)
    }


def stub() -> str:
    """The stub of kzoo with a line for each constructor."""
    written = STUB.read_text(encoding="utf-8").partition("\n# Constructors\n")
    lines = [f"{constructor}: _Constructor\n" for constructor in CONSTRUCTORS]
    return "".join([*written[:2], *lines])


def main() -> None:
    """Write the page, its picture and the stub."""
    write_text(STUB, stub())
    models = {name: kzoo.describe(name) for name in CARDS}
    write_page("zoo", {"models": markdown_table([TITLES, *map(row, models.values())])}, picture=plot(models))


if __name__ == "__main__":
    main()

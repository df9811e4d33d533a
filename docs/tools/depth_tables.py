"""Write the tables of docs/depth.md: what small filters and 1x1 convolutions save, counted by `kzoo.describe`.

    python docs/tools/depth_tables.py

Takes ten seconds.
"""

import kzoo
from kzoo.backend import keras
from kzoo.text import dimensions, markdown_table, quantity
from pages import write_page

VGG_SIZES = {"block1": 5, "block2": 5, "block3": 7, "block4": 7, "block5": 7}  # what each block of VGG-16 sees


def stack(sizes, channels=1, shape=(56, 56)):
    """Describe square convolutions one after another, each followed by a ReLU."""
    steps = [
        keras.layers.Conv2D(channels, size, padding="same", use_bias=False, activation="relu", name=f"conv{i}")
        for i, size in enumerate(sizes, start=1)
    ]
    net = keras.Sequential([keras.Input((*shape, channels)), *steps])
    return kzoo.describe(kzoo.feature_extractor(net, steps[-1].name))


def filters() -> str:
    """The table of large filters and the small ones that see as much."""
    rows = [("filters", "weights", "with 64 channels", "multiply-adds at 56x56", "receptive field", "non-linearities")]
    for sizes in ((5,), (3, 3), (7,), (3, 3, 3)):
        one, many = stack(sizes), stack(sizes, 64)
        name = f"{('one', 'two', 'three')[len(sizes) - 1]} {sizes[0]}x{sizes[0]}"
        counts = (str(one.parameters), f"{many.parameters:,}", quantity(many.multiply_adds))
        rows.append((name, *counts, str(one.stages[0].receptive_field), str(one.depth)))
    return markdown_table(rows)


def vgg() -> str:
    """The table of VGG-16's convolutions and of one large filter in the place of each block."""
    net = kzoo.create_model("vgg16", include_top=False)
    images = x = keras.Input((224, 224, 3))
    for block, size in VGG_SIZES.items():
        channels = net.get_layer(f"{block}_conv1").filters
        x = keras.layers.Conv2D(channels, size, padding="same", activation="relu", name=f"{block}_conv1")(x)
        x = keras.layers.MaxPooling2D(2, name=f"{block}_pool")(x)
    rows = [("", "convolutions", "parameters", "multiply-adds", "receptive field of block5")]
    for name, model in (("VGG-16", net), ("one filter a block", keras.Model(images, x, name="wide"))):
        found = kzoo.describe(model)
        counts = (str(found.depth), f"{found.parameters:,}", quantity(found.multiply_adds))
        rows.append((name, *counts, str(found.stages[-1].receptive_field)))
    return markdown_table(rows)


def inception() -> str:
    """The table of Inception v1's modules with and without the 1x1 convolutions before the larger ones."""
    net = kzoo.create_model("inception_v1", include_top=False)
    rows = [("module", "input", "parameters", "without 1x1", "multiply-adds", "without 1x1", "multiply-adds saved")]
    totals = [0, 0, 0, 0]
    for stage in [stage.name for stage in kzoo.describe(net).stages if stage.name.startswith("inception")]:
        shape = net.get_layer(f"{stage}_1x1").input.shape[1:]
        found = [kzoo.describe(_module(net, stage, shape, reduced)) for reduced in (True, False)]
        counts = [f.parameters for f in found] + [f.multiply_adds for f in found]
        totals = [total + count for total, count in zip(totals, counts, strict=True)]
        rows.append((stage, dimensions(shape), *_saved(counts)))
    rows.append(("all nine", "", *_saved(totals)))
    return markdown_table(rows)


def _module(net, stage, shape, reduced):
    """One inception module with the same filters; without `reduced` the 3x3 and the 5x5 read all of its input."""
    x = keras.Input(shape)
    pooled = keras.layers.MaxPooling2D(3, strides=1, padding="same")(x)
    branches = [_same(net, f"{stage}_1x1")(x), _same(net, f"{stage}_pool_proj")(pooled)]
    for branch in (f"{stage}_3x3", f"{stage}_5x5"):
        read = _same(net, f"{branch}_reduce")(x) if reduced else x
        branches.append(_same(net, branch)(read))
    return keras.Model(x, keras.layers.Concatenate()(branches), name=stage)


def _same(net, name):
    """A new layer with the settings of another."""
    layer = net.get_layer(name)
    return type(layer).from_config(layer.get_config())


def _saved(counts):
    small, large, less, more = counts
    return (f"{small:,}", f"{large:,}", quantity(less), quantity(more), f"{1 - less / more:.0%}")


def tables() -> dict[str, str]:
    """The tables by the names of their markers."""
    return {"filters": filters(), "vgg": vgg(), "inception": inception()}


if __name__ == "__main__":
    write_page("depth", tables())

"""Write docs/weights.md: where pretrained weights come from, what they are checked against, and how right they are.

    python recipes/weights_table.py

Takes a second; it needs no network and no TensorFlow. The rows are those of `kzoo.weights.table`.
"""

from pathlib import Path

import kzoo
from kzoo.files import write_text
from kzoo.text import markdown_table
from kzoo.weights.checksums import hash_kind
from kzoo.weights.table import IMAGENET, RECORDS

PAGE = Path(__file__).resolve().parent.parent / "docs" / "weights.md"
INTRODUCTION = """# Pretrained weights

A model and a tag name one set of weights; of an ImageNet model the tag `imagenet` is another name of its default,
its first row here.
`kzoo weights list` shows these tables and what of them is on this machine, `kzoo.list_weights()` gives them in Python.

```console
$ kzoo weights fetch resnet20_cifar                  # the model's default; a tag may follow
$ kzoo weights fetch inception_v1 --from /media/usb  # a machine without a network
$ kzoo weights path resnet20_cifar                   # where it is, or the command that fetches it
$ kzoo weights verify                                # hash everything that is here
```

Nothing is downloaded but by `kzoo weights fetch`. A download that was cut or killed goes on where it stopped, and what
came gets its name when it is what the record says: by its sha256 where that is known, by the beginning of the sha256
that PyTorch's authors put into names of files, or by the md5 that Keras states (the last two tell damage, not malice:
against that stands https). A wrong file is refused and deleted, and both hashes are shown.

Files of the Hugging Face hub are fetched by its own client into its own cache (`HF_HOME`; `HF_HUB_OFFLINE=1` keeps it
from the network). The cache calls them by their sha256, and kzoo compares that. A file of the hub that somebody brought
in a folder can be compared with nothing; `kzoo weights fetch --from` says so.

Weights are looked for, and hashed each time, in the cache (`KZOO_HOME`, by default the platform's cache folder), in the
folders that `KZOO_WEIGHTS_PATH` names, in kzoo itself, and in the hub's cache. Any folder will do that has the files
under the names of their projects, such as `~/.keras/models`, and so will a copy of another machine's
`KZOO_HOME/weights`.

A model that you have trained becomes a tag of your own, in your cache, and is listed, verified and used as these are:

```console
$ kzoo weights add runs/digits --name digits         # the best model of a finished run; or a .keras file
$ kzoo predict mnist_net digit.png --weights digits
```

Its record says what the run does: class names, preprocessing, input size, and the accuracy on the run's test images, if
`kzoo evaluate RUN` has measured it, else on its validation images. `kzoo weights add` reads the weights again before it
keeps them, and the model made of them must give the same bits. A folder that `KZOO_WEIGHTS_PATH` names may have such
weights too: `MODEL/TAG/record.json` and the file beside it.

With `create_model(name, weights=...)` come the record's preprocessing, inside the model, its class names, and how
images are scaled before the crop. What differs from the record is adapted so:

- `classes=`: another number than the record's gets a new classifier of random weights, and a line that says so.
- A new classifier is trained on images as `kzoo.data` scales them, so that the record's crop and interpolation, which
  `kzoo predict` and `kzoo evaluate` follow otherwise, are the record's classifier's only.
- `auxiliary_heads=True` needs a file that has them: torchvision's of `inception_v1_bn`.
- `input_shape=`: another height and width keep every weight; where the first fully connected layer reads every pixel
  (the VGGs with their top) they are refused.
- Other channels than three: the kernel of the first convolution is summed over its channels for one, and for N repeated
  in the order R, G, B, R, ... and scaled by 3 / N, which is timm's rule. Images are then shifted and scaled by the mean
  over the record's channels.

A file of one's own (`--weights FILE`) is known by its hash, otherwise by its content: its format, and whose names its
tensors have (torchvision's, timm's, Keras's, kzoo's own as `save_weights` writes them, ...). Its preprocessing and the
names of its classes are then those of the only kind of weights that there are for the model, or those of `--like TAG`,
and a line says so; a classifier of another number of classes has no names. A file that has the name of a record's, but
not its content, is refused.

"?" is not known here. Figures that are not called measured are quoted, on ImageNet's 50,000 validation images and
CIFAR-10's 10,000 test images.
ImageNet's weights tell apart the 1,000 classes of ILSVRC 2012, in the usual order, from 224 x 224 pixels cut from the
centre of an image whose shorter side is scaled to what the table says (where it names no
interpolation, bilinearly, with antialiasing). "torch" makes pixels from 0 to 255 into
`(RGB / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)`. Licences are what the sources state; the images that
weights were trained on have terms of their own.
"""
SOURCES = {
    "kzoo": (
        "kzoo",
        "A part of kzoo: `kzoo predict mnist_net digit.png --weights mnist` works right after the installation. The 10 "
        "classes are the digits, from 28 x 28 grey pixels, white on black; trained by `recipes/mnist_weights.py`, and "
        "measured on MNIST's 10,000 test images.",
    ),
    "keras": (
        "keras.applications",
        "As in Keras 3.15.1, which states no licence, no figures, and no scale before the crop.",
    ),
    "timm": (
        "timm on the Hugging Face hub",
        "As in timm 1.0.31. `tv_in1k` and `tv2_in1k` are torchvision's weights, with torchvision 0.28.0's figures; the "
        "figures of timm's own are not in its package.",
    ),
    "torchvision": ("torchvision", "As in torchvision 0.28.0, with its figures."),
    "bvlc": ("The Caffe model zoo", "With the figures of the model's page there."),
    "akamaster": (
        "akamaster/pytorch_resnet_cifar10",
        "With the figures of its page. These tell apart the 10 classes of CIFAR-10, from 32 x 32 pixels.",
    ),
}
TITLES = ("model", "tag", "top-1", "top-5", "scaled to", "pixels", "licence", "size", "checked by", "from")
TORCH = ("rgb", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 255.0)


def row(record) -> tuple[str, ...]:
    """A record's row of its table."""
    figures, scaled = record.accuracy, record.preprocessing
    return (
        f"`{record.model}`",
        f"`{record.tag}`",
        _percent(figures and figures.top1) + (" (measured)" if figures and figures.measured else ""),
        _percent(figures and figures.top5),
        " ".join(filter(None, (str(scaled.resize or "?"), scaled.interpolation))),
        _pixels(scaled),
        record.licence or "?",
        "?" if record.size is None else f"{record.size / 1e6:.1f} MB",
        (hash_kind(record.files[0]) or "the hub's sha256").replace("_", " "),
        _origin(record),
    )


def _percent(fraction):
    return "?" if fraction is None else f"{100 * fraction:.2f} %"


def _pixels(p):
    """The preprocessing as a formula."""
    if (p.channel_order, p.mean, p.std, p.unit) == TORCH:
        return "torch"
    if set(p.std) == {1.0} and p.unit == 1:
        means = p.mean[::-1] if p.channel_order == "bgr" else p.mean
        return f"{p.channel_order.upper()} - ({', '.join(f'{mean:g}' for mean in means)})"
    return f"({p.channel_order.upper()} / {p.unit:g} - {p.mean[0]:g}) / {p.std[0]:g}"


def _origin(record):
    first = record.files[0]
    if first.hub:
        return f"[{first.hub}](https://huggingface.co/{first.hub})"
    if first.url is None:
        return "kzoo itself"
    if len(record.files) > 1:
        return f"{len(record.files)} files below {first.url.partition(first.name.partition('/')[0])[0]}"
    return f"[{first.name}]({first.url})"


def page() -> str:
    """The whole page."""
    known = [record for record in kzoo.list_weights() if record in RECORDS]  # without the user's own
    parts = [INTRODUCTION]
    for source, (title, said) in SOURCES.items():
        records = [record for record in known if record.source == source]
        notes = [f"\n{record.note}" for record in records if record.note]
        parts += [f"## {title}\n\n{said}\n", markdown_table([TITLES, *map(row, records)]), *notes, ""]
    without = sorted(set(kzoo.list_models()) - {record.model for record in known})
    tags = ", ".join(f"`{tag}`" for tag in IMAGENET)
    parts += [
        "## Notes\n",
        f"`imagenet` is the first of {tags} that a model has. Files of `_notop` have no classifier.\n",
        f"Without pretrained weights: {', '.join(f'`{name}`' for name in without)}.\n",
        "Written by `python recipes/weights_table.py`.\n",
    ]
    return "\n".join(parts)


if __name__ == "__main__":
    write_text(PAGE, page())

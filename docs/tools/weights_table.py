"""Write the tables of docs/weights.md: where pretrained weights come from, their hashes and their published accuracy.

    python docs/tools/weights_table.py

Takes a second; it needs no network and no TensorFlow. The rows are those of `kzoo.weights.table`.
"""

import kzoo
from kzoo.text import markdown_table
from kzoo.weights.checksums import hash_kind
from kzoo.weights.registry import is_imagenet
from kzoo.weights.table import RECORDS
from pages import write_page

TITLES = ("model", "tag", "top-1", "top-5", "stated by", "scaled to", "pixels", "licence", "size", "checked by", "from")
TORCH = ("rgb", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 255.0)


def row(record) -> tuple[str, ...]:
    """A record's row of its table."""
    figures, scaled = record.accuracy, record.preprocessing
    return (
        f"`{record.model}`",
        f"**`{record.tag}`**" if is_imagenet(record) else f"`{record.tag}`",
        _percent(figures and figures.top1),
        _percent(figures and figures.top5),
        figures.stated_by if figures else "?",
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


def tables() -> dict[str, str]:
    """A table for each source, and the notes, by the names of their markers."""
    records = [record for record in kzoo.list_weights() if record in RECORDS]  # without the user's own
    found = {}
    for source in dict.fromkeys(record.source for record in records):
        rows = [record for record in records if record.source == source]
        notes = [f"\n{record.note}" for record in rows if record.note]
        found[source] = "\n".join([markdown_table([TITLES, *map(row, rows)]), *notes])
    without = sorted(set(kzoo.list_models()) - {record.model for record in records})
    found["notes"] = f"Without pretrained weights: {_names(without)}."
    return found


def _names(names):
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    write_page("weights", tables())

"""What `kzoo info` prints of a dataset."""

from collections import Counter
from typing import Any

from kzoo import augment, console
from kzoo.cli._output import picture_file, print_json, print_line, print_table
from kzoo.data.layouts import listed_kinds
from kzoo.data.loading import public_name
from kzoo.errors import DataError
from kzoo.files import write_bytes
from kzoo.text import dimensions

# More classes than this are listed in the JSON output only.
MOST_CLASSES_IN_TABLE = 30


def print_dataset(name: str, data_dir: str | None, out: str | None, overwrite: bool, json: bool) -> None:
    """Look at a dataset, print what was found and what kzoo would do with it, and draw a contact sheet if asked to."""
    path = None if out is None else picture_file(out, overwrite)
    from kzoo.data.inspection import contact_sheet, look

    try:
        found, source, good = look(name, data_dir)
    except DataError as error:
        if not public_name(name) or augment.recommended(name) == "none":
            raise
        console.log(f"only what the name says is known: {error}")
        _print_policy(name, augment.recommended(name), json)
        return
    if path is not None:
        write_bytes(path, contact_sheet(source, good, found["range_16_bit"]))
        console.log(f"contact sheet: {path}")
    from kzoo.advice import advise

    advice = advise(found) if found["splits"]["train"] else None
    policies = tuple(advice["augment"]) if advice else ()
    if json:
        print_json(
            {
                "dataset": name,
                **found,
                "training": advice,
                "augment": augment.title(policies),
                "layers": _layers(policies),
            }
        )
        return
    print_table(("dataset", "value"), _rows(found), title=found["name"])
    _print_classes(found["classes"])
    for line in found["warnings"]:
        console.warn(line)
    for line in found["problems"]:
        print_line(f"stops training: {line}")
    if advice is None or found["problems"]:
        return
    print_line(f"suggested: {advice['command']} ({advice['why']})")
    print_table(("default", "value", "why"), [(one["name"], one["value"], one["why"]) for one in advice["choices"]])


def _rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    sizes, bad, copies = (found[name] for name in ("sizes", "bad", "copies"))
    smallest, median, largest = (dimensions(sizes[name]) for name in ("smallest", "median", "largest"))
    one_size = f"{median} (height x width)"
    formats = listed_kinds(Counter(found["formats"]))
    rows = [
        ("images", f"{found['images']:,}" + (f": {formats}" if formats else "")),
        ("splits", _splits(found)),
        ("sizes", one_size if sizes["different"] == 1 else f"{smallest} to {largest}, median {one_size}"),
        ("channels", _channels(found["channels"])),
    ]
    if found["bits_16"]:
        low, high = found["range_16_bit"]
        rows.append(("16 bits", f"{found['bits_16']:,} images; the values {low:,} to {high:,} become 0 to 255"))
    rows.append(("bad images", f"{bad['images']:,}"))
    rows += [("", f"{one['where']}: {one['reason']}") for one in bad["first"]]
    if found["left_out"]:
        rows.append(("left out", listed_kinds(Counter(found["left_out"]))))
    rows += [
        (f"copies {where}", _copies(copies[key]))
        for key, where in (("within", "in a split"), ("across", "across splits"))
    ]
    if copies["other_label"]:
        rows.append(("copies of another class", f"{copies['other_label']:,}"))
    rows += [("", f"{one} = {other}") for one, other in copies["first"]]
    return rows


def _channels(found: dict[str, int]) -> str:
    shown = ", ".join(f"{found[name]:,} {name}" for name in ("grey", "colour") if found[name])
    disguised = found["no_colours"] - found["grey"]
    return f"{shown} ({disguised:,} of them without colours)" if disguised > 0 else shown


def _splits(found: dict[str, Any]) -> str:
    shown = ", ".join(f"{count:,} {name}" for name, count in found["splits"].items())
    if found["has_splits"]:
        return shown
    return f"{shown} (cut by kzoo, fixed by the images' content)"


def _copies(found: dict[str, int | None]) -> str:
    if found["alike"] is None:
        return f"{found['equal']:,} equal; too many images to compare by their look"
    if not found["equal"] and not found["alike"]:
        return "none"
    return f"{found['equal']:,} equal, {found['alike']:,} look like the same photo saved again"


def _print_classes(classes: dict[str, dict[str, int]]) -> None:
    rows = [(name, *counts.values()) for name, counts in classes.items()]
    title = None
    if len(rows) > MOST_CLASSES_IN_TABLE:
        title = f"the smallest and the largest of {len(rows):,} classes"
        rows.sort(key=lambda row: row[1])
        rows = [*rows[:5], *rows[-5:]]
    print_table(("class", "train", "validation", "test"), rows, title=title)


def _layers(policies: Any) -> list[dict]:
    """The layers of named policies."""
    return [
        {"class_name": name, "arguments": arguments}
        for policy in policies
        for name, arguments in augment.POLICIES[policy]
    ]


def _print_policy(dataset: str, policy: str, json: bool) -> None:
    """What is known of a dataset by its name alone."""
    layers = _layers((policy,))
    if json:
        print_json({"dataset": dataset, "augment": policy, "layers": layers})
        return
    print_line(f"{dataset}: augmentation {policy}, unless --augment says otherwise")
    rows = [
        (layer["class_name"], argument, value) for layer in layers for argument, value in layer["arguments"].items()
    ]
    print_table(("layer", "argument", "value"), rows)

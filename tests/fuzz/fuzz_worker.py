"""Read changed files, many in one process of little memory: each is refused in kzoo's one line, or read.

Usage: fuzz_worker.py KIND FOLDER COUNT. Prints how many were refused and how many read.
"""

import io
import json
import os
import random
import resource
import sys
import zipfile
from pathlib import Path

from kzoo.errors import KzooError

SPARE_MEMORY = 2**30
ODD_VALUES = [
    None,
    True,
    -1,
    0,
    10**30,
    1e308,
    float("nan"),
    "",
    "x" * 1000,
    "../..",
    [],
    {},
    [[]],
    {"a": {}},
    ["a", 1],
]


def changed_bytes(content, draw):
    """Some bytes changed, cut off, put in or doubled."""
    content = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 8, 50))):
        at = draw.randrange(len(content))
        # Half of the changes near the start, where headers are.
        at = at if draw.random() < 0.5 else at % min(len(content), 2000)
        kind = draw.random()
        if kind < 0.75:
            content[at] = draw.choice((0, 1, 0x7F, 0x80, 0xFF, draw.randrange(256)))
        elif kind < 0.8 and len(content) > 100:
            del content[at:]
        elif kind < 0.9:
            content[at:at] = draw.randbytes(draw.randrange(1, 9))
        else:
            content[at:at] = content[at : at + draw.randrange(1, 200)]
        if not content:
            content = bytearray(b"\0")
    return bytes(content)


def changed_entry(content, draw):
    """A zip archive with correct sums, of which one entry was changed."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    name = draw.choice([name for name in entries if entries[name]])
    is_json = name.endswith(".json") and draw.random() < 0.7
    entries[name] = changed_json(entries[name], draw) if is_json else changed_bytes(entries[name], draw)
    changed = io.BytesIO()
    with zipfile.ZipFile(changed, "w") as archive:
        for name, value in entries.items():
            archive.writestr(name, value)
    return changed.getvalue()


def changed_json(content, draw):
    """JSON of which some values were replaced, or left out."""
    tree = json.loads(content)
    for _ in range(draw.choice((1, 1, 2, 5))):
        places = list(places_in(tree))
        if not places:
            break
        parent, key = draw.choice(places)
        if draw.random() < 0.2:
            del parent[key]
        else:
            parent[key] = draw.choice(ODD_VALUES)
    return json.dumps(tree).encode()


def places_in(tree):
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in list(items):
        yield tree, key
        yield from places_in(value)


def changed(path, content, draw):
    if zipfile.is_zipfile(io.BytesIO(content)) and draw.random() < 0.6:
        return changed_entry(content, draw)
    if path.suffix == ".json" and draw.random() < 0.7:
        return changed_json(content, draw)
    return changed_bytes(content, draw)


def read_weights(path):
    from kzoo.weights import formats

    formats.read(path, formats.format_of(path))


def fork_for_hdf5():
    """Have HDF5 files looked at in a fork in place of a new process for each, which would take most of the time."""
    from kzoo.weights import hdf5

    def find_places(path, kind, entry=""):
        readable, writable = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.dup2(writable, 1)
            sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
            hdf5.main(str(path), kind, entry)
            sys.stdout.flush()
            os._exit(0)
        os.close(writable)
        with open(readable, "rb") as answer:
            content = answer.read()
        return hdf5.places_in(content, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    hdf5.find_places = find_places


def read_model(path):
    from kzoo.saving import load_model

    load_model(path)


def read_run(run_dir):
    from kzoo.saving import load_model
    from kzoo.train import checkpoint, runs

    record = runs.read_record(run_dir)
    record.how_to_resume(run_dir)
    checkpoint.read_state(run_dir / runs.CHECKPOINT)
    runs.read_metrics(run_dir)
    load_model(run_dir)


def read_search(folder):
    from kzoo.backend import keras  # noqa: F401 - a changed space may need it, and the memory is limited by then
    from kzoo.search import store

    store.read(folder)


READERS = {"weights": read_weights, "model": read_model, "run": read_run, "search": read_search}


def main(kind, folder, count):
    """Change the files in `folder` in turn, `count` times, and read each."""
    folder, reader = Path(folder), READERS[kind]
    fork_for_hdf5()
    originals = {path: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
    whole = kind in ("run", "search")
    for path in [folder] if whole else originals:
        reader(path)  # which also imports what it needs
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + SPARE_MEMORY, used + SPARE_MEMORY))
    outcomes = {"refused": 0, "read": 0}
    for number in range(count):
        draw = random.Random(number)  # noqa: S311 - it must repeat
        path = sorted(originals)[number % len(originals)]
        path.write_bytes(changed(path, originals[path], draw))
        print(f"{kind} {path.name} seed {number}", file=sys.stderr, flush=True)  # what was read when a child dies
        try:
            reader(folder if whole else path)
            outcomes["read"] += 1
        except KzooError as error:
            if not str(error).isprintable():  # a new line is not either
                raise AssertionError(f"not one printable line: {error!s}") from error
            outcomes["refused"] += 1
        path.write_bytes(originals[path])
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))

"""Trials that do what a test says, instead of training: Python imports this first where it is on the path.

KZOO_SCRIPT is a JSON object: by the number of a trial what happens to it ("crash", "killed", "hang", "memory", "error",
"environment" or "bug"), "seconds", how long the others take, and "evaluation_seconds". Their accuracy is a function of
their values.
It takes the place of the command line in the processes of `kzoo.child`; their process, its limits and its end
are the real ones. So is the fork server that starts them, except that it has not imported TensorFlow.
"""

import importlib.machinery
import json
import os
import signal
import sys
import time
from pathlib import Path

if "KZOO_SCRIPT" in os.environ and {"kzoo.child", "kzoo.search.forkserver"} & set(sys.orig_argv):
    SCRIPT = json.loads(os.environ["KZOO_SCRIPT"])

    class InsteadOfTheCommandLine:
        def find_spec(self, name, path=None, target=None):
            if name == "kzoo.__main__":
                act(*sys.argv[1:])
            if name == "kzoo.search.preloaded":
                return importlib.machinery.ModuleSpec(name, self)  # pyright: ignore[reportArgumentType]
            return None

        def create_module(self, spec):
            return None

        def exec_module(self, module):
            pass

    def act(command, *arguments):
        if command == "evaluate":
            folder = Path(arguments[0])
            if "evaluation_seconds" in SCRIPT:
                note(f"evaluate {folder.name} {os.getpid()}")
                time.sleep(SCRIPT["evaluation_seconds"])
            metrics = json.loads((folder / "metrics.json").read_text())
            print(json.dumps(metrics["validation"]), flush=True)
            os._exit(0)
        train(Path(arguments[-1]))

    def train(folder):
        number = int(folder.name)
        note(f"begin {number} {os.getpid()} {sorted(os.sched_getaffinity(0))}")
        what = SCRIPT.get(str(number), "train")
        if what == "crash":
            os.abort()
        elif what == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        elif what == "error":
            print("kzoo: Something is wrong. Received: this.", file=sys.stderr, flush=True)
            os._exit(1)
        elif what == "environment":  # as libraries see it
            os.execv("/bin/sh", ["sh", "-c", "env >&2"])  # noqa: S606
        elif what == "bug":
            raise ZeroDivisionError("a mistake")
        elif what == "memory":
            held = []
            while True:
                held.append(bytearray(50_000_000))
                held[-1][::4096] = b"x" * len(held[-1][::4096])
                time.sleep(0.05)
        elif what == "hang":
            time.sleep(3600)
        time.sleep(SCRIPT.get("seconds", 0.2))
        config = json.loads((folder / "config.json").read_text())["train"]
        accuracy = 0.9 - abs(config["momentum"] - 0.85)
        figures = {"accuracy": accuracy, "loss": 1 - accuracy, "images": 179, "interval": [0.0, 1.0]}
        (folder / "history.csv").write_text(f"epoch,images_per_second\n1,{100 + number}\n")
        (folder / "best.keras").write_text(f"model of trial {number}")
        metrics = {"epochs": 1, "best_epoch": 1, "training_seconds": 1.0, "validation": figures}
        (folder / "metrics.json").write_text(json.dumps(metrics))
        note(f"end {number} {os.getpid()}")
        os._exit(0)

    def note(line):
        with open(SCRIPT["notes"], "a") as file:
            file.write(f"{line}\n")

    sys.meta_path.insert(0, InsteadOfTheCommandLine())

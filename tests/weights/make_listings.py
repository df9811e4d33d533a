# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "h5py==3.14.0", "keras==3.15.1", "numpy==2.4.6", "safetensors==0.8.0", "timm==1.0.29", "torch==2.13.0",
#   "torchvision==0.28.0",
# ]
# ///
# pyright: reportMissingImports=false
"""Write listings.json.xz: what is in the files that PyTorch, timm, torchvision and Keras save, without the numbers.

    uv run tests/weights/make_listings.py [BVLC_GOOGLENET_FOLDER]

or, without uv, in an environment with these packages. Each model is built, saved by its own framework, and read again
by that framework's own reader. With the folder of raw files as an argument those are listed too, otherwise what was
listed of them stays. It takes two minutes on two cores, and 2 GB of disk.

The file maps "SOURCE MODEL FORMAT" to a list of [name, shape, dtype], in the file's order. Of Keras's older files a
name is [layer, variable], and a layer without any has neither shape nor dtype; of Keras 3's the name is a path, and a
path without shape has the name of its layer as dtype.

Beside it, samples/ gets small files that PyTorch saved: a plain module, and whatever tensors can be besides. Those of
the older format have addresses in memory in them, which differ from run to run.
"""

import itertools
import json
import lzma
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "golden"))

import make_goldens

LISTINGS = Path(__file__).with_name("listings.json.xz")
SAMPLES = Path(__file__).with_name("samples")
RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
WIDE = ("resnext50_32x4d", "resnext101_32x8d", "wide_resnet50_2", "wide_resnet101_2")
PRE_ACTIVATION = ("resnetv2_18", "resnetv2_34")  # timm's alone
VGGS = tuple(f"vgg{depth}{bn}" for depth in (11, 13, 16, 19) for bn in ("", "_bn"))
APPLICATIONS = ("VGG16", "VGG19", "ResNet50", "ResNet101", "ResNet152", "ResNet50V2", "ResNet101V2", "ResNet152V2")
CIFAR_DEPTHS = (20, 32, 44, 56, 110)


def main():
    """Write the file, whole or not at all."""
    listings = json.loads(lzma.decompress(LISTINGS.read_bytes())) if LISTINGS.exists() else {}
    listings = {name: listing for name, listing in listings.items() if name.startswith("bvlc ")}
    with tempfile.TemporaryDirectory() as folder:
        for name, listing in itertools.chain(list_pytorch(Path(folder)), list_keras(Path(folder))):
            print(name, len(listing), file=sys.stderr, flush=True)
            listings[name] = listing
    if len(sys.argv) > 1:
        listings["bvlc inception_v1 raw"] = list_raw(Path(sys.argv[1]))
    save_samples()
    temporary = LISTINGS.with_suffix(".part")
    temporary.write_bytes(lzma.compress(json.dumps(dict(sorted(listings.items()))).encode(), preset=9))
    temporary.replace(LISTINGS)


def list_pytorch(folder):
    """What timm's hub has (safetensors), torchvision's site (a zip archive) and akamaster's repository (the stream)."""
    torch, torchvision, timm = make_goldens.imports()
    import safetensors.torch

    path = folder / "weights"

    def saved(model, save, load):
        save(model.to_empty(device="cpu").state_dict(), path)
        return [[name, list(x.shape), str(x.dtype).removeprefix("torch.")] for name, x in load(path).items()]

    for name in (*RESNETS, *WIDE, *VGGS, *PRE_ACTIVATION):
        with torch.device("meta"):
            model = timm.create_model(name)
        yield f"timm {name} safetensors", saved(model, safetensors.torch.save_file, safetensors.torch.load_file)
    for name in (*RESNETS, *WIDE, *VGGS, "googlenet"):
        # What is published of GoogLeNet has the auxiliary heads.
        options = {"aux_logits": True, "init_weights": False} if name == "googlenet" else {}
        with torch.device("meta"):
            model = torchvision.models.get_model(name, weights=None, **options)
        yield f"torchvision {name} pytorch", saved(model, torch.save, torch.load)

    def save_stream(state, path):
        torch.save({"best_prec1": 90.0, "state_dict": state}, path, _use_new_zipfile_serialization=False)

    for depth in CIFAR_DEPTHS:
        model = torch.nn.DataParallel(make_goldens.cifar_net(f"resnet{depth}_cifar"))
        listing = saved(model, save_stream, lambda path: torch.load(path)["state_dict"])
        yield f"akamaster resnet{depth}_cifar pytorch", listing


def list_keras(folder):
    """What keras.applications' models save, with the top and without, in Keras's older format and in today's."""
    os.environ["KERAS_BACKEND"] = "torch"
    import h5py
    import keras

    for name in APPLICATIONS:
        for top in (True, False):
            keras.backend.clear_session()
            model = getattr(keras.applications, name)(weights=None, include_top=top)
            case = f"keras {name}{'' if top else '-notop'}"
            path = folder / "model.h5"
            model.save(path)
            with h5py.File(path) as file:
                yield f"{case} keras_h5", list_legacy(file["model_weights"])
            path = folder / "model.weights.h5"
            model.save_weights(path)
            with h5py.File(path) as file:
                yield f"{case} keras_weights_h5", list_keras3(file)


def list_legacy(root):
    """Layers and their variables in the order of the attributes."""
    listing = []
    for layer in root.attrs["layer_names"]:
        names = list(root[layer].attrs["weight_names"])
        listing += [[[layer, name], list(root[layer][name].shape), str(root[layer][name].dtype)] for name in names]
        if not names:
            listing.append([[layer, None], None, None])
    return listing


def list_keras3(file):
    """Paths of variables, and of groups of them with the name of their layer."""
    listing = []

    def visit(path, item):
        if hasattr(item, "shape"):
            listing.append([path, list(item.shape), str(item.dtype)])
        elif "name" in item.attrs:
            listing.append([path, None, item.attrs["name"]])

    file.visititems(visit)
    return listing


def save_samples():
    """Files of PyTorch's of a few hundred bytes, in both containers."""
    import torch

    torch.manual_seed(0)
    plain = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2)).state_dict()
    base = torch.arange(12, dtype=torch.float32)
    odd = {
        "matrix": torch.nn.Parameter(base.reshape(3, 4)),
        "transposed": base.reshape(3, 4).T,  # of the same storage, as all up to "one"
        "every_second": base[4:10:2],
        "one": base[5],
        "half": base[:3].half() / 8,
        "bfloat16": base[:3].bfloat16() / 8,
        "double": base[:3].double() / 8,
        "long": torch.tensor(2**40),
        "bool": torch.tensor([True, False]),
        "empty": torch.empty(0, 3),
    }
    state = {"state": {0: {"momentum": base}}, "param_groups": [{"lr": 0.1, "betas": (0.9, 0.999), "params": [0]}]}
    checkpoint = {"epoch": 3, "model": {f"module.{name}": x for name, x in odd.items()}, "optimizer": state}
    for name, content in (("plain", plain), ("odd", checkpoint)):
        for container in ("zip", "stream"):
            path = SAMPLES / f"{name}_{container}.pth"
            torch.save(content, path, _use_new_zipfile_serialization=container == "zip")


def list_raw(folder):
    """Files of float32 numbers."""
    paths = sorted(folder.rglob("*.bin"))
    return [[path.relative_to(folder).as_posix(), [path.stat().st_size // 4], "float32"] for path in paths]


if __name__ == "__main__":
    main()

# /// script
# requires-python = ">=3.11"
# dependencies = ["timm==1.0.29", "torch==2.13.0", "torchvision==0.28.0"]
# ///
# pyright: reportMissingImports=false
"""Write published.json, to which the tests hold the rows of the table: what timm and torchvision say of their weights.

    uv run tests/weights/make_published.py RESULTS COMMIT

or, without uv, in an environment with the three packages above. It downloads no weights. RESULTS is the file
results/results-imagenet.csv of timm's repository, at COMMIT; timm's package does not have it.
"""

import csv
import json
import re
import sys
from pathlib import Path

MODELS = (
    "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "resnext101_32x8d",
    "wide_resnet50_2", "wide_resnet101_2", "resnetv2_18", "resnetv2_34",
    "vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn",
    "vgg19_bn",
)  # fmt: skip
TAGS = (
    "a1_in1k", "a1h_in1k", "a2_in1k", "fb_ssl_yfcc100m_ft_in1k", "fb_swsl_ig1b_ft_in1k", "gluon_in1k",
    "ra4_e3600_r224_in1k", "racm_in1k", "tv_in1k", "tv2_in1k",
)  # fmt: skip
FIELDS = (
    "hf_hub_id", "url", "license", "origin_url", "num_classes", "input_size", "test_input_size", "crop_pct",
    "test_crop_pct", "crop_mode", "interpolation", "mean", "std",
)  # fmt: skip


def imports():
    """Import timm and torchvision; a torchvision built for another torch than the one installed will do."""
    import torch

    try:
        import torchvision
    except RuntimeError:  # it lacks two operators, which its classifiers do not need
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision
    import timm

    return timm, torchvision


def from_timm(timm) -> dict:
    """The default configurations by model and tag, of those that exist."""
    names = [f"{model}.{tag}" for model in MODELS for tag in TAGS]
    known = set(timm.list_pretrained())
    configurations = {name: timm.get_pretrained_cfg(name) for name in names if name in known}
    return {name: {field: getattr(found, field) for field in FIELDS} for name, found in configurations.items()}


def from_results(path, names) -> dict:
    """What timm measured with images of 224 x 224: percentages, and how the images were scaled."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["model"] in names and row["img_size"] == "224"]
    columns = {"top1": float, "top5": float, "crop_pct": float, "interpolation": str}
    found = {row["model"]: {column: kind(row[column]) for column, kind in columns.items()} for row in rows}
    return {name: found[name] for name in names}  # in their order, and none is missing


def from_torchvision(torchvision) -> dict:
    """The weights of each model: address, transforms, figures."""
    found = {}
    for model in (*(name for name in MODELS if not name.startswith("resnetv2")), "googlenet"):
        for weights in torchvision.models.get_model_weights(model):
            if "FEATURES" in weights.name:  # not a classifier
                continue
            transforms = weights.transforms()
            found[f"{model}.{weights.name}"] = {
                "url": weights.url,
                "classes": len(weights.meta["categories"]),
                "metrics": weights.meta["_metrics"].get("ImageNet-1K"),
                "resize": transforms.resize_size,
                "crop": transforms.crop_size,
                "interpolation": transforms.interpolation.value,
                "mean": transforms.mean,
                "std": transforms.std,
            }
    return found


def main():
    """Write the file."""
    results, commit = sys.argv[1:]
    timm, torchvision = imports()
    of_timm = from_timm(timm)
    content = {
        "timm": {"version": timm.__version__, "weights": of_timm},
        "results": {"commit": commit, "weights": from_results(results, of_timm)},
        "torchvision": {"version": torchvision.__version__.partition("+")[0], "weights": from_torchvision(torchvision)},
    }
    text = re.sub(r"\[[^\[\]]*\]", lambda row: " ".join(row[0].split()), json.dumps(content, indent=1))
    Path(__file__).with_name("published.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

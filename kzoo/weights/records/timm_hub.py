"""The ImageNet weights of timm on the Hugging Face hub: repositories and preprocessing as in timm 1.0.31.

timm states no hash and no size; the hub has both, and its own client checks them. The figures of torchvision's weights
are those of torchvision 0.28.0, which timm hosts unchanged; timm's own are not in its package, so not known here.
"""

from dataclasses import replace
from typing import Literal

from kzoo.weights.record import TORCH, File, imagenet_record, quoted

TORCHVISION, TIMM = "https://github.com/pytorch/vision", "https://github.com/huggingface/pytorch-image-models"
TAGS: dict[str, tuple[str, str, int, Literal["bilinear", "bicubic"]]] = {
    # tag: project, licence, shorter side before the crop of 224 pixels, interpolation
    "a1_in1k": (TIMM, "Apache-2.0", 235, "bicubic"),  # "ResNet strikes back", recipe A1
    "tv_in1k": (TORCHVISION, "BSD-3-Clause", 256, "bilinear"),  # torchvision's IMAGENET1K_V1
    "tv2_in1k": (TORCHVISION, "BSD-3-Clause", 232, "bilinear"),  # torchvision's IMAGENET1K_V2
}
ROWS = (
    # model, name at timm, tag, top-1, top-5
    ("resnet18", "resnet18", "a1_in1k", None, None),
    ("resnet18", "resnet18", "tv_in1k", 0.69758, 0.89078),
    ("resnet34", "resnet34", "a1_in1k", None, None),
    ("resnet34", "resnet34", "tv_in1k", 0.73314, 0.91420),
    ("resnet50_v1_5", "resnet50", "a1_in1k", None, None),
    ("resnet50_v1_5", "resnet50", "tv_in1k", 0.76130, 0.92862),
    ("resnet50_v1_5", "resnet50", "tv2_in1k", 0.80858, 0.95434),
    ("resnet101_v1_5", "resnet101", "a1_in1k", None, None),
    ("resnet101_v1_5", "resnet101", "tv_in1k", 0.77374, 0.93546),
    ("resnet101_v1_5", "resnet101", "tv2_in1k", 0.81886, 0.95780),
    ("resnet152_v1_5", "resnet152", "a1_in1k", None, None),
    ("resnet152_v1_5", "resnet152", "tv_in1k", 0.78312, 0.94046),
    ("resnet152_v1_5", "resnet152", "tv2_in1k", 0.82284, 0.96002),
    ("resnext50_32x4d", "resnext50_32x4d", "a1_in1k", None, None),
    ("resnext50_32x4d", "resnext50_32x4d", "tv_in1k", 0.77618, 0.93698),
    ("resnext50_32x4d", "resnext50_32x4d", "tv2_in1k", 0.81198, 0.95340),
    ("resnext101_32x8d", "resnext101_32x8d", "tv_in1k", 0.79312, 0.94526),
    ("resnext101_32x8d", "resnext101_32x8d", "tv2_in1k", 0.82834, 0.96228),
    ("wide_resnet50_2", "wide_resnet50_2", "tv_in1k", 0.78468, 0.94086),
    ("wide_resnet50_2", "wide_resnet50_2", "tv2_in1k", 0.81602, 0.95758),
    ("wide_resnet101_2", "wide_resnet101_2", "tv_in1k", 0.78848, 0.94284),
    ("wide_resnet101_2", "wide_resnet101_2", "tv2_in1k", 0.82510, 0.96020),
    ("vgg11", "vgg11", "tv_in1k", 0.69020, 0.88628),
    ("vgg13", "vgg13", "tv_in1k", 0.69928, 0.89246),
    ("vgg16", "vgg16", "tv_in1k", 0.71592, 0.90382),
    ("vgg19", "vgg19", "tv_in1k", 0.72376, 0.90876),
    ("vgg11_bn", "vgg11_bn", "tv_in1k", 0.70370, 0.89810),
    ("vgg13_bn", "vgg13_bn", "tv_in1k", 0.71586, 0.90374),
    ("vgg16_bn", "vgg16_bn", "tv_in1k", 0.73360, 0.91516),
    ("vgg19_bn", "vgg19_bn", "tv_in1k", 0.74218, 0.91842),
)


def _record(model, name, tag, top1, top5):
    project, licence, resize, interpolation = TAGS[tag]
    return imagenet_record(
        model=model,
        tag=tag,
        source="timm",
        project=project,
        licence=licence,
        format="safetensors",
        files=(File(name=f"{name}.{tag}/model.safetensors", hub=f"timm/{name}.{tag}"),),
        preprocessing=replace(TORCH, resize=resize, interpolation=interpolation),
        accuracy=quoted(top1, top5, "torchvision 0.28.0") if top1 else None,
    )


RECORDS = tuple(_record(*row) for row in ROWS)

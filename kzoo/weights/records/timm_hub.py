"""The ImageNet weights of timm on the Hugging Face hub: repositories, licences and preprocessing as in timm 1.0.29.

timm states no hash and no size; the hub has both, and its own client checks them. The figures of torchvision's weights,
which timm hosts unchanged, are those of torchvision 0.28.0. All others are timm's, from results/results-imagenet.csv of
its repository at commit 4e5207c, for 224 x 224 pixels. At 288 x 288, where timm measured that too, it found 0.6 to 1.8
points more.
"""

from dataclasses import replace
from typing import Literal, NamedTuple

from kzoo.weights.record import TF, TORCH, File, Preprocessing, imagenet_record, quoted

TORCHVISION, TIMM = "https://github.com/pytorch/vision", "https://github.com/huggingface/pytorch-image-models"
GLUON, FACEBOOK = (
    "https://cv.gluon.ai/model_zoo/classification.html",
    "https://github.com/facebookresearch/semi-supervised-ImageNet1K-models",
)


class Tag(NamedTuple):
    """What weights of one recipe have in common; `resize` is the shorter side before the crop of 224 pixels."""

    project: str
    licence: str
    resize: int
    interpolation: Literal["bilinear", "bicubic"]
    pixels: Preprocessing = TORCH


TAGS = {
    "a1_in1k": Tag(TIMM, "Apache-2.0", 235, "bicubic"),  # "ResNet strikes back" (Wightman et al., 2021), recipe A1
    "a1h_in1k": Tag(TIMM, "Apache-2.0", 235, "bicubic"),  # A1 with stronger dropout, stochastic depth and RandAugment
    "a2_in1k": Tag(TIMM, "Apache-2.0", 235, "bicubic"),  # recipe A2, which is shorter
    # Yalniz et al., "Billion-scale semi-supervised learning", 2019: first photos of YFCC100M without labels, or of
    # Instagram with hashtags, then ImageNet.
    "fb_ssl_yfcc100m_ft_in1k": Tag(FACEBOOK, "CC-BY-NC-4.0", 256, "bilinear"),
    "fb_swsl_ig1b_ft_in1k": Tag(FACEBOOK, "CC-BY-NC-4.0", 256, "bilinear"),
    "gluon_in1k": Tag(GLUON, "Apache-2.0", 256, "bicubic"),
    "ra4_e3600_r224_in1k": Tag(TIMM, "Apache-2.0", 248, "bicubic", TF),  # timm's fourth recipe with RandAugment
    "racm_in1k": Tag(TIMM, "Apache-2.0", 256, "bicubic"),  # an earlier one with RandAugment
    "tv_in1k": Tag(TORCHVISION, "BSD-3-Clause", 256, "bilinear"),  # torchvision's IMAGENET1K_V1
    "tv2_in1k": Tag(TORCHVISION, "BSD-3-Clause", 232, "bilinear"),  # torchvision's IMAGENET1K_V2
}
ROWS = (
    # model, name at timm, tag, top-1, top-5, and the shorter side where it is not its tag's
    ("resnet18", "resnet18", "a1_in1k", 0.71504, 0.90086),
    ("resnet18", "resnet18", "a2_in1k", 0.70634, 0.89486),
    ("resnet18", "resnet18", "fb_ssl_yfcc100m_ft_in1k", 0.72636, 0.91416),
    ("resnet18", "resnet18", "fb_swsl_ig1b_ft_in1k", 0.73286, 0.91754),
    ("resnet18", "resnet18", "gluon_in1k", 0.70844, 0.89750),
    ("resnet18", "resnet18", "tv_in1k", 0.69758, 0.89078),
    ("resnet34", "resnet34", "a1_in1k", 0.76420, 0.92896),
    ("resnet34", "resnet34", "a2_in1k", 0.75520, 0.92454),
    ("resnet34", "resnet34", "gluon_in1k", 0.74574, 0.91988),
    ("resnet34", "resnet34", "ra4_e3600_r224_in1k", 0.77492, 0.93498),
    ("resnet34", "resnet34", "tv_in1k", 0.73314, 0.91420),
    ("resnet50_v1_5", "resnet50", "a1_in1k", 0.80382, 0.94598),
    ("resnet50_v1_5", "resnet50", "a1h_in1k", 0.80654, 0.95312, 224),
    ("resnet50_v1_5", "resnet50", "a2_in1k", 0.79828, 0.94560),
    ("resnet50_v1_5", "resnet50", "fb_ssl_yfcc100m_ft_in1k", 0.79252, 0.94826),
    ("resnet50_v1_5", "resnet50", "fb_swsl_ig1b_ft_in1k", 0.81146, 0.95980),
    ("resnet50_v1_5", "resnet50", "gluon_in1k", 0.77580, 0.93704),
    ("resnet50_v1_5", "resnet50", "tv_in1k", 0.76130, 0.92862),
    ("resnet50_v1_5", "resnet50", "tv2_in1k", 0.80858, 0.95434),
    ("resnet101_v1_5", "resnet101", "a1_in1k", 0.81494, 0.95164),
    ("resnet101_v1_5", "resnet101", "a1h_in1k", 0.81950, 0.95760),
    ("resnet101_v1_5", "resnet101", "a2_in1k", 0.81344, 0.95198),
    ("resnet101_v1_5", "resnet101", "gluon_in1k", 0.79306, 0.94538),
    ("resnet101_v1_5", "resnet101", "tv_in1k", 0.77374, 0.93546),
    ("resnet101_v1_5", "resnet101", "tv2_in1k", 0.81886, 0.95780),
    ("resnet152_v1_5", "resnet152", "a1_in1k", 0.81998, 0.95294),
    ("resnet152_v1_5", "resnet152", "a1h_in1k", 0.82818, 0.96124),
    ("resnet152_v1_5", "resnet152", "a2_in1k", 0.81764, 0.95270),
    ("resnet152_v1_5", "resnet152", "gluon_in1k", 0.79712, 0.94720),
    ("resnet152_v1_5", "resnet152", "tv_in1k", 0.78312, 0.94046),
    ("resnet152_v1_5", "resnet152", "tv2_in1k", 0.82284, 0.96002),
    ("resnext50_32x4d", "resnext50_32x4d", "a1_in1k", 0.80526, 0.94458),
    ("resnext50_32x4d", "resnext50_32x4d", "a1h_in1k", 0.81140, 0.95320),
    ("resnext50_32x4d", "resnext50_32x4d", "a2_in1k", 0.80444, 0.94630),
    ("resnext50_32x4d", "resnext50_32x4d", "fb_ssl_yfcc100m_ft_in1k", 0.80316, 0.95386),
    ("resnext50_32x4d", "resnext50_32x4d", "fb_swsl_ig1b_ft_in1k", 0.82162, 0.96224),
    ("resnext50_32x4d", "resnext50_32x4d", "gluon_in1k", 0.79354, 0.94424),
    ("resnext50_32x4d", "resnext50_32x4d", "tv_in1k", 0.77618, 0.93698),
    ("resnext50_32x4d", "resnext50_32x4d", "tv2_in1k", 0.81198, 0.95340),
    ("resnext101_32x8d", "resnext101_32x8d", "fb_ssl_yfcc100m_ft_in1k", 0.81620, 0.96036),
    ("resnext101_32x8d", "resnext101_32x8d", "fb_swsl_ig1b_ft_in1k", 0.84276, 0.97188),
    ("resnext101_32x8d", "resnext101_32x8d", "tv_in1k", 0.79312, 0.94526),
    ("resnext101_32x8d", "resnext101_32x8d", "tv2_in1k", 0.82834, 0.96228),
    ("wide_resnet50_2", "wide_resnet50_2", "racm_in1k", 0.81466, 0.95544),
    ("wide_resnet50_2", "wide_resnet50_2", "tv_in1k", 0.78468, 0.94086),
    ("wide_resnet50_2", "wide_resnet50_2", "tv2_in1k", 0.81602, 0.95758),
    ("wide_resnet101_2", "wide_resnet101_2", "tv_in1k", 0.78848, 0.94284),
    ("wide_resnet101_2", "wide_resnet101_2", "tv2_in1k", 0.82510, 0.96020),
    ("resnet18_v2", "resnetv2_18", "ra4_e3600_r224_in1k", 0.73572, 0.91356),
    ("resnet34_v2", "resnetv2_34", "ra4_e3600_r224_in1k", 0.77626, 0.93518),
    ("vgg11", "vgg11", "tv_in1k", 0.69020, 0.88628),
    ("vgg13", "vgg13", "tv_in1k", 0.69928, 0.89246),
    ("vgg16", "vgg16", "tv_in1k", 0.71592, 0.90382),
    ("vgg19", "vgg19", "tv_in1k", 0.72376, 0.90876),
    ("vgg11_bn", "vgg11_bn", "tv_in1k", 0.70370, 0.89810),
    ("vgg13_bn", "vgg13_bn", "tv_in1k", 0.71586, 0.90374),
    ("vgg16_bn", "vgg16_bn", "tv_in1k", 0.73360, 0.91516),
    ("vgg19_bn", "vgg19_bn", "tv_in1k", 0.74218, 0.91842),
)


def _record(model, name, tag, top1, top5, resize=None):
    kind = TAGS[tag]
    if kind.project == TORCHVISION:
        figures = quoted(top1, top5, "torchvision 0.28.0")
    else:
        figures = quoted(top1, top5, "timm 4e5207c", date="2026-11-30")
    return imagenet_record(
        model=model,
        tag=tag,
        source="timm",
        project=kind.project,
        licence=kind.licence,
        format="safetensors",
        files=(File(name=f"{name}.{tag}/model.safetensors", hub=f"timm/{name}.{tag}"),),
        preprocessing=replace(kind.pixels, resize=resize or kind.resize, interpolation=kind.interpolation),
        accuracy=figures,
    )


RECORDS = tuple(_record(*row) for row in ROWS)

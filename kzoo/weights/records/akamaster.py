"""The CIFAR-10 ResNets of github.com/akamaster/pytorch_resnet_cifar10, at its commit of 2021-07-20.

The sha256 are of the files in that commit; of ResNet-110's file only the start is known, which its name carries. The
figures are one minus the test errors of the page's table.
"""

from dataclasses import replace

from kzoo.weights.record import TORCH, File, Record, quoted

PROJECT = "https://github.com/akamaster/pytorch_resnet_cifar10"
ADDRESS = (
    "https://raw.githubusercontent.com/akamaster/pytorch_resnet_cifar10/"
    "d5489e8995e81e91ce6b1d69dcc98ad579b0b153/pretrained_models"
)
ROWS = (
    # layers, start of the sha256, bytes, the whole of it, accuracy
    (20, "12fca82f", 1_099_231, "12fca82f0bebc4135bf1f32f6e3710e61d5108578464b84fd6d7f5c1b04036c8", 0.9173),
    (32, "d509ac18", 1_890_043, "d509ac1820d7f25398913559d7e81a13229b1e7adc5648e3bfa5e22dc137f850", 0.9263),
    (44, "014dd654", 2_680_855, "014dd6541728a1c700b1642ab640e211dc6eb8ed507d70697458dc8f8a0ae2e4", 0.9310),
    (56, "4bfd9763", 3_471_733, "4bfd97631478d6b638d2764fd2baff3edb1d7d82252d54439343b6596b9b5367", 0.9339),
    (110, "1d1ed7c2", None, None, 0.9368),
)


def _record(layers, prefix, size, sha256, accuracy):
    name = f"resnet{layers}-{prefix}.th"
    return Record(
        model=f"resnet{layers}_cifar",
        tag="cifar10",
        source="akamaster",
        project=PROJECT,
        licence="BSD-2-Clause",
        format="pytorch",
        files=(File(name=name, url=f"{ADDRESS}/{name}", size=size, sha256=sha256, sha256_prefix=prefix),),
        classes=10,
        labels="cifar10",
        input_size=(32, 32, 3),
        preprocessing=replace(TORCH, resize=32),
        accuracy=quoted(accuracy, None, "akamaster's page", "CIFAR-10 test"),
    )


RECORDS = tuple(_record(*row) for row in ROWS)

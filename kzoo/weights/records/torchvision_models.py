"""torchvision's GoogLeNet, as in torchvision 0.28.0; its other weights are on the hub (`timm_hub`), as safetensors.

torchvision's code is under the BSD licence; for its weights it states none.
"""

from dataclasses import replace

from kzoo.weights.record import TF, File, imagenet_record, quoted

RECORDS = (
    imagenet_record(
        model="inception_v1_bn",
        tag="tv_in1k",
        source="torchvision",
        project="https://github.com/pytorch/vision",
        licence=None,
        format="pytorch",
        files=(
            File(
                name="googlenet-1378be20.pth",
                url="https://download.pytorch.org/models/googlenet-1378be20.pth",
                sha256_prefix="1378be20",
            ),
        ),
        preprocessing=replace(TF, resize=256, interpolation="bilinear"),
        accuracy=quoted(0.69778, 0.89530, "torchvision 0.28.0"),
        note="torchvision normalizes by ImageNet's mean and undoes that in the model (transform_input).",
    ),
)

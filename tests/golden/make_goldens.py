# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy==2.4.6", "timm==1.0.31", "torch==2.13.0", "torchvision==0.28.0"]
# ///
# pyright: reportMissingImports=false
"""Write goldens.json: the logits, sizes and multiply-adds of PyTorch's models, to which the tests hold kzoo's.

    uv run tests/golden/make_goldens.py

or, without uv, in an environment with the four packages above. Weights and images are functions of their names
(generated.py). It takes about three minutes on two cores, in float64, so that the numbers are the same on every
machine, and fails if timm, where it has the model too, does not agree with torchvision.
"""

import json
import re
import sys
from functools import partial
from pathlib import Path

import generated
import numpy as np

GOLDENS = Path(__file__).with_name("goldens.json")
TORCHVISION = {  # where the name is another
    "resnet50_v1_5": "resnet50",
    "resnet101_v1_5": "resnet101",
    "resnet152_v1_5": "resnet152",
    "inception_v1_bn": "googlenet",
}
TIMM_RENAMED = {"classifier.0": "pre_logits.fc1", "classifier.3": "pre_logits.fc2", "classifier.6": "head.fc"}
_kept = []
HEADS = {"auxiliary_1": ("inception4a", "aux1"), "auxiliary_2": ("inception4d", "aux2")}


def main():
    """Write the file, whole or not at all."""
    torch, torchvision, timm = imports()
    torch.use_deterministic_algorithms(True)
    sizes, logits = {}, {}
    for case in generated.CASES:
        print(case.name, file=sys.stderr, flush=True)
        if case.weights not in sizes:
            sizes[case.weights] = measure(case)
        logits[case.name] = {
            head: [[float(f"{x:.9g}") for x in row] for row in generated.some(values).astype(np.float32)]
            for head, values in compute(case).items()
        }
    versions = {"torch": torch.__version__, "torchvision": torchvision.__version__, "timm": timm.__version__}
    versions = {name: version.split("+")[0] for name, version in versions.items()}  # without the kind of build
    content = {"made_by": "uv run tests/golden/make_goldens.py", "versions": versions, "models": sizes}
    text = json.dumps({**content, "logits": logits}, indent=1)
    text = re.sub(r"\[[^\[\]]*\]", lambda row: " ".join(row[0].split()), text)  # a row of numbers on one line
    temporary = GOLDENS.with_suffix(".part")
    temporary.write_text(text + "\n")
    temporary.replace(GOLDENS)


def imports():
    """Import torch, torchvision and timm; a torchvision built for another torch than the one installed will do."""
    import torch

    try:
        import torchvision
    except RuntimeError:  # "operator torchvision::nms does not exist": its compiled part, which no model needs
        for module in [m for m in sys.modules if m.partition(".")[0] == "torchvision"]:
            del sys.modules[module]
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _kept.append(library)  # what it defines goes with it
        import torchvision
    import timm

    return torch, torchvision, timm


def reference_name(case: generated.Case) -> str:
    """What torchvision and timm call the model."""
    return TORCHVISION.get(case.model, case.model)


def build(case):
    """The reference, with its own random weights."""
    import torchvision
    from torchvision.models.resnet import ResNet

    name = reference_name(case)
    if name.endswith("_cifar"):
        return cifar_net(name)
    if name.startswith("plain"):
        return ResNet(plain_block(), [2, 2, 2, 2] if name == "plain18" else [3, 4, 6, 3])
    options = {"init_weights": False} if name.startswith(("vgg", "googlenet")) else {}
    if name == "googlenet":
        # With the public weights, the input is scaled to between -1 and 1, after Normalize.
        options |= {"aux_logits": case.auxiliary_heads, "transform_input": case.pixels}
    return torchvision.models.get_model(name, weights=None, **options)


def plain_block():
    """Torchvision's basic block without its shortcut."""
    from torchvision.models.resnet import BasicBlock

    class PlainBlock(BasicBlock):
        def __init__(self, inplanes, planes, stride=1, downsample=None, *args, **options):
            super().__init__(inplanes, planes, stride, None, *args, **options)

        def forward(self, x):
            x = self.relu(self.bn1(self.conv1(x)))
            return self.relu(self.bn2(self.conv2(x)))

    return PlainBlock


def cifar_net(name):
    """The nets of section 4.2 with option A's shortcuts, and the tensor names of akamaster/pytorch_resnet_cifar10."""
    import torch
    from torch import nn

    depth, residual = int(re.findall(r"\d+", name)[0]), name.startswith("resnet")

    class Block(nn.Module):
        def __init__(self, inputs, outputs, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(outputs)
            self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
            self.bn2 = nn.BatchNorm2d(outputs)
            self.stride, self.more = stride, outputs - inputs

        def forward(self, x):
            y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
            if residual:
                x = x[:, :, :: self.stride, :: self.stride]
                y = y + nn.functional.pad(x, (0, 0, 0, 0, self.more // 2, self.more // 2))
            return y.relu()

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(16)
            before = 16
            for stage, width in enumerate((16, 32, 64), start=1):
                blocks = [Block(before, width, 1 if stage == 1 else 2)]
                blocks += [Block(width, width, 1) for _ in range((depth - 2) // 6 - 1)]
                self.add_module(f"layer{stage}", nn.Sequential(*blocks))
                before = width
            self.linear = nn.Linear(64, 10)

        def forward(self, x):
            x = self.bn1(self.conv1(x)).relu()
            x = self.layer3(self.layer2(self.layer1(x)))  # pyright: ignore[reportCallIssue]
            return self.linear(torch.mean(x, (2, 3)))

    return Net()


def tensors(model):
    """The tensors that are weights, by name."""
    return {name: x for name, x in model.state_dict().items() if not name.endswith("num_batches_tracked")}


def measure(case):
    """Sizes that need no weights: parameters, and the multiply-adds of one image of the default size."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    height, width = generated.CIFAR if case.model.endswith("_cifar") else generated.IMAGENET
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model = build(case).eval()
        model(torch.empty(1, 3, height, width))
    sizes = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "tensors": generated.fingerprint((name, x.shape) for name, x in tensors(model).items()),
    }
    if not case.auxiliary_heads:  # which do not run in inference
        sizes["multiply_adds"] = counter.get_total_flops() // 2
    return sizes


def compute(case):
    """The logits of each head, (images, classes)."""
    import torch

    with torch.device("meta"):
        model = build(case)
    weights = {
        name: torch.from_numpy(generated.weight(case.model, name, tuple(x.shape))).double()
        for name, x in tensors(model).items()
    }
    images = torch.from_numpy(generated.images(case)).permute(0, 3, 1, 2)
    images = normalized(case, images) if case.pixels else images.double()
    heads = HEADS if case.auxiliary_heads else {}
    inner = {}
    fill(model, weights)
    for layer, _ in heads.values():
        model.get_submodule(layer).register_forward_hook(
            partial(lambda name, *call: inner.update({name: call[2]}), layer)
        )
    with torch.no_grad():
        logits = {"predictions": model(images)}
        logits |= {head: model.get_submodule(module)(inner[layer]) for head, (layer, module) in heads.items()}
        compare_with_timm(case, weights, images, logits["predictions"])
    return {head: x.numpy() for head, x in logits.items()}


def fill(model, weights):
    """Give a model that has no memory yet its weights, all of them."""
    import torch

    missing, unexpected = model.load_state_dict(weights, strict=False, assign=True)
    assert not unexpected
    for name in missing:
        assert name.endswith("num_batches_tracked"), name
        module, _, buffer = name.rpartition(".")
        setattr(model.get_submodule(module), buffer, torch.tensor(0))
    model.eval()


def normalized(case, images):
    """Bytes to what torchvision's public weights of this model expect."""
    import torch
    import torchvision

    public = torchvision.models.get_model_weights(reference_name(case)).DEFAULT.transforms()
    images = torchvision.transforms.functional.convert_image_dtype(images, torch.float64)
    return torchvision.transforms.functional.normalize(images, public.mean, public.std)


def compare_with_timm(case, weights, images, logits):
    """Fail unless timm, if it has the model, gives the same from the same tensors."""
    import timm
    import torch

    name = reference_name(case)
    if name not in timm.list_models() or case.pixels:
        return
    with torch.device("meta"):
        model = timm.create_model(name)
    shapes, renamed = model.state_dict(), {}
    for tensor, x in weights.items():
        module, _, kind = tensor.rpartition(".")
        tensor = f"{TIMM_RENAMED.get(module, module)}.{kind}"
        renamed[tensor] = x.reshape(shapes[tensor].shape)  # its fully connected layers are convolutions
    fill(model, renamed)
    worst = (model(images) - logits).abs().max() / logits.abs().max()
    assert worst < 1e-12, f"{name}: timm and torchvision are {worst} apart"


if __name__ == "__main__":
    main()

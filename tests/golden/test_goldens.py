"""PyTorch's models and kzoo's give the same logits from the same weights; make_goldens.py made the numbers."""

import json
import math
from pathlib import Path

import generated
import numpy as np
import pytest

import kzoo
from kzoo.weights.names import SOURCES, tensor_layouts

FOLDER = Path(__file__).parent
GOLDENS = json.loads((FOLDER / "goldens.json").read_text())
SLOW = ("101", "152", "110", "vgg13", "vgg16", "vgg19")


def quick_and_slow(cases):
    return [
        pytest.param(case, id=case.name, marks=pytest.mark.slow if any(s in case.name for s in SLOW) else ())
        for case in cases
    ]


@pytest.mark.parametrize("case", quick_and_slow(generated.CASES))
def test_logits_are_pytorchs(case):
    model = kzoo.create_model(
        case.model,
        input_shape=(*case.size, 3),
        classifier_activation=None,
        include_preprocessing=case.pixels,
        auxiliary_heads=case.auxiliary_heads,
    )
    source = SOURCES["akamaster" if case.model.endswith("_cifar") else "torchvision"]
    found = tensor_layouts(model, source)
    sizes = GOLDENS["models"][case.weights]
    # Every tensor of PyTorch's model, each once.
    assert len({tensor.name for tensor in found}) == len(found)
    assert generated.fingerprint((tensor.name, tensor.shape) for tensor in found) == sizes["tensors"]
    assert sum(math.prod(w.shape) for w in model.trainable_weights) == sizes["parameters"]

    for weight, tensor in zip(model.weights, found, strict=True):
        weight.assign(tensor.to_keras(generated.weight(case.model, tensor.name, tensor.shape)))
    outputs = model(generated.images(case))
    outputs = outputs if case.auxiliary_heads else {"predictions": outputs}
    golden = GOLDENS["logits"][case.name]
    assert sorted(outputs) == sorted(golden)
    for head, logits in outputs.items():
        expected = np.array(golden[head])
        assert logits.shape[0] == case.images
        np.testing.assert_allclose(generated.some(logits), expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_every_golden_is_compared():
    assert sorted(GOLDENS["logits"]) == sorted(case.name for case in generated.CASES)
    assert sorted(GOLDENS["models"]) == sorted({case.weights for case in generated.CASES})
    assert sum(path.stat().st_size for path in FOLDER.iterdir() if path.is_file()) < 200_000


@pytest.mark.parametrize("layer", ["conv2_block1_add", "block1_pool", "inception_3a", "auxiliary_1_dropout"])
def test_a_layer_without_a_name_in_pytorch_is_an_error(layer):
    for model in ("resnet18", "vgg11", "inception_v1_bn"):
        with pytest.raises(ValueError, match=f"Received: '{layer}'"):
            SOURCES["torchvision"].modules(model, [layer])

"""The registry: names to models, without importing what is not needed."""

import pytest

import kzoo
from kzoo.errors import InvalidArgument
from kzoo.models import registry

# The rest of the zoo takes minutes to build.
FAST = ["mnist_net", "resnet18", "resnet20_cifar"]


@pytest.mark.parametrize(
    "name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in kzoo.list_models()]
)
def test_every_model_is_buildable_with_its_defaults(name):
    shape, classes = registry.defaults(name)
    model = kzoo.create_model(name)
    assert (model.input_shape, model.output_shape, model.name) == ((None, *shape), (None, classes), name)


def test_list_models():
    assert kzoo.list_models() == sorted(registry.CARDS)
    assert kzoo.list_models("mnist*") == ["mnist_net"]
    assert kzoo.list_models("no*") == []


@pytest.mark.parametrize("call", [kzoo.create_model, registry.defaults, registry.check_name])
def test_unknown_name_says_the_closest(call):
    with pytest.raises(InvalidArgument) as caught:
        call("mnistnet")
    valid = ", ".join(kzoo.list_models())
    assert str(caught.value) == (f"Unknown model. Received: 'mnistnet'. Did you mean 'mnist_net'? Valid: {valid}.")


def test_every_builder_has_defaults():
    for name in registry.CARDS:
        (height, width, channels), classes = registry.defaults(name)
        assert min(height, width, channels) >= 1
        assert classes >= 2


@pytest.mark.parametrize(
    "code",
    [
        "import kzoo",
        "import kzoo; kzoo.list_models()",
        "from kzoo.train import TrainConfig; TrainConfig()",
        "from kzoo.train.config import TrainConfig; from kzoo.train.schedules import learning_rate",
        "import kzoo.train.runs, kzoo.train.precision, kzoo.hardware, kzoo.augment",
        "from kzoo.models import registry; registry.defaults('mnist_net')",
    ],
)
def test_light_imports_bring_neither_tensorflow_nor_keras(code, fresh_python):
    check = (
        "import sys; print([m for m in ('tensorflow', 'keras', 'jax', 'matplotlib', 'sklearn') if m in sys.modules])"
    )
    assert fresh_python(f"{code}\n{check}").stdout == "[]\n"


def test_public_names_are_listed_and_there():
    for name in ("create_model", "list_models", "load_model", "MNISTNet", "data", "train", "layers", "augment"):
        assert name in dir(kzoo)
        assert getattr(kzoo, name) is not None

"""The cards: what they say of other projects, and what is derived from them."""

import ast
import inspect
import pickle
import pydoc
import re
from pathlib import Path

import pytest

import kzoo
from kzoo.models import registry
from kzoo.models.registry import CARDS
from kzoo.weights.names import SOURCES
from kzoo.weights.table import RECORDS

STUB = Path(kzoo.__file__).with_suffix(".pyi")


def stub():
    return ast.parse(STUB.read_text(encoding="utf-8")).body


def test_names_are_unique():
    assert len(CARDS) == sum(map(len, registry.FAMILIES.values()))
    assert len(registry.CONSTRUCTORS) == len(CARDS)
    imported = {alias.name for node in stub() if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert not set(registry.CONSTRUCTORS) & imported


def test_the_stub_has_every_constructor_and_no_other():
    variables = [node for node in stub() if isinstance(node, ast.AnnAssign)]
    assert [ast.unparse(node.target) for node in variables] == list(registry.CONSTRUCTORS)
    assert {ast.unparse(node.annotation) for node in variables} == {"_Constructor"}


def test_the_stub_has_the_arguments_of_create_model():
    [protocol] = [node for node in stub() if isinstance(node, ast.ClassDef)]
    call = next(node for node in protocol.body if isinstance(node, ast.FunctionDef))
    module = ast.parse(inspect.getsource(registry.create_model)).body[0]
    assert isinstance(module, ast.FunctionDef)
    assert [a.arg for a in call.args.args] == ["self"]
    assert [a.arg for a in module.args.args] == ["name"]
    for found, wanted in ((call, module), (call.returns, module.returns)):
        if isinstance(found, ast.FunctionDef):
            found.args.args = module.args.args = []
            found, wanted = found.args, module.args
        assert found is not None
        assert wanted is not None
        assert ast.unparse(found).replace("typing.", "") == ast.unparse(wanted)


def test_constructors_have_the_arguments_of_create_model():
    arguments = inspect.signature(kzoo.create_model).parameters
    for name, build in registry.CONSTRUCTORS.items():
        found = inspect.signature(build).parameters
        assert [*found.values()] == [argument for argument in arguments.values() if argument.name != "name"]
        assert pickle.loads(pickle.dumps(build)).args == build.args  # noqa: S301 - our own
        assert getattr(kzoo, name) is build
        shown = pydoc.plain(pydoc.render_doc(build))
        assert f"Build `{build.args[0]}`." in shown
        assert [line.split(":")[0].strip() for line in shown.splitlines() if re.match("        [a-z_]+: ", line)] == [
            *found
        ]
    with pytest.raises(AttributeError, match="module 'kzoo' has no attribute 'ResNet51'"):
        kzoo.ResNet51  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]


def test_torchvision_and_timm_call_the_models_so():
    """By the addresses of their weights: timm/NAME.TAG on the hub, NAME-HASH.pth at download.pytorch.org."""
    seen = set()
    for record in RECORDS:
        for file in record.files:
            if file.hub and file.hub.startswith("timm/"):
                assert file.hub.removeprefix("timm/").split(".")[0] == CARDS[record.model].timm
                seen.add(record.model)
            elif file.url and "download.pytorch.org" in file.url:
                assert re.split("[-.]", file.url.rsplit("/", 1)[1])[0] == CARDS[record.model].torchvision
                seen.add(record.model)
    assert len(seen) > 15


@pytest.mark.parametrize("source", ["keras", "torchvision", "timm"])
def test_weights_are_taken_of_models_that_the_source_has(source):
    taken = {name for name in CARDS if SOURCES[source].has(name)}
    there = {name for name, card in CARDS.items() if getattr(card, source)}
    assert taken <= there
    assert source == "timm" or taken == there

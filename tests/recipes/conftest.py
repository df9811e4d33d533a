"""Recipes are scripts, not a package: a test loads its own by path."""

import importlib.util
import sys
from pathlib import Path

import pytest

RECIPES = Path(__file__).resolve().parent.parent.parent / "recipes"


@pytest.fixture(scope="session")
def load_recipe():
    """A recipe's module, by its name."""

    def load(name):
        specification = importlib.util.spec_from_file_location(name, RECIPES / f"{name}.py")
        assert specification is not None
        assert specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        sys.modules[name] = module  # where dataclasses look up their types
        specification.loader.exec_module(module)
        return module

    return load

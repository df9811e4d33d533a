"""Which formats can be tested here, and what their files are called."""

import importlib.util

import pytest

from kzoo.deploy import formats


def needs(kind):
    """Skip a test where the packages of a format are not installed."""
    modules = (*formats.FORMATS[kind].to_run, *formats.FORMATS[kind].to_export)
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: pip install 'kzoo[{kind}]'")


def name_of(kind):
    """A file name of the format."""
    return f"model{formats.FORMATS[kind].suffix}"

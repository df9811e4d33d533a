"""kzoo: the classic CNNs for Keras 3, with data, training and evaluation that are right.

Names are imported on first use: `import kzoo` and `kzoo.list_models()` import neither TensorFlow nor Keras. They are
listed in `__init__.pyi`; the constructors there, such as `ResNet50`, come from the cards of the models.
"""

import os
import sys

# `python -m kzoo` puts the current folder first on the path, where a json.py beside the photos would be imported: it
# goes before anything else is imported. (What Python imports before this package may still come from there; with `kzoo`
# and `python -P -m kzoo` nothing does.)
_is_looked_up_by_m = sys.argv[:1] == ["-m"] and sys.orig_argv[-len(sys.argv)] in ("kzoo", "-mkzoo")
_parent = os.path.dirname(os.path.dirname(__file__))  # noqa: PTH120 - pathlib is not imported yet
if _is_looked_up_by_m and not sys.flags.safe_path and sys.path[0] != _parent:
    del sys.path[0]

import lazy_loader  # noqa: E402

_import, _names, _ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name):
    if name == "__all__":
        return __dir__()
    if name in _names():
        return _import(name)
    from kzoo.models.registry import CONSTRUCTORS

    if name not in CONSTRUCTORS:
        raise AttributeError(f"module 'kzoo' has no attribute {name!r}")
    return CONSTRUCTORS[name]


def __dir__():
    from kzoo.models.registry import CONSTRUCTORS

    return sorted([*_names(), *CONSTRUCTORS])

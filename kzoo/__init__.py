"""kzoo: the classic CNNs for Keras 3, with data, training and evaluation that are right.

Names are imported on first use: `import kzoo` and `kzoo.list_models()` import neither TensorFlow nor Keras. They are
listed in `__init__.pyi`; the constructors there, such as `ResNet50`, come from the cards of the models.
"""

import lazy_loader

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

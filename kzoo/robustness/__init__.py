"""How accuracy falls with noise, with few bits, and with common corruptions; names are imported on first use."""

from typing import TYPE_CHECKING

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"measuring": ["measure"], "quantization": ["Quantized"]}
)

if TYPE_CHECKING:
    from kzoo.robustness.measuring import measure as measure
    from kzoo.robustness.quantization import Quantized as Quantized

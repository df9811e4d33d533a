"""Transfer learning: freeze, train a new head, then fine-tune; and the parts to do it by hand."""

from typing import TYPE_CHECKING

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "loading": ["images_for"],
        "defaults": ["TransferConfig"],
        "finetuning": ["fine_tune"],
        "freezing": ["freeze", "unfreeze"],
        "surgery": ["NotCopied", "add_head", "copy_weights"],
    },
)

if TYPE_CHECKING:
    from kzoo.train.config import TransferConfig as TransferConfig
    from kzoo.transfer.finetuning import fine_tune as fine_tune
    from kzoo.transfer.freezing import freeze as freeze
    from kzoo.transfer.freezing import unfreeze as unfreeze
    from kzoo.transfer.loading import images_for as images_for
    from kzoo.transfer.surgery import NotCopied as NotCopied
    from kzoo.transfer.surgery import add_head as add_head
    from kzoo.transfer.surgery import copy_weights as copy_weights

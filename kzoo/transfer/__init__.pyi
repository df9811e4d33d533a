from .defaults import TransferConfig as TransferConfig
from .finetuning import fine_tune as fine_tune
from .freezing import freeze as freeze
from .freezing import unfreeze as unfreeze
from .loading import images_for as images_for
from .surgery import NotCopied as NotCopied
from .surgery import add_head as add_head
from .surgery import copy_weights as copy_weights

"""Measurements of kzoo against Keras, in one process and in turn, so that their ratio can be trusted."""

from kzoo.bench.augmentation import measure_augmentation
from kzoo.bench.models import (
    Contender,
    Work,
    footprint,
    measure,
    measure_precisions,
    measure_speeds,
)
from kzoo.bench.transfer import draw, measure_transfer

__all__ = [
    "Contender",
    "Work",
    "draw",
    "footprint",
    "measure",
    "measure_augmentation",
    "measure_precisions",
    "measure_speeds",
    "measure_transfer",
]

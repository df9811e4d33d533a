"""Measurements of kzoo against Keras, in one process and in turn, so that their ratio can be trusted."""

from kzoo.bench.models import Contender, Work, footprint, measure, measure_precisions, measure_speeds

__all__ = ["Contender", "Work", "footprint", "measure", "measure_precisions", "measure_speeds"]

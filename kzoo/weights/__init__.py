"""Pretrained weights: what there is (`table`), where it lies (`store`), and how it gets there verified."""

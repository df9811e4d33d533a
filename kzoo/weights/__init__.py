"""Pretrained weights: what there is (`table`), where it lies (`store`), how it is read (`formats`, `convert`)."""

"""Pretrained weights: files of other frameworks, read without them and without running anything in them."""

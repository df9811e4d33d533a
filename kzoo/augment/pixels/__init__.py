"""Pixels of a batch: moved, resized, cut and recoloured, by draws that the layers of `kzoo.augment` make."""

"""Names to datasets: the digits that come with scikit-learn, TFDS, image folders and CSV files.

>>> from kzoo.data import load
>>> train = load("digits")
>>> len(train), train.image_shape
(1439, (8, 8, 1))

Importing this package imports neither TensorFlow nor Keras, scikit-learn or Pillow.
"""

from kzoo.data.dataset import Dataset, match_labels
from kzoo.data.inspection import inspect
from kzoo.data.loading import load

__all__ = ["Dataset", "inspect", "load", "match_labels"]

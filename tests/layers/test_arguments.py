"""What layers ask of their arguments."""

import numpy as np
import pytest
import tensorflow as tf

from kzoo.errors import InvalidArgument
from kzoo.layers import RandAugment, RandomColorJitter, TrivialAugment
from kzoo.layers.arguments import channels_of, is_number, is_pair


def test_numbers_and_pairs():
    assert [is_number(value) for value in (1, 0.5, True, "1", None, np.zeros(2))] == [True, True] + [False] * 4
    assert is_pair((0, 1.5))
    assert is_pair([0, 1])
    assert not any(is_pair(value) for value in ((0,), (0, 1, 2), 0.5, "01", (0, None), np.zeros(2)))


@pytest.mark.parametrize("layer", [RandAugment(), TrivialAugment(), RandomColorJitter(0.5)])
def test_images_without_known_channels_are_refused_in_one_line(layer):
    specification = tf.TensorSpec((None, 8, 8, None), "uint8")
    call = tf.function(lambda x: layer(x, training=True), input_signature=[specification], autograph=False)
    with pytest.raises(InvalidArgument) as caught:
        call.get_concrete_function()
    assert str(caught.value) == (
        "The number of channels of the images must be known. Received: images of shape (None, 8, 8, None). "
        "Set it: `images.set_shape((None, None, None, 3))`."
    )


def test_known_channels():
    assert channels_of(tf.zeros((2, 8, 8, 3))) == 3

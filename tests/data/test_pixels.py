"""The range of pixel values: found where it is sure, and never guessed."""

import numpy as np
import pytest

from kzoo.data.pixels import RAW, SIGNED, UNIT, are_different, common, is_same, pixel_range, scale, unscale

RANDOM = np.random.default_rng(0)
BYTES = RANDOM.integers(0, 256, (20, 8, 8, 3)).astype("uint8")
PIXELS = BYTES.astype("float32")
DRAWINGS = RANDOM.uniform(size=(20, 8, 8, 1)) < 0.2

IMAGES = {
    "bytes": (BYTES, RAW),
    "floats of 0 to 255": (PIXELS, RAW),
    "divided by 255": (PIXELS / 255, UNIT),
    "divided by 255, and dark": (np.minimum(PIXELS, 60) / 255, UNIT),
    "divided by 255, in half precision": ((PIXELS / 255).astype("float16"), UNIT),
    "divided by 255, and overshooting": (np.clip(PIXELS / 255 * 1.2 - 0.02, -0.02, 1.2), UNIT),
    "from -1 to 1": (PIXELS / 127.5 - 1, SIGNED),
    "from -1 to 1, and dark": (np.minimum(PIXELS, 60) / 127.5 - 1, SIGNED),
    "bytes, overshooting": (np.clip(PIXELS * 1.1 - 6, -6, 275), RAW),
    "drawings of zeros and ones": (DRAWINGS.astype("float32"), UNIT),
    "truth values": (DRAWINGS, UNIT),
    "standardized": ((PIXELS / 255 - 0.45) / 0.22, "another"),
    "divided by 255, with more contrast": (PIXELS / 255 * 1.2 - 0.1, UNIT),
    "centred": (PIXELS / 255 - 0.5, None),
    "from -1 to 1, with less contrast": ((PIXELS / 127.5 - 1) * 0.9, None),
    "divided by 255, without the mean": (PIXELS / 255 - 0.13, None),
    "without ImageNet's mean": (PIXELS - [103.939, 116.779, 123.68], "another"),
    "of 16 bits": (PIXELS * 257, "another"),
    "of signed bytes": ((BYTES - 128).view("int8"), "another"),
    "black": (np.zeros((20, 8, 8, 1), "float32"), None),
    "black bytes": (np.zeros((20, 8, 8, 1), "uint8"), RAW),
    "almost black": (np.minimum(PIXELS, 3), None),
    "almost black bytes": (np.minimum(BYTES, 1), RAW),
    "almost black, resized": (RANDOM.uniform(0, 0.4, (20, 8, 8, 1)), None),
    "black with some noise": ((RANDOM.uniform(size=(20, 8, 8, 1)) < 0.005).astype("float32"), None),
    "one drawing": (DRAWINGS[:1].astype("float32"), None),
    "digits of 0 to 15": (np.minimum(PIXELS, 15), None),
    "none": (np.zeros((0, 8, 8, 1)), None),
}


@pytest.mark.parametrize("name", IMAGES)
def test_ranges(name):
    images, expected = IMAGES[name]
    found = pixel_range(images)
    if expected == "another":
        assert found == (images.min(), images.max())
        assert not is_same(found, RAW)
    else:
        assert found == expected


@pytest.mark.parametrize("target", [UNIT, SIGNED])
def test_scaling_there_and_back(target):
    scaled = scale(PIXELS, target)
    assert pixel_range(scaled) == target
    # float32: 24 bits
    np.testing.assert_allclose(unscale(scaled, target), PIXELS, atol=255 * 2**-22)


@pytest.mark.parametrize("known", [RAW, UNIT, SIGNED])
def test_a_range_after_a_change_of_brightness_may_be_a_known_one(known):
    low, high = known
    changed = (low - 0.2 * (high - low), high - 0.2 * (high - low))
    assert is_same(changed, known)
    assert is_same(known, changed)
    assert common(changed, known) == common(known, changed) == known
    assert common(None, known) == known
    standardized = (-2.1, 2.6)
    assert not is_same(standardized, known)
    assert common(standardized, known) == standardized
    assert not are_different(standardized, known)
    assert [are_different(known, other) for other in (RAW, UNIT, SIGNED)] == [
        known != other for other in (RAW, UNIT, SIGNED)
    ]

"""Sheets of images: what is drawn where, and text that does not fit or may not be shown."""

import io

import numpy as np
import pytest
from PIL import Image

from kzoo.data.sheets import BACKGROUND, Cell, as_picture, font, sheet, shortened


def drawn(content):
    return np.asarray(Image.open(io.BytesIO(content)))


def test_images_are_in_rows_with_gaps():
    red, blue = (np.full((84, 84, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 0, 255)))
    picture = drawn(sheet("two", [Cell(red, ["a"]), None, Cell(blue, ["b", "c"])], columns=2))
    # A heading of 32 pixels; a row of an image, a line of text and a gap; one with two lines.
    assert picture.shape == (32 + (84 + 16 + 16) + (84 + 32 + 16), 3 * 168 + 8, 3)
    assert (picture[32:116, 8:92] == (255, 0, 0)).all()
    assert (picture[32:148, 176:] == BACKGROUND).all()
    assert (picture[148:232, 8:92] == (0, 0, 255)).all()


@pytest.mark.parametrize(
    ("shape", "size"),
    [((8, 8, 1), (88, 88)), ((300, 600, 3), (160, 80)), ((1, 5000, 3), (160, 1)), ((84, 84, 1), (84, 84))],
)
def test_images_have_a_size_that_can_be_looked_at(shape, size):
    assert as_picture(np.zeros(shape, np.uint8)).size == size


def test_long_text_loses_its_middle():
    small = font(12)
    text = shortened("x" * 500 + "/end.jpg", small, 160)
    assert small.getlength(text) <= 160
    assert text.startswith("xxx")
    assert text.endswith("/end.jpg")
    assert "…" in text
    assert shortened("short", small, 160) == "short"


@pytest.mark.parametrize("name", ["\x1b[31mred", "\u202efdp.exe", "a\nb", "\udcff", "犬", "שלום", "", "$x$", "<b>"])
def test_any_name_is_drawn(name):
    assert shortened(name, font(12), 160).isprintable()
    plain = drawn(sheet("", [Cell(np.zeros((84, 84, 1), np.uint8), [""])], 1))
    picture = drawn(sheet(name, [Cell(np.zeros((84, 84, 1), np.uint8), [name])], 1))
    assert picture.shape == plain.shape
    assert (picture != plain).any() == bool(name)

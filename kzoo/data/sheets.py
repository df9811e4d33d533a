"""Sheets: images side by side in one picture, each with some lines of text below it."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kzoo.plotting import import_matplotlib
from kzoo.text import printable

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage
    from PIL.ImageFont import FreeTypeFont

# In pixels: smaller images are enlarged to whole multiples of themselves, larger ones are reduced.
SMALLEST, LARGEST = 84, 160
# Neither black nor white, so that borders of an image show.
BACKGROUND, TEXT = (205, 212, 222), (20, 24, 30)
_GAP, _TEXT_SIZE, _LINE = 8, 12, 16


class Cell(NamedTuple):
    """An image of a sheet."""

    image: np.ndarray
    """(height, width, channels), 1 or 3 of them, values 0 to 255."""
    lines: Sequence[str]
    """Text below it; what is too long for its width loses its middle."""


def sheet(heading: str, cells: Sequence[Cell | None], columns: int) -> bytes:
    """Draw images in rows of so many, with gaps where there is None; returns a PNG file.

    >>> sheet("Digits", [Cell(np.zeros((8, 8, 1), np.uint8), ["zero"])] * 3, columns=2)[1:4]
    b'PNG'
    """
    from PIL import Image, ImageDraw, features

    text_font = font(_TEXT_SIZE)
    columns = max(1, min(columns, len(cells)))
    rows = []
    for start in range(0, len(cells), columns):
        row = [
            (column, as_picture(cell.image), cell.lines)
            for column, cell in enumerate(cells[start : start + columns])
            if cell is not None
        ]
        rows.append((row, max((image.height + _LINE * len(lines) for _, image, lines in row), default=0) + 2 * _GAP))
    width, top = max(columns, 3) * (LARGEST + _GAP) + _GAP, _LINE + 2 * _GAP
    canvas = Image.new("RGB", (width, top + sum(height for _, height in rows)), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    # In names of Hebrew or Arabic letters, what stands before them would change sides.
    direction = "ltr" if features.check("raqm") else None

    def write(x: int, y: int, text: str, width: int) -> None:
        draw.text((x, y), shortened(text, text_font, width), TEXT, text_font, direction=direction)

    write(_GAP, _GAP, heading, width - 2 * _GAP)
    for row, height in rows:
        for column, image, lines in row:
            left = _GAP + column * (LARGEST + _GAP)
            canvas.paste(image, (left, top))
            for number, text in enumerate(lines):
                write(left, top + image.height + 2 + number * _LINE, text, LARGEST)
        top += height
    picture = io.BytesIO()
    canvas.save(picture, "PNG")
    return picture.getvalue()


def font(size: int) -> "FreeTypeFont":
    """DejaVu Sans, which comes with matplotlib and has Greek, Cyrillic, Hebrew and Arabic letters too."""
    matplotlib = import_matplotlib()
    from PIL import ImageFont

    return ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf", size)


def shortened(text: str, text_font: "FreeTypeFont", width: int) -> str:
    """Text as it may be shown, cut in its middle to a width in pixels.

    >>> shortened("a/long/path/to/a/photo.jpg", font(12), 100)
    'a/long/…oto.jpg'
    """
    text = printable(text[:1000])
    if text_font.getlength(text) <= width:
        return text
    fits, does_not = 0, len(text)
    while does_not - fits > 1:
        kept = (fits + does_not) // 2
        if text_font.getlength(_without_middle(text, kept)) <= width:
            fits = kept
        else:
            does_not = kept
    return _without_middle(text, fits)


def _without_middle(text: str, kept: int) -> str:
    return f"{text[: kept // 2]}…{text[len(text) - (kept - kept // 2) :]}"


def as_picture(pixels: np.ndarray) -> "PillowImage":
    """(height, width, channels), values 0 to 255, as an RGB image of a size that can be looked at."""
    from PIL import Image

    pixels = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).convert("RGB")
    longest = max(image.size)
    if longest > LARGEST:
        image.thumbnail((LARGEST, LARGEST))
        return image
    times = -(-SMALLEST // longest)
    return image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)

"""Ten digits as PNG files, one of each class, for trying `kzoo predict`.

Source:  the test split of the digits that come with kzoo, 8x8 pixels of real handwriting (UCI Optical Recognition of
         Handwritten Digits).
Command: python recipes/save_digits.py FOLDER
Time:    two seconds.
Result:  FOLDER/0.png to FOLDER/9.png; a file's name is its label.
"""

import sys
from pathlib import Path

from PIL import Image

from kzoo import data


def main(folder: Path) -> None:
    """Write `folder/LABEL.png` for each class."""
    folder.mkdir(parents=True, exist_ok=True)
    digits = data.load("digits", "test")
    for label, name in enumerate(digits.class_names):
        first = int((digits.labels == label).argmax())
        Image.fromarray(digits.images[first, :, :, 0]).save(folder / f"{name}.png")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python recipes/save_digits.py FOLDER")
    main(Path(sys.argv[1]))

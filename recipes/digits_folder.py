"""Handwritten digits as a folder of pictures, for trying kzoo as with your photos: FOLDER/{train,test}/LABEL/*.png.

Source:  the digits that come with scikit-learn, 8x8 pixels of real handwriting (UCI Optical Recognition of Handwritten
         Digits), in kzoo's splits.
Command: python recipes/digits_folder.py FOLDER
Time:    three seconds.
Result:  1,618 pictures to train on, 179 to test on.
"""

import sys
from pathlib import Path

from PIL import Image

from kzoo import data

SPLITS = {"train": ("train", "validation"), "test": ("test",)}


def main(folder: Path) -> None:
    """Write the pictures."""
    for name, splits in SPLITS.items():
        for split in splits:
            digits = data.load("digits", split)
            for index, (image, label) in enumerate(zip(digits.images, digits.labels, strict=True)):
                path = folder / name / digits.class_names[label] / f"{split}_{index:04}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image[:, :, 0]).save(path)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python recipes/digits_folder.py FOLDER")
    main(Path(sys.argv[1]))

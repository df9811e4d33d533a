"""`kzoo augment`."""

from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter

from kzoo import augment
from kzoo import data as datasets
from kzoo.cli._options import DataOptions, ImageSize, parse_image_size
from kzoo.cli._output import Json, picture_file, print_json, print_table
from kzoo.data.loading import public_name
from kzoo.errors import InvalidArgument
from kzoo.files import write_bytes

# Photos in a folder have sizes of their own.
FOLDER_SIZE = 224


def command(
    dataset: str,
    /,
    *,
    out: str,
    policy: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = (),
    count: int = 8,
    draws: int = 8,
    seed: int = 0,
    image_size: ImageSize = None,
    overwrite: bool = False,
    data: DataOptions = DataOptions(),  # noqa: B008 - frozen
    json: Json = False,
) -> None:
    """Show what augmentation makes of a dataset's training images, in a picture.

    Args:
        dataset: digits, a TFDS name, a folder or a CSV file, as for `kzoo train`.
        out: The PNG file to write.
        policy: Augmentation policies, in order [default: the one that training takes].
        count: Images, a row each.
        draws: Augmented images in a row: those of the first epochs of a training on images of this size.
        seed: Of the draws, as for `kzoo train`.
        image_size: Size of the images [default: their own; 224 for a folder or a CSV file].
        overwrite: Replace the file that is there.
    """
    chosen = policy in ((), ("auto",))
    for name in () if chosen else policy:
        augment.check_name(name)
    for flag, value, lowest in (("--count", count, 1), ("--draws", draws, 1), ("--seed", seed, 0)):
        if value < lowest:
            raise InvalidArgument(f"{flag} must be at least {lowest}. Received: {value}.")
    path = picture_file(out, overwrite)
    size = parse_image_size(image_size) or (None if public_name(dataset) else FOLDER_SIZE)
    images = datasets.load(dataset, image_size=size, **asdict(data))
    suggested, _ = augment.suggested(images.public_name, images.image_shape, is_grey=images.is_grey)
    names = (suggested,) if chosen else policy

    from kzoo.augment.preview import preview_grid

    write_bytes(path, preview_grid(images, names, count=count, draws=draws, seed=seed))
    shown = {"out": str(path), "dataset": images.name, "policy": list(names), "seed": seed}
    if json:
        print_json({**shown, "images": min(count, len(images)), "draws": draws})
    else:
        print_table(
            ("picture", "value"), [(key, augment.title(names) if key == "policy" else shown[key]) for key in shown]
        )

"""One image: what its header says, and its pixels as uint8 at the size and channel count asked for.

Pillow does the work. What is decided here is what Pillow leaves open: the EXIF orientation is applied; 16-bit greyscale
keeps its high byte (Pillow would clip at 255); transparency is composited over white, since that is what a person who
labelled the image saw in a viewer (merely dropping alpha, as `convert("RGB")` does, reveals whatever colours the editor
left under the transparent pixels).
"""

import math
import os
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kzoo import console

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

# File names that say that there is an image, in any letter case, and the formats that are read. Everything else that
# Pillow can open stays closed: fewer decoders, fewer ways for a file to attack. ("JPEG" opens an iPhone's MPO as well.)
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo", ".png", ".apng", ".gif", ".bmp", ".dib", ".webp"}
)
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")

# Pillow's default Image.MAX_IMAGE_PIXELS: a quarter of a gigabyte of RGB. Pillow itself only warns up to twice this.
MAX_PIXELS = 89_478_485

INTERPOLATIONS = ("bilinear", "bicubic")

_EXIF_ORIENTATION = 0x0112

# Images that one task of the threads handles: enough to make the pool's own work small.
_CHUNK = 32


class BadImage(Exception):  # noqa: N818 - never reaches a user: it becomes a DataError or a skipped image
    """The reason why the content of one image cannot be used, as a clause that follows "PATH: "."""


class Header(NamedTuple):
    """What the header of an image says, after its EXIF orientation."""

    height: int
    width: int
    grey: bool


def header(content: bytes) -> Header:
    """Read the size of an encoded image, and whether it is greyscale, without decoding its pixels.

    Raises:
        BadImage: The content is no image, or has more pixels than is safe to decode.
    """
    with _opened(content) as image:
        width, height = image.size
        if _orientation(image) >= 5:  # 5 to 8 turn by 90 degrees
            width, height = height, width
        # "1", "L", "LA", and the 16-bit modes "I", "I;16", "I;16B"
        return Header(height, width, image.mode == "1" or image.mode[0] in "LI")


def looks_like_one(start: bytes) -> bool:
    """Whether a file that starts so, 32 bytes or more of it, is an image that is read, whatever its name.

    >>> looks_like_one(b"GIF89a..."), looks_like_one(b"BM is a text")
    (True, False)
    """
    if start.startswith(b"BM"):  # and the size of the header that follows, as two letters alone say little
        return int.from_bytes(start[14:18], "little") in (12, 40, 52, 56, 64, 108, 124)
    if start.startswith(b"RIFF"):
        return start[8:12] == b"WEBP"
    return start.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a"))


def looks_complete(content: bytes) -> bool:
    """Whether an encoded image ends the way its format says: a cheap test that nearly every truncated file fails.

    A file that fails may still be fine (data after the end is common): decode it to know.
    """
    if content.startswith(b"\xff\xd8"):
        return b"\xff\xd9" in content[-1024:]
    if content.startswith(b"\x89PNG"):
        return b"IEND" in content[-64:]
    if content.startswith(b"GIF8"):
        return content.endswith(b";")
    if content.startswith(b"BM"):
        return int.from_bytes(content[2:6], "little") == len(content)
    if content.startswith(b"RIFF"):
        return int.from_bytes(content[4:8], "little") + 8 == len(content)
    return False


class Scaling(NamedTuple):
    """How an image comes to its size: scaled, keeping its aspect, until it covers it, and cropped at the centre.

    With a `crop_fraction` of less than 1 the image covers `size / crop_fraction` before the crop, as models are often
    evaluated: 224 / 256 scales the shorter side to 256 and crops 224 x 224 pixels. `interpolation` is "bilinear" or
    "bicubic", both antialiased; None takes bilinear to make an image smaller and bicubic to make it larger.
    """

    crop_fraction: float = 1.0
    interpolation: str | None = None


AS_TRAINED = Scaling()  # what training images get, and so what a trained model expects


def decode(
    content: bytes | np.ndarray, size: tuple[int, int] | None, channels: int, scaling: Scaling = AS_TRAINED
) -> np.ndarray:
    """Decode one image to uint8 `[height, width, channels]`, values 0 to 255.

    Args:
        content: An encoded image, or pixels: uint8 `[H, W]`, `[H, W, 1]` or `[H, W, 3]`.
        size: (height, width). None keeps the image's own.
        channels: 1 or 3. RGB becomes greyscale by ITU-R 601 luma; greyscale is repeated into RGB.
        scaling: How it comes to that size.

    Raises:
        BadImage: The content cannot be decoded.
    """
    if isinstance(content, np.ndarray):
        from PIL import Image

        has_size = size is None or (size == content.shape[:2] and scaling.crop_fraction == 1)
        if content.ndim == 3 and content.shape[-1] == channels and has_size:
            return content
        plain = Image.fromarray(content[..., 0] if content.shape[2:] == (1,) else content)
    else:
        with _opened(content) as image:
            orientation = _orientation(image)
            if size is not None and image.format == "JPEG":
                # Large photos are decoded at 1/2, 1/4 or 1/8 of their size. Twice the target stays for the final,
                # antialiased step, so that the result differs little from a full decode.
                side = math.ceil(2 * max(size) / scaling.crop_fraction)
                image.draft(None, (side, side))
            plain = _transposed(_flat(image), orientation)
    if size is not None and (size != (plain.height, plain.width) or scaling.crop_fraction < 1):
        plain = _fitted(plain, *size, scaling)
    mode = "L" if channels == 1 else "RGB"
    if plain.mode != mode:
        plain = plain.convert(mode)
    return np.asarray(plain).reshape(plain.height, plain.width, channels)


@contextmanager
def no_warnings() -> Iterator[None]:
    """Keep Pillow's Python warnings (damaged EXIF, large images) from the user while images are checked.

    Not safe in background threads, as every `warnings.catch_warnings`: enter it in the thread that starts the work.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def ignore_pillow_warnings() -> None:
    """The same for decoding in the background, until the process ends; a filter of the user's own comes first."""
    warnings.filterwarnings("ignore", module=r"PIL\.", append=True)


def in_parallel(function: Callable[[Any], Any], items: Sequence[Any], description: str | None = None) -> Generator[Any]:
    """Yield `function` of each item, in order, computed by threads; with a description the progress is shown."""
    chunks = (items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK))
    shown = nullcontext(lambda done: None) if description is None else console.progress(description, len(items))
    results: Any = pool().map(lambda chunk: [function(item) for item in chunk], chunks)
    with shown as advance, closing(results):
        for result in results:  # what has not begun is cancelled when this generator is closed
            yield from result
            advance(len(result))


@cache
def pool() -> ThreadPoolExecutor:
    """The threads that decode (Pillow releases the GIL in its decoders and in resize)."""
    from PIL import Image

    Image.init()  # Pillow loads its plugins at first use, and not safely when two threads come first together
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="kzoo-decode")


@contextmanager
def _opened(content: bytes) -> Iterator["PillowImage"]:
    """Open an encoded image and turn whatever Pillow raises inside the block into BadImage."""
    from PIL import Image

    if not content:
        raise BadImage("it is empty (0 bytes)")
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise BadImage(
                    f"it has {width} x {height} pixels, more than the {MAX_PIXELS:,} that are safe to decode"
                )
            yield image
    except BadImage:
        raise
    except Image.DecompressionBombError:
        raise BadImage(f"it has more than the {MAX_PIXELS:,} pixels that are safe to decode") from None
    except Image.UnidentifiedImageError:
        raise BadImage("it is no JPEG, PNG, GIF, BMP or WebP image, or its header is damaged") from None
    except Exception as error:  # Pillow's decoders raise nearly anything: OSError, SyntaxError, struct.error, ...
        detail = " ".join(str(error).split()) or type(error).__name__
        raise BadImage(f"it is truncated or damaged ({detail})") from None


def _orientation(image: "PillowImage") -> int:
    """The EXIF orientation, 1 to 8. A damaged EXIF block counts as none, as in every viewer.

    Call it before the pixels are loaded, so that header() and decode() see the same. The base class's getexif, because
    a PNG's own would decode the pixels to look for an EXIF chunk after them.
    """
    from PIL import Image

    try:
        orientation = Image.Image.getexif(image).get(_EXIF_ORIENTATION, 1)
    except Exception:
        return 1
    return orientation if orientation in range(1, 9) else 1


def _transposed(image: "PillowImage", orientation: int) -> "PillowImage":
    from PIL.Image import Transpose

    by_orientation = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return image.transpose(by_orientation[orientation]) if orientation in by_orientation else image


def _flat(image: "PillowImage") -> "PillowImage":
    """Decode, and convert any mode to "L" or "RGB" (see the module's text for what is decided here)."""
    from PIL import Image

    image.load()
    mode = image.mode
    if mode[0] == "I":
        high_byte = np.clip(np.asarray(image), 0, 65535).astype(np.uint16) >> 8
        return Image.fromarray(high_byte.astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        flat = Image.alpha_composite(white, image.convert("RGBA"))
        return flat.convert("L" if mode in ("1", "L", "LA") else "RGB")
    if mode in ("L", "RGB"):
        return image
    return image.convert("L" if mode == "1" else "RGB")


def _fitted(image: "PillowImage", height: int, width: int, scaling: Scaling) -> "PillowImage":
    """Scale an image and crop the centre."""
    from PIL.Image import Resampling

    scale = max(height / image.height, width / image.width) / scaling.crop_fraction
    if scale == 1:  # nothing to resample: crop whole pixels
        left, top = (image.width - width) // 2, (image.height - height) // 2
        return image.crop((left, top, left + width, top + height))
    box_width, box_height = min(width / scale, image.width), min(height / scale, image.height)
    left, top = (image.width - box_width) / 2, (image.height - box_height) / 2
    box = (left, top, min(left + box_width, image.width), min(top + box_height, image.height))
    # Pillow's filters widen when they shrink an image, so that bilinear is antialiased; bicubic enlarges more smoothly.
    interpolation = scaling.interpolation or ("bilinear" if scale < 1 else "bicubic")
    return image.resize((width, height), Resampling[interpolation.upper()], box=box)

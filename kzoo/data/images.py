"""One image: what its header says, and its pixels as uint8 at the size and channel count asked for.

Pillow does the work. What is decided here is what Pillow leaves open: the EXIF orientation is applied; 16-bit images
are scaled by the range that their dataset uses, or else keep their high byte (Pillow would clip at 255); transparency
is composited over white, since that is what a person who labelled the image saw in a viewer (merely dropping alpha, as
`convert("RGB")` does, reveals whatever colours the editor left under the transparent pixels).
"""

import math
import os
import sys
import threading
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kzoo import console
from kzoo.chatter import tensorflow
from kzoo.data import encoded
from kzoo.data.encoded import BadImage, Encoded

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

# File names that say that there is an image, in any letter case. Everything else that Pillow can open stays closed:
# fewer decoders, fewer ways for a file to attack. (A JPEG may be an iPhone's MPO.)
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo", ".png", ".apng", ".gif", ".bmp", ".dib", ".webp"}
)

# Pillow's default Image.MAX_IMAGE_PIXELS: a quarter of a gigabyte of RGB. Pillow itself only warns up to twice this.
MAX_PIXELS = 89_478_485

# A JPEG that is decoded at a smaller scale may have more: there are phones with 200 megapixels.
MAX_JPEG_PIXELS = 1 << 28

# A longer side no camera has. BMP and PNG allow two billion, where one row would fill the memory.
MAX_SIDE = 65_535

# What decoding may take: so much for any file, and more for one whose own size explains it. A screenshot of 7680 x 4320
# pixels takes 330 MB, and a photo of 24 megapixels as WebP 390, however few bytes they have.
_MEMORY = 400_000_000
_MEMORY_PER_BYTE = 64

# Images that take more than this are decoded one at a time, whatever the number of threads.
_LARGE = 128_000_000
_one_large = threading.Lock()

# TensorFlow is imported by one thread, since that redirects standard error for a while.
_importing = threading.Lock()

# Pillow's bytes for a pixel.
_BYTES_OF_MODE = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}

# Pixels that are converted at a time, so that the steps in between need little memory.
_STRIP = 1 << 20

# The values of 16-bit images.
VALUES_16_BIT = 1 << 16

INTERPOLATIONS = ("bilinear", "bicubic")

_EXIF_ORIENTATION = 0x0112

# Images that one task of the threads handles: enough to make the pool's own work small.
_CHUNK = 32


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
    with _opened(content) as (image, source):
        width, height = image.size
        if source.orientation >= 5:  # 5 to 8 turn by 90 degrees
            width, height = height, width
        return Header(height, width, _is_grey(image))


def looks_like_one(start: bytes) -> bool:
    """Whether a file that starts so, 32 bytes or more of it, is an image that is read, whatever its name.

    >>> looks_like_one(b"GIF89a..."), looks_like_one(b"BM is a text")
    (True, False)
    """
    if start.startswith(b"BM"):  # and the size of the header that follows, as two letters alone say little
        return int.from_bytes(start[14:18], "little") in (12, 40, 52, 56, 64, 108, 124)
    return encoded.format_of(start) is not None


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
    `range_16_bit` holds the values of 16-bit images that become 0 and 255; None keeps their high byte.
    """

    crop_fraction: float = 1.0
    interpolation: str | None = None
    range_16_bit: tuple[int, int] | None = None


AS_TRAINED = Scaling()  # what training images get, and so what a trained model expects
FULL_RANGE = Scaling(range_16_bit=(0, VALUES_16_BIT - 1))


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
        pixels = content[..., 0] if content.shape[2:] == (1,) else content
        return _finished(Image.fromarray(pixels), size, channels, scaling)
    with _opened(content) as (image, source):
        if size is not None and source.scales:
            _draft(image, math.ceil(max(size) / scaling.crop_fraction))
        own_size = channels if size is None else None
        memory = _check_memory(image, source, content, own_size, scaling)
        with _one_large if memory > _LARGE else nullcontext():
            return _finished(_transposed(_flat(image, source, scaling), source.orientation), size, channels, scaling)


def histogram(content: bytes) -> np.ndarray:
    """How often each value occurs in a 16-bit image, in all channels, where it is not transparent: int64 `[65536]`.

    Raises:
        BadImage: The content cannot be decoded.
    """
    with _opened(content) as (image, source):
        memory = _check_memory(image, source, content, None, FULL_RANGE)
        with _one_large if memory > _LARGE else nullcontext():
            values, alpha = _values_16_bit(image, source)
            seen = values if alpha is None else values[alpha > 0]
            return np.bincount(seen.ravel(), minlength=VALUES_16_BIT)


def to_8_bit(values: np.ndarray, range_16_bit: tuple[int, int]) -> np.ndarray:
    """Values of 16 bits as uint8: the range becomes 0 to 255, what is beyond it the nearer end.

    >>> to_8_bit(np.array([0, 1000, 2000, 3000, 65535], np.uint16), (1000, 3000)).tolist()
    [0, 0, 128, 255, 255]
    """
    low, high = range_16_bit
    scaled = (np.arange(VALUES_16_BIT) - low) * (255 / (high - low))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)[values]


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
def _opened(content: bytes) -> Iterator[tuple["PillowImage", Encoded]]:
    """Open an encoded image, and turn whatever Pillow raises inside the block into BadImage.

    Yields the image, and what is known of its file.
    """
    try:
        source = encoded.inspect(content)
        if source.working_memory > _MEMORY + _MEMORY_PER_BYTE * len(content):
            raise BadImage(
                f"decoding it takes {source.working_memory / 1e6:,.0f} MB, more than is safe for a file of "
                f"{len(content):,} bytes"
            )
        with _readers()[source.format](BytesIO(source.content)) as image:
            width, height = image.size
            most = MAX_JPEG_PIXELS if source.scales else MAX_PIXELS
            if width * height > most:
                raise BadImage(f"it has {width} x {height} pixels, more than the {most:,} that are safe to decode")
            if max(width, height) > MAX_SIDE:
                raise BadImage(f"it has {width} x {height} pixels, a side of more than {MAX_SIDE:,}")
            yield image, source
    except BadImage:
        raise
    except MemoryError:
        raise BadImage("there is not enough memory to decode it") from None
    except Exception as error:  # Pillow's decoders raise nearly anything: OSError, SyntaxError, struct.error, ...
        detail = " ".join(str(error).split()) or type(error).__name__
        raise BadImage(f"it is truncated or damaged ({detail})") from None


@cache
def _readers() -> dict[str, Any]:
    """Pillow's class for each format.

    Not Image.open, which looks for further images in a JPEG, and has a limit of pixels for the whole process.
    """
    from PIL import BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

    return {
        "JPEG": JpegImagePlugin.JpegImageFile,
        "PNG": PngImagePlugin.PngImageFile,
        "GIF": GifImagePlugin.GifImageFile,
        "BMP": BmpImagePlugin.BmpImageFile,
        "WEBP": WebPImagePlugin.WebPImageFile,
    }


def _draft(image: Any, side: int) -> None:
    """Let a large JPEG be decoded at 1/2, 1/4 or 1/8 of its size; what is made of it has at least `side` pixels a side.

    Twice that stays for the final, antialiased step, so that the result differs little from a full decode; less where
    the image would have too many pixels otherwise.
    """
    scale = min(image.width, image.height) // (2 * side)
    if image.width * image.height > MAX_PIXELS * max(1, min(scale, 8)) ** 2 // 4:
        image.draft(None, (side, side))
    else:
        image.draft(None, (2 * side, 2 * side))


def _check_memory(image: "PillowImage", source: Encoded, content: bytes, channels: int | None, scaling: Scaling) -> int:
    """About how many bytes decoding takes, the encoded image aside.

    Args:
        image: What is about to be decoded.
        source: What is known of its file.
        content: The file.
        channels: Of a result of the image's own size; None where it is scaled.
        scaling: How.

    Raises:
        BadImage: They are far more than the file's size explains.
    """
    flat = 1 if _is_grey(image) else 4
    needed = _BYTES_OF_MODE.get(image.mode, 4)  # a pixel
    if not _is_flat(image):
        needed += flat
    if image.has_transparency_data:
        needed += 2
    if source.orientation > 1:
        needed += flat
    if _needs_tensorflow(source, scaling):
        needed += 16
    if channels is not None:  # Pillow gives its pixels in pieces, which are then joined
        needed += 2 * channels + (flat if (channels == 1) != (flat == 1) else 0)
    pixels = image.width * image.height
    memory = source.working_memory + needed * pixels
    if pixels > MAX_PIXELS or memory > _MEMORY + _MEMORY_PER_BYTE * len(content):
        hint = "; with an image size it would take less" if channels is not None else ""
        raise BadImage(
            f"decoding its {image.width} x {image.height} pixels would take {memory / 1e6:,.0f} MB, more than is safe "
            f"for a file of {len(content):,} bytes{hint}"
        )
    return memory


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


def _is_grey(image: "PillowImage") -> bool:
    """By its mode: "1", "L", "LA", and the 16-bit modes "I", "I;16", "I;16B"."""
    return image.mode == "1" or image.mode[0] in "LI"


def _is_flat(image: "PillowImage") -> bool:
    return image.mode in ("L", "RGB") and not image.has_transparency_data


def _flat(image: "PillowImage", source: Encoded, scaling: Scaling) -> "PillowImage":
    """Decode, and convert any mode to "L" or "RGB" (see the module's text for what is decided here)."""
    from PIL import Image

    range_16_bit = scaling.range_16_bit
    if range_16_bit is not None and _needs_tensorflow(source, scaling):
        values, alpha = _values_16_bit(image, source)
        pixels = to_8_bit(values, range_16_bit)
        if alpha is None:
            return Image.fromarray(pixels)
        return _flattened(Image.fromarray(np.concatenate([pixels, alpha[..., np.newaxis]], -1)), None)
    image.load()
    if _is_flat(image):
        return image
    flat = Image.new("L" if _is_grey(image) else "RGB", image.size)
    rows = max(1, _STRIP // image.width)
    for top in range(0, image.height, rows):
        box = (0, top, image.width, min(top + rows, image.height))
        flat.paste(_flattened(image.crop(box), range_16_bit), box)
    return flat


def _flattened(image: "PillowImage", range_16_bit: tuple[int, int] | None) -> "PillowImage":
    """A few rows of an image, or a small one, as "L" or "RGB"."""
    from PIL import Image

    mode = image.mode
    if mode[0] == "I":
        values = _grey_16_bit(image)
        return Image.fromarray(
            (values >> 8).astype(np.uint8) if range_16_bit is None else to_8_bit(values, range_16_bit)
        )
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        flat = Image.alpha_composite(white, image.convert("RGBA"))
        return flat.convert("L" if mode in ("1", "L", "LA") else "RGB")
    return image.convert("L" if mode == "1" else "RGB")


def _needs_tensorflow(source: Encoded, scaling: Scaling) -> bool:
    """Whether all bits are needed of a 16-bit image of which Pillow keeps 8: one with colour or alpha."""
    grey = encoded.is_16_bit_grey(source.content)
    return scaling.range_16_bit is not None and encoded.is_16_bit(source.content) and not grey


def _values_16_bit(image: "PillowImage", source: Encoded) -> tuple[np.ndarray, np.ndarray | None]:
    """The pixels of a 16-bit PNG, uint16 `[H, W, channels]`, and their alpha, uint8 `[H, W]`, if they have any."""
    if encoded.is_16_bit_grey(source.content):
        image.load()
        return _grey_16_bit(image)[..., np.newaxis], None
    with _importing:
        tf = sys.modules.get("tensorflow") or tensorflow()
    with tf.device("CPU:0"):
        values = tf.io.decode_png(source.content, channels=0, dtype=tf.uint16).numpy()
    if values.shape[-1] in (2, 4):
        return values[..., :-1], (values[..., -1] >> 8).astype(np.uint8)
    if (transparent := image.info.get("transparency")) is not None:  # a colour; TensorFlow leaves it
        return values, np.where((values == transparent).all(-1), 0, 255).astype(np.uint8)
    return values, None


def _grey_16_bit(image: "PillowImage") -> np.ndarray:
    """The pixels of an image of a mode "I...", uint16 `[H, W]`."""
    values = np.asarray(image)
    return values if values.dtype == np.uint16 else np.clip(values, 0, VALUES_16_BIT - 1).astype(np.uint16)


def _finished(image: "PillowImage", size: tuple[int, int] | None, channels: int, scaling: Scaling) -> np.ndarray:
    """An image of mode "L" or "RGB" at its size, as an array."""
    if size is not None and (size != (image.height, image.width) or scaling.crop_fraction < 1):
        image = _fitted(image, *size, scaling)
    mode = "L" if channels == 1 else "RGB"
    if image.mode != mode:
        image = image.convert(mode)
    return np.asarray(image).reshape(image.height, image.width, channels)


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

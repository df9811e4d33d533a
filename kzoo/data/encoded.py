"""An encoded image as a file has it: its format, its EXIF orientation, and what decoding it would cost.

All of this is read before a decoder sees the file. The decoder gets no text, profiles or thumbnails, since no pixel
depends on them: so a large text chunk does no harm, and no parser of such parts can be attacked. (0.7 MB of EXIF data
with 60,000 entries take Pillow a second.)
"""

import math
import os
import re
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from kzoo.files import check_regular

# The largest file that is read. No image that is small enough to decode needs more.
MAX_BYTES = 1 << 28

# A scan of a progressive JPEG goes over the whole image, however few bytes it has. Encoders write about ten, those that
# search for the smallest file some dozens. The other limits are for large images: scans times pixels, more for a file
# whose own size explains it. A hundred million take 0.2 s.
_MAX_SCANS = 100
_MAX_SCANNED_PIXELS = 600_000_000
_MAX_SCANNED_PIXELS_PER_BYTE = 128

# Parts of a header before the pixels, used or not: each takes some time. An encoder needs hundreds, where it cuts a
# large profile up.
_MAX_PARTS = 20_000

# Parts that the pixels of a PNG are in. Encoders write 8 KiB and more at a time.
_MAX_PIXEL_PARTS = MAX_BYTES >> 10

# Pillow decodes BMP's run lengths in Python: so many pixels, or bytes, take about a second.
_MAX_RUN_LENGTH_PIXELS = 1 << 22
_MAX_RUN_LENGTH_BYTES = 1 << 22

# EXIF data in a text chunk, compressed or in hexadecimal, is read up to here. A JPEG has room for 64 KiB.
_MAX_METADATA = 1 << 20

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_JPEG_LOSSLESS = frozenset({0xC3, 0xC7, 0xCB, 0xCF})
_JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")  # without those that have no body
_GIF_BLOCK = re.compile(rb"[!,;]")  # an extension, an image, the end
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')


# What `read_file` says of a path where nothing is: those who list the files can say why.
NO_SUCH_FILE = "there is no such file"


class BadImage(Exception):  # noqa: N818 - never reaches a user: it becomes a DataError or a skipped image
    """The reason why the content of one image cannot be used, as a clause that follows "PATH: "."""


class Encoded(NamedTuple):
    """An encoded image, ready for Pillow."""

    format: str
    """"JPEG", "PNG", "GIF", "BMP" or "WEBP"."""
    content: bytes
    """The file, without what pixels do not depend on."""
    orientation: int
    """EXIF's, 1 to 8."""
    working_memory: int
    """Bytes that the decoder itself needs, besides the image that it makes."""
    scales: bool
    """Whether it can be decoded at 1/2, 1/4 and 1/8 of its size."""


def read_file(path: str | os.PathLike[str], first: int = MAX_BYTES + 1) -> bytes:
    """The content of an image file, or its first bytes.

    Raises:
        BadImage: There is no such file, it cannot be read, or it is no image by its kind or size.
    """
    try:
        size = check_regular(path).st_size  # before open(), which waits for ever at a named pipe
        with open(path, "rb") as file:
            content = file.read(first) if size <= MAX_BYTES else None
    except FileNotFoundError:
        raise BadImage(NO_SUCH_FILE) from None
    except IsADirectoryError:
        raise BadImage("it is a folder") from None
    except PermissionError:
        raise BadImage("no permission to read it") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in a path of a CSV file
        raise BadImage(f"it cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if content is None or len(content) > MAX_BYTES:
        raise BadImage(f"it has {size:,} bytes, more than the {MAX_BYTES:,} that are read of an image file")
    return content


def format_of(content: bytes) -> str | None:
    """The format of an image by its first bytes, or None: "JPEG", "PNG", "GIF", "BMP" or "WEBP"."""
    if content.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if content.startswith(_PNG):
        return "PNG"
    if content.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if content.startswith(b"BM"):
        return "BMP"
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "WEBP"
    return None


def inspect(content: bytes) -> Encoded:
    """Look through an encoded image.

    Raises:
        BadImage: It is no image, it is damaged, or decoding it would take far more than its size explains.
    """
    if not content:
        raise BadImage("it is empty (0 bytes)")
    kind = format_of(content)
    if kind is None:
        raise BadImage("it is no JPEG, PNG, GIF, BMP or WebP image, or its header is damaged")
    return {"JPEG": _jpeg, "PNG": _png, "GIF": _gif, "BMP": _bmp, "WEBP": _webp}[kind](content)


def is_16_bit(content: bytes) -> bool:
    """Whether an encoded image has 16 bits for each channel; of the formats that are read, a PNG may.

    >>> is_16_bit(b"GIF89a")
    False
    """
    return content.startswith(_PNG) and content[24:25] == b"\x10"


def is_16_bit_file(path: str | os.PathLike[str]) -> bool:
    """The same of a file, by its first bytes; False where it cannot be read."""
    try:
        return is_16_bit(read_file(path, first=25))
    except BadImage:
        return False


def is_16_bit_grey(content: bytes) -> bool:
    """Whether it has, and one channel only."""
    return is_16_bit(content) and content[25:26] == b"\0"


def orientation_of(exif: bytes | None, xmp: bytes | None) -> int:
    """The orientation, 1 to 8, by EXIF data or else by XMP. Damaged data counts as none, as in every viewer."""
    found = 0
    if exif:
        found = _exif_orientation(exif)
    if not found and xmp and (match := _XMP_ORIENTATION.search(xmp)):
        found = int(match[1])
    return found if 1 <= found <= 8 else 1


def _exif_orientation(exif: bytes) -> int:
    """The entry "orientation" of EXIF data, or 0."""
    while exif.startswith(b"Exif\0\0"):
        exif = exif[6:]
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    try:
        if order is None:
            return 0
        (start,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, start)
        for position in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, values = struct.unpack_from(order + "HHI", exif, position)
            if tag == 0x0112 and values == 1 and kind in (3, 4):  # SHORT, LONG
                return struct.unpack_from(order + ("H" if kind == 3 else "I"), exif, position + 8)[0]
    except struct.error:
        pass
    return 0


def _jpeg(content: bytes) -> Encoded:
    kept, exif, xmp, frame = [content[:2]], None, None, None
    for position, marker, end in _jpeg_segments(content):
        body = content[position + 4 : end]
        if marker == 0xE1 and exif is None and body.startswith(b"Exif\0\0"):
            exif = body
        elif marker == 0xE1 and body.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
            xmp = body
        elif marker in _JPEG_FRAMES:
            frame = (marker, body)
        # JFIF's and Adobe's segments say what the channels are, all other ones of applications and comments nothing.
        if not (0xE1 <= marker <= 0xEF or marker == 0xFE) or marker == 0xEE:
            kept.append(content[position:end])
        if marker == 0xDA:
            break
    else:
        raise BadImage("it is truncated or damaged (no pixels after its header)")
    if frame is None or len(frame[1]) < 6 or len(frame[1]) < 6 + 3 * frame[1][5]:
        raise BadImage("it is truncated or damaged (no frame in its header)")
    marker, (_, height, width, channels) = frame[0], struct.unpack_from(">BHHB", frame[1])
    # With several scans the coefficients of the whole image are kept, 2 bytes each, at any scale.
    several = marker in _JPEG_PROGRESSIVE or content[position + 4] < channels
    coefficients = 0
    if several:
        sampling = [(byte >> 4) * (byte & 15) for byte in frame[1][7 : 6 + 3 * channels : 3]]
        coefficients = 2 * width * height * sum(sampling) // max(1, *sampling)
        _check_scans(content, position, width * height)
    content = b"".join((*kept, memoryview(content)[end:]))
    return Encoded("JPEG", content, orientation_of(exif, xmp), coefficients, marker not in _JPEG_LOSSLESS)


def _jpeg_segments(content: bytes, position: int = 2) -> Iterator[tuple[int, int, int]]:
    """(position, marker, end) of the segments, found as libjpeg does: what is between them is skipped.

    Raises:
        BadImage: There are too many of them.
    """
    parts = 0
    while match := _JPEG_MARKER.search(content, position):
        position = match.start()
        marker = content[position + 1]
        if marker in (0xD8, 0xD9):  # a second image, or the end
            return
        end = position + 2 + int.from_bytes(content[position + 2 : position + 4], "big")
        if end > len(content) or end < position + 4:
            return
        parts = _counted(parts)
        yield position, marker, end
        position = end


def _counted(parts: int, most: int = _MAX_PARTS) -> int:
    """One part more."""
    if parts == most:
        raise BadImage(f"its header has more than {most:,} parts")
    return parts + 1


def _check_scans(content: bytes, first: int, pixels: int) -> None:
    """Raise BadImage if a JPEG has more scans than an encoder would write."""
    scanned_pixels = _MAX_SCANNED_PIXELS + _MAX_SCANNED_PIXELS_PER_BYTE * len(content)
    most = min(_MAX_SCANS, scanned_pixels // max(1, pixels))
    if content.count(b"\xff\xda", first) <= most:  # bytes of a segment may look like one, so that it has no more
        return
    scans = sum(marker == 0xDA for _, marker, _ in _jpeg_segments(content, first))
    if scans > most:
        raise BadImage(f"it has {scans:,} scans, more than the {most} that are decoded of a JPEG of its size")


def _png(content: bytes) -> Encoded:
    kept, pixels, exif, xmp = [_PNG], [], None, None
    position, text, parts = len(_PNG), b"", 0
    while position + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, position)
        body, position = position + 8, position + 12 + length
        if kind == b"IDAT":
            _counted(len(pixels), _MAX_PIXEL_PARTS)
            pixels.append(content[body : body + length])
            continue
        if pixels:  # what comes after them is not needed
            break
        parts = _counted(parts)
        if kind in (b"IHDR", b"PLTE", b"tRNS"):
            kept.append(content[body - 8 : position])
        elif kind == b"eXIf":
            exif = exif or content[body : body + length]
        elif kind in (b"tEXt", b"zTXt") and content.startswith(b"Raw profile type exif\0", body):
            text = text or content[body : body + min(length, _MAX_METADATA)]
        elif kind == b"iTXt" and content.startswith(b"XML:com.adobe.xmp\0", body):
            xmp = xmp or _international_text(content[body : body + min(length, _MAX_METADATA)])
        elif kind == b"IEND":
            break
        elif not kind.isalpha() or kind[:1].isupper():
            raise BadImage(f"it is truncated or damaged (an unknown part {kind!r})")
    if exif is None and text:
        exif = _raw_profile(text)
    # One chunk of pixels, however many there were: each would cost Pillow more than its bytes do.
    joined = b"".join(pixels)
    content = b"".join((*kept, _png_chunk(b"IDAT", joined), _png_chunk(b"IEND", b"")))
    return Encoded("PNG", content, orientation_of(exif, xmp), 0, scales=False)


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return b"".join((struct.pack(">I4s", len(body), kind), body, struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))))


def _raw_profile(text: bytes) -> bytes | None:
    """EXIF data as ImageMagick writes it into a text chunk, in hexadecimal."""
    text = text[len("Raw profile type exif\0") :]
    try:
        if text[:1] == b"\0":  # compressed
            text = _inflated(text[1:])
        return bytes.fromhex("".join(text.decode("latin-1").split("\n")[3:]))
    except (ValueError, zlib.error):
        return None


def _international_text(text: bytes) -> bytes | None:
    """XMP data of a PNG's chunk iTXt."""
    text = text[len("XML:com.adobe.xmp\0") :]
    parts = text[2:].split(b"\0", 2)  # language, translated keyword, text
    if len(parts) < 3:
        return None
    try:
        return _inflated(parts[2]) if text[0] else parts[2]
    except zlib.error:
        return None


def _inflated(data: bytes) -> bytes:
    return zlib.decompressobj().decompress(data, _MAX_METADATA)


def _gif(content: bytes) -> Encoded:
    position = 13
    if len(content) > 10 and content[10] & 0x80:
        position += 3 << ((content[10] & 7) + 1)
    header, kept, parts = position, [], 0
    # Extensions before the first image; what is between them is skipped, as Pillow does, byte by byte.
    while (match := _GIF_BLOCK.search(content, position)) and match[0] == b"!":
        start = match.start()
        position, parts = start + 2, _counted(parts)
        while position < len(content) and content[position]:
            position, parts = position + content[position] + 1, _counted(parts)
        position += 1
        # The transparent colour. Without a first block Pillow would take what follows for more of them.
        if content[start + 1 : start + 2] == b"\xf9" and position > start + 3:
            kept.append(content[start:position])
    if match is None or match[0] == b";":
        raise BadImage("it is truncated or damaged (no image after its header)")
    position = match.start()
    content = b"".join((content[:header], *kept, memoryview(content)[position:]))
    return Encoded("GIF", content, 1, 0, scales=False)


def _bmp(content: bytes) -> Encoded:
    if len(content) >= 34 and struct.unpack_from("<I", content, 14)[0] >= 40:
        width, height, _, _, compression = struct.unpack_from("<iiHHI", content, 18)
        if compression in (1, 2):  # run lengths
            pixels = abs(width * height)
            if pixels > _MAX_RUN_LENGTH_PIXELS or len(content) > _MAX_RUN_LENGTH_BYTES:
                raise BadImage(
                    f"it is a run-length encoded BMP of {abs(width)} x {abs(height)} pixels and {len(content):,} "
                    f"bytes, more than the {_MAX_RUN_LENGTH_PIXELS:,} and {_MAX_RUN_LENGTH_BYTES:,} that are decoded"
                )
            return Encoded("BMP", content, 1, 3 * pixels, scales=False)
    return Encoded("BMP", content, 1, 0, scales=False)


def _webp(content: bytes) -> Encoded:
    kept, exif, xmp = [], None, None
    is_simple = content[12:16] != b"VP8X"
    for kind, start, end in _webp_chunks(content):
        body = content[start + 8 : end]
        if kind in (b"VP8X", b"ALPH", b"VP8 ", b"VP8L", b"ANIM", b"ANMF"):
            kept.append((kind, content[start:end]))
        elif kind == b"EXIF":
            exif = exif or body
        elif kind == b"XMP ":
            xmp = xmp or body
        if is_simple:  # what follows is not looked at
            break
    kinds = [kind for kind, _ in kept]
    pixels = next((chunk for kind, chunk in kept if kind in (b"VP8 ", b"VP8L")), b"")
    if pixels and not {b"ALPH", b"ANMF"}.intersection(kinds):
        chunks = [pixels]  # without the extended header it is decoded in less memory
        sizes = _webp_size(pixels)
    else:
        chunks = [_without_metadata(chunk) if kind == b"VP8X" else chunk for kind, chunk in kept]
        sizes = _webp_size(content[12:30])
    if not chunks:
        raise BadImage("it is truncated or damaged (no image after its header)")
    # Pillow's decoder is that of animations, with two canvases; a lossless image is decoded beside them. Measured.
    needed = 12 if chunks[0].startswith(b"VP8 ") else 20
    body = b"".join((b"WEBP", *(chunk + b"\0" * (len(chunk) % 2) for chunk in chunks)))
    content = b"".join((b"RIFF", struct.pack("<I", len(body)), body))
    return Encoded("WEBP", content, orientation_of(exif, xmp), needed * math.prod(sizes), scales=False)


def _webp_chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start, end) of the chunks, without the byte that pads one of odd length.

    Raises:
        BadImage: There are too many of them.
    """
    position, parts = 12, 0
    while position + 8 <= len(content):
        kind, length = struct.unpack_from("<4sI", content, position)
        end, parts = position + 8 + length, _counted(parts)
        yield kind, position, min(end, len(content))
        position = end + length % 2


def _webp_size(chunk: bytes) -> tuple[int, int]:
    """(width, height) that a first chunk says."""
    if len(chunk) >= 18 and chunk.startswith(b"VP8X"):
        width, height = (int.from_bytes(chunk[at : at + 3], "little") + 1 for at in (12, 15))
    elif len(chunk) >= 18 and chunk.startswith(b"VP8 "):
        width, height = (size & 0x3FFF for size in struct.unpack_from("<HH", chunk, 14))
    elif len(chunk) >= 13 and chunk.startswith(b"VP8L"):
        (bits,) = struct.unpack_from("<I", chunk, 9)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width = height = 0
    return width, height


def _without_metadata(chunk: bytes) -> bytes:
    """An extended header that promises no profile, EXIF or XMP data."""
    return chunk[:8] + bytes([chunk[8] & ~0x2C]) + chunk[9:] if len(chunk) > 8 else chunk

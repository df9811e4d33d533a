"""Image files with changed bytes: each is read or left out. No traceback, no hang, nothing written, memory bounded."""

import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

EACH = 500

LOAD = """
import json, resource, sys
# TensorFlow, which is needed for 16-bit colours only, reserves far more addresses than it uses.
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]),) * 2)
from kzoo import data
from kzoo.errors import DataError
loaded = data.load(sys.argv[1], "all", image_size=32, on_bad_image="skip")
assert loaded.images.shape == (len(loaded), 32, 32, loaded.image_shape[2])
lines = [reason for _, reason in loaded.skipped]
assert all(reason.isprintable() for reason in lines)
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
print(json.dumps({"read": len(loaded), "left out": len(lines), "MB": memory}))
"""


def encoded(image: Image.Image, image_format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def png_of_16_bits(colour: int, rows: bytes) -> bytes:
    """A PNG of 24 x 20 pixels of a colour type that Pillow does not write with 16 bits."""
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", 24, 20, 16, colour, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    chunks = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def originals(image_format: str) -> list[bytes]:
    """Small images of every kind that a format has."""
    colours = np.random.default_rng(0).integers(0, 256, (40, 48, 4), np.uint8)
    smooth = Image.effect_noise((12, 12), 90).resize((48, 40)).convert("RGB")
    rgba, rgb, grey = Image.fromarray(colours), Image.fromarray(colours[..., :3]), Image.fromarray(colours[..., 0])
    exif = Image.Exif()
    exif[0x0112] = 6
    if image_format == "JPEG":
        plain = [encoded(smooth, "JPEG", exif=exif), encoded(grey, "JPEG"), encoded(smooth.convert("CMYK"), "JPEG")]
        many = [encoded(smooth, "JPEG", progressive=True, subsampling=kind) for kind in (0, 1, 2)]
        return [*plain, *many, encoded(smooth, "JPEG", restart_marker_blocks=2), encoded(smooth, "MPO", save_all=True)]
    if image_format == "PNG":
        info = PngInfo()
        info.add_text("a", "x" * 1000, zip=True)
        info.add_itxt("XML:com.adobe.xmp", '<a tiff:Orientation="3"/>', zip=True)
        plain = [encoded(one, "PNG", pnginfo=info, exif=exif) for one in (rgb, rgba, grey)]
        palettes = [encoded(rgb.quantize(colours), "PNG", bits=bits) for colours, bits in ((2, 1), (4, 2), (16, 4))]
        values = np.random.default_rng(1).integers(0, 4096, (20, 24), np.uint16).astype(">u2")
        deep = [encoded(Image.fromarray(values.astype(np.uint16)), "PNG")]
        for kind, channels in ((2, 3), (4, 2), (6, 4)):
            rows = b"".join(b"\0" + np.repeat(row, channels).tobytes() for row in values)
            deep.append(png_of_16_bits(kind, rows))
        animation = encoded(rgb, "PNG", save_all=True, append_images=[smooth, rgb])
        return [
            *plain,
            *palettes,
            *deep,
            animation,
            encoded(grey.convert("1"), "PNG"),
            encoded(rgba.convert("LA"), "PNG"),
        ]
    if image_format == "GIF":
        frames = {"save_all": True, "append_images": [smooth.quantize(16), grey], "comment": b"a comment"}
        return [
            encoded(grey, "GIF"),
            encoded(rgb, "GIF", **frames),
            encoded(rgba, "GIF"),
            encoded(grey, "GIF", interlace=1),
        ]
    if image_format == "BMP":
        runs = struct.pack("<IiiHHIIiiII", 40, 48, 40, 1, 8, 1, 4000, 0, 0, 256, 0) + bytes(range(256)) * 4
        lines = b"\x20\x07\x00\x04abcd\x00\x02\x03\x00\x09\x08\0\0" * 40 + b"\0\1"
        run_lengths = b"BM" + struct.pack("<IHHI", 1078 + len(lines), 0, 0, 1078) + runs + lines
        return [*(encoded(one, "BMP") for one in (rgb, grey, rgba, grey.convert("1"))), run_lengths]
    if image_format == "WEBP":
        animation = {"save_all": True, "append_images": [rgb, smooth]}
        lossless = [encoded(one, "WEBP", lossless=True, exif=exif) for one in (rgb, rgba, smooth)]
        return [*lossless, encoded(smooth, "WEBP"), encoded(rgba, "WEBP"), encoded(smooth, "WEBP", **animation)]
    return [encoded(one, "TIFF", compression=how) for one in (rgb, grey) for how in ("raw", "tiff_lzw", "jpeg")]


def changed(content: bytes, generator: np.random.Generator) -> bytes:
    """The content with some bytes changed, taken out, doubled or cut off; its header more often than the rest."""
    result = bytearray(content)
    for _ in range(generator.choice([1, 1, 1, 2, 4, 8])):
        reach = len(result) if generator.random() < 0.5 else min(len(result), 200)
        start = int(generator.integers(0, max(reach, 1)))
        kind = generator.integers(0, 8)
        if kind < 4:
            result[start : start + 1] = bytes([generator.integers(0, 256)])
        elif kind == 4:  # numbers of which there is more than they say, or less
            value = int(generator.choice([0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF]))
            order = "big" if generator.random() < 0.5 else "little"
            result[start : start + 4] = value.to_bytes(4, order)
        elif kind == 5:
            del result[start : start + int(generator.integers(1, 40))]
        elif kind == 6:
            part = result[start : start + int(generator.integers(1, 400))]
            result[start:start] = part * int(generator.integers(1, 20))
        elif generator.random() < 0.3:
            del result[start:]
    return with_checksums(bytes(result)) if generator.random() < 0.8 else bytes(result)


def with_checksums(content: bytes) -> bytes:
    """A PNG whose parts have right checksums again, so that what they hold is looked at; others as they are."""
    result, position = bytearray(content), 8
    while content.startswith(b"\x89PNG") and position + 12 <= len(content):
        end = position + 8 + int.from_bytes(content[position : position + 4], "big")
        result[end : end + 4] = struct.pack(">I", zlib.crc32(content[position + 4 : end]))
        position = end + 4
    return bytes(result[: len(content)])


@pytest.mark.slow
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"])
def test_changed_images_are_read_or_left_out(tmp_path, fresh_python, record_property, image_format):
    generator = np.random.default_rng(list(image_format.encode()))
    sources = originals(image_format)
    for index in range(EACH):
        folder = tmp_path / "images" / "ab"[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        # TIFF is not read: it is given the name of what is.
        suffix = {"JPEG": ".jpg", "TIFF": ".png"}.get(image_format, f".{image_format.lower()}")
        (folder / f"{index}{suffix}").write_bytes(changed(sources[index % len(sources)], generator))
    good = tmp_path / "images" / "a" / "good.png"  # so that one is left
    Image.new("RGB", (8, 8), "red").save(good)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    (tmp_path / "here").mkdir()
    most = (24 if image_format == "PNG" else 3) << 30
    done = fresh_python(LOAD, tmp_path / "images", most, timeout=600, cwd=tmp_path / "here")
    figures = json.loads(done.stdout)
    assert "Traceback" not in done.stderr
    assert figures["read"] + figures["left out"] == EACH + 1
    assert figures["MB"] < (1500 if image_format == "PNG" else 600)
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path != Path(tmp_path / "here")}
    assert after == before
    record_property("figures", figures)
    print(f"{image_format}: {figures}")

"""Files that would take far more than their size explains, and valid ones that look as if they did."""

import io
import json
import os
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from test_images import chunk, encoded, png

from kzoo import data
from kzoo.data import decoding, images
from kzoo.data.encoded import BadImage, inspect, read_file
from kzoo.errors import DataError


def of_zeros(size: int) -> bytes:
    """That many zero bytes, compressed."""
    packer, million = zlib.compressobj(1), bytes(1 << 20)
    parts = [packer.compress(million[: min(size - done, 1 << 20)]) for done in range(0, size, 1 << 20)]
    return b"".join(parts) + packer.flush()


def png_of_zeros(side: int, depth: int, colour: int, extra: bytes = b"", interlaced: int = 0, size: int = 0) -> bytes:
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    size = size or (side * channels * depth // 8 + 1) * side + 8 * side * interlaced
    header = struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, interlaced)
    parts = chunk(b"IHDR", header), extra, chunk(b"IDAT", of_zeros(size)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def progressive(side: int, scans: int, mode: str = "RGB") -> bytes:
    """A progressive JPEG whose last scan is repeated until it has so many."""
    content = encoded(Image.new(mode, (side, side), 90), "JPEG", progressive=True)
    start = content.rindex(b"\xff\xda")
    scan = content[start:-2]
    return content[:-2] + scan * (scans - content.count(b"\xff\xda")) + b"\xff\xd9"


def sequential_scans(side: int, scans: int) -> bytes:
    """A JPEG whose frame is not progressive, but whose components come in scans of their own, again and again."""
    grey = encoded(Image.new("L", (side, side), 90), "JPEG")
    frame, start = grey.index(b"\xff\xc0"), grey.index(b"\xff\xda")
    three = b"\xff\xc0\0\x11\x08" + struct.pack(">HH", side, side) + b"\3\1\x11\0\2\x11\0\3\x11\0"
    tables = grey[:frame] + three + grey[frame + 13 : start]
    return (
        tables
        + b"".join(
            grey[start : start + 5] + bytes([component % 3 + 1]) + grey[start + 6 : -2] for component in range(scans)
        )
        + b"\xff\xd9"
    )


def exif_of_overlaps(entries: int, size: int) -> bytes:
    """EXIF data whose entries all have the same bytes, so that they hold far more than there is."""
    table = b"".join(struct.pack("<HHII", tag + 1, 1, size, 8) for tag in range(entries))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", entries) + table + bytes(4 + max(0, size - len(table)))


def jpeg_with(*segments: bytes) -> bytes:
    content = encoded(Image.new("RGB", (16, 16), "red"), "JPEG")
    return content[:2] + b"".join(segments) + content[2:]


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def bmp(width: int, height: int, compression: int, bits: int, pixels: bytes) -> bytes:
    start = 14 + 40 + 1024
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(pixels), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + header + bytes(1024) + pixels


def gif_with(extra: bytes) -> bytes:
    """A GIF with something before its image."""
    content = encoded(Image.new("P", (16, 16)), "GIF")
    start = content.index(b",", 13 + 6)
    return content[:start] + extra + content[start:]


def parts_between_scans() -> bytes:
    """A progressive JPEG with many comments after its first scan, and bytes in them that look like scans."""
    content = encoded(Image.new("RGB", (64, 64), 90), "JPEG", progressive=True)
    start = content.index(b"\xff\xda", content.index(b"\xff\xda") + 2)
    return content[:start] + segment(0xFE, b"\xff\xda" * 200) + segment(0xFE, b"") * 3_000_000 + content[start:]


def hidden_pixels() -> bytes:
    """A JPEG of 16,000 x 16,000 pixels of which none is there: a decoder makes them grey."""
    content = encoded(Image.new("L", (16, 16)), "JPEG")
    frame, start = content.index(b"\xff\xc0"), content.index(b"\xff\xda")
    return content[: frame + 5] + struct.pack(">HH", 16000, 16000) + content[frame + 9 : start + 12] + b"\xff\xd9"


def large_webp() -> bytes:
    """A lossless WebP of 9,400 x 9,400 pixels, by its header."""
    content = encoded(Image.new("RGB", (16, 16)), "WEBP", lossless=True)
    (bits,) = struct.unpack_from("<I", content, 21)
    return content[:21] + struct.pack("<I", bits >> 28 << 28 | 9399 << 14 | 9399) + content[25:]


def webp_with(unknown: bytes) -> bytes:
    """A WebP with a chunk of no known kind a million times before its pixels."""
    content = encoded(Image.new("RGB", (16, 16)), "WEBP", exif=exif_of_overlaps(60, 70))
    return content[:30] + unknown * 1_000_000 + content[30:]


PALETTE = chunk(b"PLTE", bytes(768))
# What is made, and what becomes of it at 224 x 224: None where it is decoded.
ATTACKS = {
    "scans.jpg": (lambda: progressive(1000, 1000), "it has 1,000 scans, more than the 100"),
    "large_scans.jpg": (lambda: progressive(4000, 60), "it has 60 scans, more than the 38"),
    "grey_scans.jpg": (lambda: progressive(1000, 400, "L"), "it has 400 scans"),
    "sequential_scans.jpg": (lambda: sequential_scans(1000, 300), "it has 300 scans"),
    "fewest_scans.jpg": (lambda: progressive(1500, 100), None),
    "parts.jpg": (lambda: jpeg_with(segment(0xDD, b"\0\0") * 400_000), "its header has more than 20,000 parts"),
    "comments.jpg": (lambda: jpeg_with(segment(0xFE, b"") * 5_000_000), "its header has more than 20,000 parts"),
    "profiles.jpg": (lambda: jpeg_with(segment(0xE2, b"") * 5_000_000), "its header has more than 20,000 parts"),
    "restarts.jpg": (lambda: jpeg_with(b"\xff\xd0" * 10_000_000), None),
    "parts_between_scans.jpg": (parts_between_scans, "its header has more than 20,000 parts"),
    "hidden.jpg": (hidden_pixels, None),
    "side.jpg": (lambda: hidden_pixels().replace(struct.pack(">HH", 16000, 16000), b"\xff\xff" * 2), "268,435,456"),
    "exif.jpg": (lambda: jpeg_with(segment(0xE1, b"Exif\0\0" + exif_of_overlaps(5000, 60_000))), None),
    "exif.png": (lambda: png(8, 8, 8, 0, bytes(72), chunk(b"eXIf", exif_of_overlaps(60_000, 700_000))), None),
    "palette.png": (lambda: png_of_zeros(9400, 8, 3, PALETTE), "decoding its 9400 x 9400 pixels would take 442 MB"),
    "bits.png": (lambda: png_of_zeros(9400, 1, 3, chunk(b"PLTE", bytes(6))), "would take 442 MB"),
    "transparent.png": (lambda: png_of_zeros(9000, 8, 3, PALETTE + chunk(b"tRNS", bytes(9))), "would take"),
    "interlaced.png": (lambda: png_of_zeros(9400, 8, 2, interlaced=1), None),
    "large_palette.png": (lambda: png_of_zeros(8350, 8, 3, PALETTE), None),  # a drawing on A1 paper has as many pixels
    "large_alpha.png": (lambda: png_of_zeros(5760, 8, 6), None),  # as has a screen of 7680 x 4320
    "alpha.png": (lambda: png_of_zeros(7000, 8, 6), "would take 490 MB"),
    "below.png": (lambda: png_of_zeros(4900, 8, 6), None),
    "grey.png": (lambda: png_of_zeros(9400, 8, 0), None),
    "grey16.png": (lambda: png_of_zeros(9000, 16, 0), None),
    "tail.png": (lambda: png_of_zeros(8, 8, 0, size=1 << 27), None),
    "many_chunks.png": (lambda: png(8, 8, 8, 0, bytes(72), chunk(b"IDAT", b"") * 100_000), None),
    "text.png": (lambda: png(8, 8, 8, 0, bytes(72), chunk(b"tEXt", b"") * 2_000_000), "more than 20,000 parts"),
    "most_chunks.png": (lambda: png(8, 8, 8, 0, bytes(72), chunk(b"IDAT", b"") * 2_000_000), "more than 262,144 parts"),
    "long.gif": (lambda: gif_with(b"!\xfe" + b"\1a" * 2_000_000 + b"\0"), "its header has more than 20,000 parts"),
    "extensions.gif": (lambda: gif_with(b"!\xfe\0" * 7_000_000), "its header has more than 20,000 parts"),
    "between.gif": (lambda: gif_with(bytes(20_000_000)), None),
    "between_parts.gif": (lambda: gif_with(b"\0!\xfe\0" * 5_000_000), "its header has more than 20,000 parts"),
    "empty_part.gif": (lambda: gif_with(b"!\xf9\0" + b"\1a" * 10_000_000 + b"\0"), None),
    "large.gif": (lambda: encoded(Image.new("P", (9000, 9000)), "GIF"), "would take"),
    "wide.bmp": (lambda: bmp(89_000_000, 1, 1, 8, b"\0\2\xff\xff\0\1"), "run-length encoded BMP of 89000000 x 1"),
    "lines.bmp": (lambda: bmp(9400, 9400, 1, 8, b"\1\1\0\0" * 9400 + b"\0\1"), "run-length encoded BMP of 9400 x 9400"),
    "runs.bmp": (lambda: bmp(2000, 2000, 1, 8, b"\1\1\0\0" * 2000 + b"\0\1"), None),
    "long_row.bmp": (lambda: bmp(80_000_000, 1, 0, 8, b""), "80000000 x 1 pixels, a side of more than 65,535"),
    "lossless.webp": (large_webp, "decoding it takes 1,767 MB"),
    "photo.webp": (lambda: encoded(Image.new("RGB", (5000, 4900)), "WEBP", method=0), None),
    "exif.webp": (lambda: encoded(Image.new("L", (5000, 4900)), "WEBP", method=0, exif=exif_of_overlaps(60, 70)), None),
    "chunks.webp": (lambda: webp_with(b"abcd" + bytes(4)), "its header has more than 20,000 parts"),
    "lossy.webp": (lambda: encoded(Image.new("RGB", (6000, 6000)), "WEBP", method=0), "decoding it takes 432 MB"),
}  # fmt: skip

DECODE = """
import json, resource, sys, time
from pathlib import Path
import numpy
from kzoo.data import images
from kzoo.data.encoded import BadImage, read_file

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

images.pool()
base = peak()
for path in sorted(Path(sys.argv[1]).iterdir()):
    start = time.process_time()
    try:
        with images.no_warnings():
            images.header(read_file(path))
            result = images.decode(read_file(path), (224, 224), 3).shape
    except BadImage as error:
        result = str(error)
    print(json.dumps([path.name, result, peak() - base, time.process_time() - start]), flush=True)
"""


def test_attack_files_take_no_more_than_is_allowed_for_any_file(tmp_path, fresh_python):
    """Each is decoded or refused, and the process never grows by 400 MB. Each takes a second at most on 2 cores."""
    for name, (make, _) in ATTACKS.items():
        (tmp_path / name).write_bytes(make())
    with open(tmp_path / "sparse.jpg", "wb") as file:
        file.truncate(60 << 30)
    with open(tmp_path / "sparse.png", "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        file.truncate((256 << 20) + 1)
    os.mkfifo(tmp_path / "pipe.jpg")
    rows = [json.loads(line) for line in fresh_python(DECODE, tmp_path, timeout=120).stdout.splitlines()]
    assert len(rows) == len(ATTACKS) + 3
    for name, result, memory, seconds in rows:
        reason = {
            "sparse.jpg": "it has 64,424,509,440 bytes, more than the 268,435,456",
            "sparse.png": "it has 268,435,457 bytes",
            "pipe.jpg": "it is no regular file",
        }.get(name) or ATTACKS[name][1]
        if reason is None:
            assert result == [224, 224, 3], (name, result)
        else:
            assert reason in result, name
        assert memory < 400, (name, memory)
        assert seconds < 3, (name, seconds)  # of the processor, several times what they take


@pytest.mark.parametrize("on_bad_image", ["stop", "skip"])
def test_both_ways_name_the_path(tmp_path, caplog, on_bad_image):
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for index in range(12):
            Image.new("L", (8, 8), 9 * index + (label == "b")).save(tmp_path / label / f"{index}.png")
    attack = tmp_path / "a" / "attack.jpg"
    attack.write_bytes(progressive(200, 1000))
    large = tmp_path / "b" / "large.jpg"
    with open(large, "wb") as file:
        file.truncate(60 << 30)
    if on_bad_image == "stop":
        with pytest.raises(DataError, match="1,000 scans") as error:
            data.load(tmp_path, "all")
        assert str(attack) in str(error.value)
        assert "\n" not in str(error.value)
    else:
        loaded = data.load(tmp_path, "all", on_bad_image="skip")
        assert [where for where, _ in loaded.skipped] == [str(attack), str(large)]
        assert re.search("it has 64,424,509,440 bytes", loaded.skipped[1][1])
        assert f"left out 2 bad images of {str(tmp_path)!r} all, first {str(attack)!r}" in caplog.text


def test_a_jpeg_of_ordinary_encoders_is_read_whatever_its_scans():
    """Bytes of a segment may look like a scan; a thumbnail has its own."""
    noise = Image.effect_noise((64, 64), 80).convert("RGB")
    content = encoded(noise, "JPEG", progressive=True)
    expected = images.decode(content, None, 3)
    thumbnail = encoded(noise, "JPEG", progressive=True) * 30
    for extra in (segment(0xE1, b"http://x\0" + b"\xff\xda" * 2000), segment(0xE2, thumbnail[:60_000])):
        np.testing.assert_array_equal(images.decode(content[:2] + extra + content[2:], None, 3), expected)
    np.testing.assert_array_equal(images.decode(content + thumbnail * 10, None, 3), expected)  # as in an MPO
    np.testing.assert_array_equal(images.decode(content.replace(b"\xff\xda", b"\xff\xff\xda"), None, 3), expected)


@pytest.mark.parametrize("kind", ["text", "plain", "international", "many", "profile", "unknown", "animation"])
def test_a_png_with_large_parts_that_are_no_pixels_is_read(kind):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    info = PngInfo()
    options: dict = {}
    if kind == "text":
        info.add_text("a", "x" * 5_000_000, zip=True)
    elif kind == "plain":
        info.add_text("a", "x" * 5_000_000)
    elif kind == "international":
        info.add_itxt("a", "x" * 5_000_000, zip=True)
    elif kind == "many":
        for index in range(100):
            info.add_text(f"a{index}", "x" * 900_000, zip=True)
    elif kind == "profile":
        options["icc_profile"] = os.urandom(2_000_000) + bytes(3_000_000)
    elif kind == "unknown":
        info.add(b"prVt", bytes(1_000_000))
    else:
        options.update(save_all=True, append_images=[Image.new("RGB", (8, 8), index) for index in range(50)])
    content = encoded(Image.fromarray(pixels), "PNG", pnginfo=info, **options)
    np.testing.assert_array_equal(images.decode(content, None, 3), pixels)
    assert images.header(content) == (8, 8, False)
    assert len(inspect(content).content) < 1000


@pytest.mark.parametrize(
    "where", ["exif", "raw profile", "xmp", "exif twice", "big-endian", "jpeg", "webp", "jpeg xmp"]
)
def test_the_orientation_is_found_wherever_pillow_finds_it(where):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a maker"
    if where == "big-endian":
        exif.endian = ">"
    block = exif.tobytes()
    info, image_format = PngInfo(), "PNG"
    options: dict = {}
    xmp = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    if where == "raw profile":
        body = block[6:] if block.startswith(b"Exif") else block
        info.add_text(
            "Raw profile type exif", f"\nexif\n{len(body) + 6:8d}\n{(b'Exif' + bytes(2) + body).hex()}\n", zip=True
        )
    elif where == "xmp":
        info.add_itxt("XML:com.adobe.xmp", xmp, zip=True)
    else:
        image_format = {"jpeg": "JPEG", "webp": "WEBP", "jpeg xmp": "JPEG"}.get(where, "PNG")
        options = {"xmp": xmp.encode()} if where == "jpeg xmp" else {"exif": block}
        options |= {"lossless": True} if where == "webp" else {}
    if image_format == "PNG":
        options["pnginfo"] = info
    content = encoded(Image.fromarray(pixels), image_format, **options)
    with Image.open(io.BytesIO(content)) as image:
        assert image.getexif()[0x0112] == 6
        stored = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(images.decode(content, None, 3), np.rot90(stored, -1))
    assert images.header(content) == (6, 4, False)


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"save_all": True}], ids=["lossy", "lossless", "animated"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_webp_without_its_metadata_has_the_same_pixels(mode, options):
    frames = [Image.fromarray(np.random.default_rng(i).integers(0, 256, (21, 35, len(mode)), np.uint8)) for i in (0, 1)]
    if "save_all" in options:
        options = {**options, "append_images": frames[1:]}
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 8, "a maker" * 100
    content = encoded(frames[0], "WEBP", exif=exif, icc_profile=bytes(801), xmp=b"<x/>", **options)
    found = inspect(content)
    assert found.orientation == 8
    assert b"a maker" not in found.content
    with Image.open(io.BytesIO(content)) as before, Image.open(io.BytesIO(found.content)) as after:
        assert before.mode == after.mode == mode
        assert not {"exif", "xmp", "icc_profile"}.intersection(after.info)
        np.testing.assert_array_equal(np.asarray(after), np.asarray(before))


def test_a_photo_of_108_megapixels_is_decoded_at_an_eighth():
    small = Image.effect_noise((150, 200), 90).transpose(Image.Transpose.ROTATE_90)
    photo = small.resize((12000, 9000), Image.Resampling.BICUBIC)
    content = encoded(photo, "JPEG", quality=70)
    assert images.header(content) == (9000, 12000, True)
    reference = np.asarray(photo.reduce(8).resize((64, 64), box=(187.5, 0, 1312.5, 1125), resample=2)).astype(int)
    assert np.abs(images.decode(content, (64, 64), 1)[..., 0].astype(int) - reference).max() <= 3
    # At a size of which it has no twice as many pixels at half the scale, it is still decoded at half the scale.
    assert images.decode(content, (4000, 4000), 1).shape == (4000, 4000, 1)
    with pytest.raises(BadImage, match="with an image size it would take less"):
        images.decode(content, None, 1)


def test_what_is_too_large_to_be_read_says_so(tmp_path):
    for name, reason in (("nothing.jpg", "there is no such file"), (".", "it is a folder"), ("\0", "cannot be read")):
        with pytest.raises(BadImage, match=reason):
            read_file(f"{tmp_path}/{name}")


def test_images_that_change_into_other_valid_ones_are_noticed(tmp_path, monkeypatch):
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for index in range(20):
            Image.new("L", (8, 8), 5 * index + (label == "b")).save(tmp_path / label / f"{index}.png")
    monkeypatch.setattr(decoding, "available_memory", lambda: 0)  # decoded on the way
    loaded = data.load(tmp_path)
    assert len(loaded.reader.fetch(np.arange(len(loaded)))) == len(loaded)
    path = Path(loaded.where(3))
    before = path.stat()
    Image.new("L", (8, 8), 255).save(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as rsync and cp -p do
    with pytest.raises(DataError, match="An image has changed since it was checked") as error:
        loaded.reader.fetch(np.array([2, 3]))
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    loaded.reader.fetch(np.array([2]))

"""One image: every mode against pixels computed by hand, orientation, resizing, and what is refused."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from kzoo.data import images
from kzoo.data.images import BadImage


def encoded(image: Image.Image, image_format: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def png(width: int, height: int, depth: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG written chunk by chunk, independent of Pillow."""
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
        + extra
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_rgb_and_grey_pixels_come_back_unchanged():
    rgb = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    np.testing.assert_array_equal(images.decode(encoded(Image.fromarray(rgb)), None, 3), rgb)
    grey = rgb[..., 0]
    np.testing.assert_array_equal(images.decode(encoded(Image.fromarray(grey)), None, 1), grey[..., None])
    np.testing.assert_array_equal(images.decode(encoded(Image.fromarray(grey)), None, 3), np.stack([grey] * 3, -1))


def test_rgb_becomes_grey_by_luma():
    rgb = np.random.default_rng(1).integers(0, 256, (4, 4, 3), np.uint8)
    expected = rgb @ np.array([0.299, 0.587, 0.114])
    assert np.abs(images.decode(encoded(Image.fromarray(rgb)), None, 1)[..., 0] - expected).max() <= 1


def test_16_bit_greyscale_keeps_its_high_byte():
    values = np.array([[0, 255, 256, 4660], [32768, 40000, 65280, 65535]], np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    content = png(4, 2, 16, 0, rows)
    np.testing.assert_array_equal(images.decode(content, None, 1)[..., 0], values >> 8)
    assert images.header(content) == (2, 4, True)


def test_16_bit_rgb_keeps_its_high_bytes():
    values = np.array([[[0, 300, 65535], [32768, 511, 512]]], np.uint16)
    content = png(2, 1, 16, 2, b"\0" + values.astype(">u2").tobytes())
    np.testing.assert_array_equal(images.decode(content, None, 3), values >> 8)


def test_1_bit_image_is_black_and_white():
    content = png(8, 1, 1, 0, b"\0\xa5")
    np.testing.assert_array_equal(images.decode(content, None, 1).ravel(), [255, 0, 255, 0, 0, 255, 0, 255])
    assert images.header(content).grey


def test_alpha_is_composited_over_white():
    rgba = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 100, 200, 128]]], np.uint8)
    expected = np.rint(rgba[..., :3] * (rgba[..., 3:] / 255) + 255 * (1 - rgba[..., 3:] / 255))
    result = images.decode(encoded(Image.fromarray(rgba)), None, 3).astype(int)
    assert np.abs(result - expected).max() <= 1
    assert result[0, 1].tolist() == [255, 255, 255]


def test_grey_with_alpha_stays_grey():
    content = png(3, 1, 8, 4, b"\0" + bytes([10, 255, 10, 0, 0, 128]))
    assert images.header(content).grey
    result = images.decode(content, None, 1).ravel().astype(int)
    assert np.abs(result - [10, 255, 127]).max() <= 1


def test_palette_with_and_without_transparency():
    palette = chunk(b"PLTE", bytes([255, 0, 0, 0, 255, 0, 0, 0, 255]))
    rows = b"\0" + bytes([0, 1, 2])
    plain = images.decode(png(3, 1, 8, 3, rows, palette), None, 3)
    np.testing.assert_array_equal(plain[0], [[255, 0, 0], [0, 255, 0], [0, 0, 255]])
    transparent = images.decode(png(3, 1, 8, 3, rows, palette + chunk(b"tRNS", bytes([255, 0]))), None, 3)
    np.testing.assert_array_equal(transparent[0], [[255, 0, 0], [255, 255, 255], [0, 0, 255]])


def test_transparent_colour_of_an_rgb_png_becomes_white():
    rows = b"\0" + bytes([1, 2, 3, 9, 9, 9])
    content = png(2, 1, 8, 2, rows, chunk(b"tRNS", struct.pack(">HHH", 1, 2, 3)))
    np.testing.assert_array_equal(images.decode(content, None, 3)[0], [[255, 255, 255], [9, 9, 9]])


def test_cmyk_jpeg_becomes_rgb():
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # red
    result = images.decode(encoded(cmyk, "JPEG", quality=100), None, 3).astype(int)
    assert np.abs(result - [255, 0, 0]).max() <= 3


def test_first_frame_of_a_gif():
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("blue", "red")]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(images.decode(content, None, 3), np.full((4, 6, 3), [0, 0, 255]))


@pytest.mark.parametrize("image_format", ["BMP", "WEBP"])
def test_lossless_formats_come_back_unchanged(image_format):
    rgb = np.random.default_rng(2).integers(0, 256, (6, 5, 3), np.uint8)
    content = encoded(Image.fromarray(rgb), image_format, **({"lossless": True} if image_format == "WEBP" else {}))
    np.testing.assert_array_equal(images.decode(content, None, 3), rgb)


# What a viewer shows for a stored array A with the EXIF orientation, from the definition in the EXIF standard: which
# side of the stored image the 0th row and the 0th column of the visible one are.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation(orientation):
    stored = np.random.default_rng(3).integers(0, 256, (4, 6, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(Image.fromarray(stored), "PNG", exif=exif)
    expected = UPRIGHT[orientation](stored)
    np.testing.assert_array_equal(images.decode(content, None, 3), expected)
    assert images.header(content)[:2] == expected.shape[:2]


def test_damaged_exif_counts_as_none():
    rgb = np.full((4, 6, 3), 7, np.uint8)
    content = encoded(Image.fromarray(rgb), "PNG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff\x01")
    with images.no_warnings():
        np.testing.assert_array_equal(images.decode(content, None, 3), rgb)
        assert images.header(content) == (4, 6, False)


def test_resize_covers_and_crops_the_centre():
    wide = np.zeros((40, 120, 3), np.uint8)
    wide[:, 40:80] = 255  # exactly the central square
    assert (images.decode(wide, (20, 20), 3) == 255).mean() > 0.85  # its border blends with what is beside it
    assert images.decode(wide, (20, 20), 3)[:, 1:-1].min() == 255
    tall = images.decode(wide.swapaxes(0, 1), (10, 5), 3)  # 120 x 40 keeps a central 80 x 40
    assert tall.shape == (10, 5, 3)
    np.testing.assert_array_equal(tall[4:6], 255)


def test_crop_without_scaling_does_not_blur():
    rgb = np.random.default_rng(4).integers(0, 256, (9, 6, 3), np.uint8)
    np.testing.assert_array_equal(images.decode(rgb, (6, 6), 3), rgb[1:7])


def test_shrinking_is_antialiased():
    stripes = np.zeros((64, 64, 1), np.uint8)
    stripes[:, ::2] = 255
    shrunk = images.decode(stripes, (8, 8), 1).astype(int)
    assert np.abs(shrunk - 127.5).max() < 16  # a sampling without a filter gives 0 or 255


def test_large_jpegs_decoded_at_reduced_scale_look_the_same():
    y, x = np.mgrid[0:960, 0:1280]
    photo = np.stack([x / 5, y / 4, 127 + 120 * np.sin(x / 40) * np.cos(y / 60)], -1).clip(0, 255).astype(np.uint8)
    content = encoded(Image.fromarray(photo), "JPEG", quality=95)
    result = images.decode(content, (96, 96), 3).astype(int)
    reference = images.decode(images.decode(content, None, 3), (96, 96), 3).astype(int)
    assert np.abs(result - reference).mean() < 1
    assert np.abs(result - reference).max() <= 8


def test_digits_are_enlarged_smoothly():
    digit = np.zeros((8, 8, 1), np.uint8)
    digit[2:6, 3:5] = 255
    large = images.decode(digit, (28, 28), 1)[..., 0].astype(int)
    assert large.shape == (28, 28)
    assert large.max() == 255
    assert large.min() == 0
    assert len(np.unique(large)) > 10
    assert abs(large.mean() / 255 - digit.mean() / 255) < 0.02


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", r"empty \(0 bytes\)"),
        (b"hello, I am text\n", "no JPEG, PNG, GIF, BMP or WebP image"),
        (b"II*\0" + bytes(100), "no JPEG, PNG, GIF, BMP or WebP image"),  # a TIFF
        (png(20000, 5000, 8, 2, b""), "20000 x 5000 pixels, more than the 89,478,485 that are safe"),
        (png(60000, 60000, 8, 2, b""), "more than the 89,478,485 that are safe"),
        (png(8, 8, 8, 2, b"\0" * 20), "truncated or damaged"),
    ],
)
def test_bad_content_is_refused_in_one_line(content, reason):
    with images.no_warnings(), pytest.raises(BadImage, match=reason) as error:
        images.decode(content, None, 3)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_truncated_files_are_found(image_format):
    noise = np.random.default_rng(5).integers(0, 256, (64, 64, 3), np.uint8)
    content = encoded(Image.fromarray(noise), image_format)
    assert images.looks_complete(content)
    for kept in (0.5, 0.9, 0.99):
        cut = content[: int(len(content) * kept)]
        assert not images.looks_complete(cut)
        with pytest.raises(BadImage, match="truncated or damaged"):
            images.decode(cut, None, 3)


def test_crop_fraction_scales_to_more_than_it_keeps():
    """As torchvision's Resize(256) and CenterCrop(224), on an image whose shorter side has 256 pixels: a plain crop."""
    image = np.random.default_rng(0).integers(0, 256, (256, 320, 3), np.uint8)
    found = images.decode(image, (224, 224), 3, images.Scaling(224 / 256))
    np.testing.assert_array_equal(found, image[16:240, 48:272])
    # An image that has the size already is scaled up.
    small = images.decode(image[:224, :224], (224, 224), 3, images.Scaling(224 / 256))
    whole = Image.fromarray(image[:224, :224]).resize((256, 256), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(small, np.asarray(whole)[16:240, 16:240])


@pytest.mark.parametrize("side", [12, 40])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_interpolation_is_followed_both_ways(side, interpolation):
    image = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    found = images.decode(image, (side, side), 3, images.Scaling(1.0, interpolation))
    expected = Image.fromarray(image).resize((side, side), Image.Resampling[interpolation.upper()])
    np.testing.assert_array_equal(found, np.asarray(expected))

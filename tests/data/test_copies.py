"""Copies of images: the same photo saved again is found, different images are not taken for it."""

import io

import numpy as np
import pytest
from PIL import Image

from kzoo.data import Dataset, load
from kzoo.data.copies import alike, equal, mark_of

SIZE = 96


def photo(seed: int) -> Image.Image:
    """Coarse colours: like a photo, and unlike noise, it survives being saved again."""
    colours = np.random.default_rng(seed).integers(0, 256, (7, 7, 3), np.uint8)
    return Image.fromarray(colours).resize((200, 200), Image.Resampling.BICUBIC)


def marks(images) -> np.ndarray:
    pixels = np.stack([np.asarray(image.convert("RGB").resize((SIZE, SIZE))) for image in images])
    return Dataset.from_arrays(pixels, np.zeros(len(pixels), int)).marks


def saved(image: Image.Image, suffix: str, side: int = 200, **options) -> Image.Image:
    file = io.BytesIO()
    image.resize((side, side)).save(file, suffix, **options)
    return Image.open(file)


@pytest.mark.parametrize(
    "again",
    [
        lambda image: saved(image, "JPEG", quality=40),
        lambda image: saved(image, "WEBP", quality=60),
        lambda image: saved(image, "JPEG", side=110),
        lambda image: saved(image, "PNG", side=400),
        lambda image: image.convert("L"),
    ],
)
def test_a_photo_saved_again_is_found(again):
    photos = marks([photo(seed) for seed in range(20)])
    assert alike(marks([again(photo(30)), again(photo(7))]), photos) == [(1, 7)]
    assert equal(marks([again(photo(7))]), photos) == []


def test_equal_pixels_are_found_first_come_first():
    photos = marks([photo(1), photo(2), photo(1)])
    assert equal(marks([photo(3), saved(photo(1), "PNG"), photo(2)]), photos) == [(1, 0), (2, 1)]


def test_small_and_nearly_plain_images_look_like_nothing():
    noise = np.random.default_rng(0).integers(0, 256, (63, 80, 3), np.uint8)
    assert not mark_of(noise)["has_look"]
    assert mark_of(np.pad(noise, ((0, 1), (0, 0), (0, 0))))["has_look"]
    plain = np.full((SIZE, SIZE, 1), 250, np.uint8)
    plain[10:20, 10:20] += 5
    assert not mark_of(plain)["has_look"]


def test_greyscale_and_floats_have_a_look():
    colours = np.asarray(photo(5).resize((SIZE, SIZE)))
    grey = np.asarray(photo(5).convert("L").resize((SIZE, SIZE)))[..., np.newaxis]
    found = [np.array([mark_of(image)]) for image in (colours, grey, colours.astype(np.float32), colours[:, ::-1])]
    assert [alike(one, found[0]) for one in found] == [[(0, 0)], [(0, 0)], [(0, 0)], []]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("hymenoptera", "val"),
        ("transfer_sets/beans3", "test"),
        ("transfer_sets/signdigits", "test"),
        ("transfer_sets/scripts8", "test"),
    ],
)
def test_no_false_alarms_on_real_images(real_data, name, split):
    train, scored = (load(real_data / name, part, image_size=SIZE) for part in ("train", split))
    assert train.marks["has_look"].all()
    assert equal(scored.marks, train.marks) == []
    assert alike(scored.marks, train.marks) == []


def test_marks_of_streamed_images_are_found_while_they_are_checked(tmp_path, monkeypatch):
    from kzoo.data import decoding

    for seed in range(8):
        path = tmp_path / "ab"[seed % 2] / f"{seed}.png"
        path.parent.mkdir(exist_ok=True)
        photo(seed).save(path)
    in_memory = load(tmp_path, "all", 64)
    monkeypatch.setattr(decoding, "available_memory", lambda: 100)
    streamed = load(tmp_path, "all", 64)
    assert streamed.marks is streamed.known_marks
    np.testing.assert_array_equal(streamed.marks, in_memory.marks)
    arrays = Dataset.from_arrays(in_memory.images, in_memory.labels)
    np.testing.assert_array_equal(arrays.marks, in_memory.marks)


def test_images_of_minus_one_to_one_look_like_nothing():
    images = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype("float32")
    marks = np.array([mark_of(image) for image in images])
    assert not marks["has_look"].any()
    assert len(set(marks["pixels"].tolist())) == 2


def test_copies_among_images_themselves():
    """Each is found once, as a copy of one before it."""
    images = [photo(0), photo(1), photo(0), saved(photo(1), "JPEG", quality=40), photo(2), photo(0)]
    found = marks(images)
    assert equal(found) == [(2, 0), (5, 0)]
    assert [pair for pair in alike(found) if pair[0] not in (2, 5)] == [(3, 1)]
    assert {row for row, _ in alike(found)} == {2, 3, 5}

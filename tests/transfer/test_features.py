"""Features: computed once, and anew when anything that they depend on has changed."""

import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from small_models import digits, functional

from kzoo import augment
from kzoo.backend import keras
from kzoo.data import Dataset
from kzoo.train.precision import in_precision
from kzoo.transfer import features as module
from kzoo.transfer import freeze
from kzoo.transfer.cutting import split
from kzoo.transfer.features import Frozen, Views, cache_folder, digests, features_of, key_of

POLICY = ("digits",)


@pytest.fixture(scope="module")
def images():
    return digits(40, 1)[0]


def backbone(precision="float32"):
    model = freeze(functional())
    return split(in_precision(model, precision) if precision != "float32" else model, "flat")[0]


def made(images, model, folder, *, policy=POLICY, views=2, seed=3):
    folder.mkdir(exist_ok=True)
    key = key_of(model, digests(images), policy, views, seed)
    return of(images, model, key, policy=policy, views=views, seed=seed, folder=folder)


def of(images, model, key, *, policy=POLICY, views=2, seed=3, folder):
    """The features, all of their views computed, or None."""
    found = features_of(
        Views(images, Frozen(model), key, policy=augment.policy(policy), count=views, seed=seed, folder=folder)
    )
    if found is not None:
        for view in range(views):
            assert len(found.views[view]) == len(images)
    return found


def arrays(found):
    return [np.array(found.views[view]) for view in range(len(found.views))]


def assert_equal(found, expected):
    for one, other in zip(arrays(found), arrays(expected), strict=True):
        np.testing.assert_array_equal(one, other)


def files(folder):
    return sorted(folder.glob("*/*.npy"))


def test_a_view_is_what_the_epoch_of_a_run_would_see(images, tmp_path):
    model = backbone()
    found = made(images, model, tmp_path)
    assert found is not None
    assert (len(found.views), found.image_shape, found.dtype) == (2, (96,), "float32")
    np.testing.assert_array_equal(found.labels, images.labels)
    for epoch in range(3):
        order = {"shuffle": True, "seed": 3, "start_batch": 1}
        policy = augment.policy(POLICY)
        # Of epoch 2 the images are those of epoch 0, and the order is its own.
        plain = Dataset.from_arrays(np.arange(40).repeat(64).reshape(40, 8, 8, 1).astype("uint8"), images.labels)
        drawn = next(iter(images.batches(40, seed=3, epoch=epoch % 2, augment=policy)))[0].numpy()
        for (given, labels), (numbers, _) in zip(
            found.batches(16, epoch=epoch, augment=policy, **order),
            plain.batches(16, epoch=epoch, **order),
            strict=True,
        ):
            rows = numbers.numpy()[:, 0, 0, 0]
            # In batches of other sizes: rounding.
            np.testing.assert_allclose(given, model(drawn[rows]), rtol=1e-4, atol=1e-5)
            np.testing.assert_array_equal(labels, images.labels[rows])


def test_the_key_knows_what_features_depend_on(images, monkeypatch):
    model, pixels = backbone(), digests(images)
    key = key_of(model, pixels, POLICY, 2, 3)
    assert key == key_of(
        backbone(), digests(Dataset.from_arrays(images.images, (images.labels + 1) % 10)), POLICY, 2, 3
    )
    changed = np.array(images.images)
    changed[7, 0, 0, 0] ^= 1
    others = [
        key_of(model, digests(Dataset.from_arrays(changed, images.labels)), POLICY, 2, 3),
        key_of(model, pixels[::-1], POLICY, 2, 3),
        key_of(model, pixels, ("cifar",), 2, 3),
        key_of(model, pixels, ("digits", "cifar"), 2, 3),
        key_of(model, pixels, POLICY, 3, 3),
        key_of(model, pixels, POLICY, 2, 4),
        key_of(backbone("mixed_bfloat16"), pixels, POLICY, 2, 3),
        key_of(split(model, "conv3_relu")[0], pixels, POLICY, 2, 3),
    ]
    model.get_layer("conv2_bn").moving_mean.assign_add(np.full(6, 1e-6))
    others.append(key_of(model, pixels, POLICY, 2, 3))
    monkeypatch.setattr(module, "version", lambda package: "0")
    others.append(key_of(backbone(), pixels, POLICY, 2, 3))
    assert len({key, *others}) == 1 + len(others)
    # Without augmentation nothing is drawn.
    assert key_of(model, pixels, ("none",), 1, 3) == key_of(model, pixels, ("none",), 1, 4)


def test_they_are_computed_once(images, tmp_path):
    first = made(images, backbone(), tmp_path)
    before = {path: path.stat().st_mtime_ns for path in files(tmp_path)}
    assert len(before) == 2
    assert_equal(made(images, backbone(), tmp_path), first)
    assert {path: path.stat().st_mtime_ns for path in files(tmp_path)} == before


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "another"])
def test_damaged_files_are_computed_again(damage, images, tmp_path, capsys):
    expected = arrays(made(images, backbone(), tmp_path))
    broken, whole = files(tmp_path)
    content = bytearray(broken.read_bytes())
    if damage == "flipped":
        content[-9] ^= 16
    broken.write_bytes({"truncated": content[:-40], "empty": b"", "another": whole.read_bytes()}.get(damage, content))
    again = made(images, backbone(), tmp_path)
    for one, other in zip(arrays(again), expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert f"damaged features are computed again: {broken}" in capsys.readouterr().err
    assert files(tmp_path) == [broken, whole]


def test_bfloat16_keeps_its_bits(images, tmp_path):
    model = backbone("mixed_bfloat16")
    found = made(images, model, tmp_path, policy=("none",), views=1)
    assert found is not None
    assert found.dtype == "bfloat16"
    assert found.views[0].dtype.name == "bfloat16"
    ((given, _),) = found.batches(40)
    computed = np.concatenate([model(images.images[rows]).numpy() for rows in (slice(32), slice(32, 40))])
    assert given.dtype.name == "bfloat16"
    # One step of bfloat16, where another kernel rounds otherwise.
    np.testing.assert_allclose(given.numpy().astype("float32"), computed.astype("float32"), rtol=2**-6, atol=2**-6)


def test_too_little_room(images, tmp_path, monkeypatch):
    model = backbone()
    size = 2 * 40 * 96 * 4
    monkeypatch.setattr(module, "LARGEST", size - 1)
    assert made(images, model, tmp_path) is None
    assert files(tmp_path) == []
    monkeypatch.setattr(module, "LARGEST", size)
    expected = arrays(made(images, model, tmp_path))
    monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: SimpleNamespace(free=0))
    # What is there already needs no room.
    for one, other in zip(arrays(made(images, model, tmp_path)), expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert made(images, model, tmp_path, seed=9) is None


def test_the_oldest_are_forgotten_but_not_what_is_in_use(images, tmp_path, monkeypatch):
    model = backbone()
    size = 2 * (40 * 96 * 4 + 128)
    monkeypatch.setattr(module, "LARGEST", int(2.5 * size))
    places = []
    for seed in range(2):
        made(images, model, tmp_path, seed=seed)
        places += {path.parent for path in files(tmp_path)} - set(places)
        time.sleep(0.02)
    made(images, model, tmp_path, seed=0)  # used again: no longer the oldest
    third = made(images, model, tmp_path, seed=2)
    assert places[0].is_dir()
    assert not places[1].exists()
    with module.locked(module._lock(places[0]), wait=False):  # another process computes the rest of it
        fourth = made(images, model, tmp_path, seed=3)
    assert places[0].is_dir()
    assert len({path.parent for path in files(tmp_path)}) == 2
    # What a run still reads is there for it, deleted or not.
    assert third is not None
    assert fourth is not None
    assert np.isfinite(third.views[1]).all()
    assert np.isfinite(fourth.views[1]).all()


def test_a_home_that_cannot_be_written(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("KZOO_HOME", str(tmp_path / "file"))
    folder = cache_folder()
    assert folder.is_dir()
    assert tmp_path not in folder.parents
    assert "features are not kept" in capsys.readouterr().err


WORKER = Path(__file__).with_name("features_worker.py")


def process(folder, environment, *options):
    command = [sys.executable, WORKER, folder, *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True)


def finish(one):
    output, errors = one.communicate(timeout=200)
    assert one.returncode == 0, errors[-3000:]
    return output.split()


@pytest.mark.slow
def test_two_processes_compute_once_and_agree_also_after_a_kill(tmp_path, child_environment):
    killed = process(tmp_path, child_environment, "slowly")
    while killed.poll() is None and not list(tmp_path.glob("*/.*.tmp.npy")):
        time.sleep(0.01)
    killed.kill()
    assert killed.wait() == -9
    killed.communicate()
    assert list(tmp_path.glob("*/.*.tmp.npy")), "it was to be killed while it wrote"
    both = [process(tmp_path, child_environment, "slowly") for _ in range(2)]
    (one, computed), (other, found) = (finish(each) for each in both)
    assert one == other
    assert sorted([int(computed), int(found)]) == [0, 80]  # images that each has computed
    assert not list(tmp_path.glob("*/.*.tmp.npy"))
    assert keras.backend.backend() == "tensorflow"

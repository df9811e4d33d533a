"""Finding weights on disk, taking them from a folder, verifying them; nothing here uses a network."""

import dataclasses
import os
import shutil
from pathlib import Path

import pytest
from faulty_server import CONTENT, file_at, record_of

from kzoo.errors import InvalidArgument, WeightsError
from kzoo.weights import locations, store
from kzoo.weights.registry import get_record

DAMAGED = CONTENT[:-1] + b"!"
NOWHERE = "http://127.0.0.1:9/weights.bin"
ONE = record_of(file_at(NOWHERE))
MANY = record_of(*(file_at(NOWHERE, name=f"set/deep/{i}.bin") for i in range(3)))


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("KZOO_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KZOO_WEIGHTS_PATH", raising=False)
    return tmp_path / "home"


def put(folder, record, content=CONTENT):
    """The record's files in a folder, all with the same content."""
    for file in record.files:
        path = folder / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def test_the_cache_is_the_platform_s_unless_kzoo_home_is_set(home, monkeypatch):
    assert locations.home() == home
    monkeypatch.delenv("KZOO_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "xdg"))
    assert locations.home() == home / "xdg" / "kzoo"
    monkeypatch.setenv("KZOO_HOME", "~/weights")
    assert locations.home() == Path.home() / "weights"


@pytest.mark.parametrize(("record", "found"), [(ONE, "weights.bin"), (MANY, "set")])
@pytest.mark.parametrize("below", [".", "test_net/test"])
def test_search_folders(record, found, below, tmp_path, monkeypatch):
    put(tmp_path / "second" / below, record)
    monkeypatch.setenv("KZOO_WEIGHTS_PATH", os.pathsep.join([str(tmp_path / "no_such"), str(tmp_path / "second"), ""]))
    assert store.find(record) == tmp_path / "second" / below / found
    assert store.require(record) == store.verify(record).path == store.fetch(record) == store.find(record)


def test_a_part_of_the_files_is_nothing(tmp_path, monkeypatch):
    put(tmp_path / "mine", MANY)
    (tmp_path / "mine" / "set" / "deep" / "1.bin").unlink()
    monkeypatch.setenv("KZOO_WEIGHTS_PATH", str(tmp_path / "mine"))
    assert store.find(MANY) is None


def test_a_damaged_file_is_left_aside_for_the_next_that_is_right(tmp_path, monkeypatch, capfd):
    put(tmp_path / "first", ONE, DAMAGED)
    put(tmp_path / "second", ONE)
    monkeypatch.setenv("KZOO_WEIGHTS_PATH", os.pathsep.join([str(tmp_path / "first"), str(tmp_path / "second")]))
    assert store.find(ONE) == tmp_path / "second" / "weights.bin"
    warning = capfd.readouterr().err
    assert warning.startswith("warning: Left aside: weights.bin has the wrong content. Received: sha256 ")
    assert str(tmp_path / "first" / "weights.bin") in warning
    with pytest.raises(WeightsError, match="has the wrong content"):
        store.verify(ONE)
    assert (tmp_path / "first" / "weights.bin").read_bytes() == DAMAGED  # the user's files are the user's


def test_what_is_not_here_says_the_command():
    for ask in (store.require, store.verify):
        with pytest.raises(
            WeightsError, match=r"Received: 'test' for test_net. Fetch them: kzoo weights fetch test_net test "
        ):
            ask(ONE)


@pytest.mark.parametrize("record", [ONE, MANY])
@pytest.mark.parametrize("below", [".", "test_net/test"])
def test_taken_from_a_folder(record, below, tmp_path, home):
    put(tmp_path / "usb" / below, record)
    path = store.fetch(record, source=tmp_path / "usb")
    shutil.rmtree(tmp_path / "usb")
    assert path == store.find(record)
    assert path.is_relative_to(home)
    assert sorted(p.read_bytes() for p in path.parent.rglob("*.bin")) == [CONTENT] * len(record.files)


def test_taken_from_the_folder_that_a_set_is_in(tmp_path):
    put(tmp_path / "usb", MANY)
    assert store.fetch(MANY, source=tmp_path / "usb" / "set") == store.find(MANY)


def test_a_damaged_file_in_a_folder_is_refused(tmp_path, home):
    put(tmp_path / "usb", ONE, DAMAGED)
    with pytest.raises(WeightsError, match=f"has the wrong content.*{tmp_path / 'usb'}"):
        store.fetch(ONE, source=tmp_path / "usb")
    put(tmp_path / "usb", ONE, CONTENT[:-1])
    with pytest.raises(WeightsError, match=r"has the wrong size. Received: 1,048,575 bytes.*Expected: 1,048,576"):
        store.fetch(ONE, source=tmp_path / "usb")
    assert not list(home.rglob("*.bin"))
    assert (tmp_path / "usb" / "weights.bin").exists()


def test_a_folder_without_the_files(tmp_path):
    with pytest.raises(WeightsError, match=r"Missing: '.*empty/set/deep/0.bin'"):
        (tmp_path / "empty").mkdir()
        store.fetch(MANY, source=tmp_path / "empty")
    with pytest.raises(InvalidArgument, match="--from must be a folder"):
        store.fetch(MANY, source=tmp_path / "no_such")


@pytest.mark.parametrize(
    "name", ["../weights.bin", "set/../../weights.bin", "/weights.bin", "c:/weights.bin", "..\\w.bin", ""]
)
def test_no_file_leaves_its_folder(name, tmp_path, home):
    record = dataclasses.replace(ONE, files=(file_at(NOWHERE, name=name),))
    for ask in (store.find, store.verify, store.fetch):
        with pytest.raises(WeightsError, match="must have a name below its folder"):
            ask(record)
    with pytest.raises(WeightsError, match="must have a name below its folder"):
        store.fetch(record, source=tmp_path)
    assert not list(home.rglob("*.bin"))


def test_the_real_weights(real_data, monkeypatch):
    """The search folder of the tests holds three records, as their projects published them."""
    monkeypatch.setenv("KZOO_WEIGHTS_PATH", str(real_data / "weights"))
    assert store.find(get_record("inception_v1", "bvlc_in1k")) == real_data / "weights" / "bvlc_googlenet"
    for model in ("resnet20_cifar", "resnet32_cifar"):
        path = store.find(get_record(model, "cifar10"))
        assert path
        assert path.parent == real_data / "weights"
    assert store.find(get_record("resnet44_cifar")) is None
    fetched = store.fetch(get_record("inception_v1"), source=real_data / "weights" / "bvlc_googlenet")
    assert sum(path.stat().st_size for path in fetched.rglob("*.bin")) == 4 * 6_998_552

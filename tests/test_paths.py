"""What a path is that is no run and no model file, and the command that goes on; TensorFlow is not needed."""

import shlex
import subprocess
import sys

import pytest

from kzoo.cli import run as kzoo
from kzoo.errors import InvalidArgument
from kzoo.paths import find_model
from kzoo.search import store
from kzoo.train import TransferConfig, runs
from kzoo.train.record import DataRecord, DataSource, FineTuningState, ModelFile, RunRecord, ZooModel

NO_TENSORFLOW = """
import sys
from kzoo.cli import run
status = run(sys.argv[1:])
assert not {"tensorflow", "keras"} & set(sys.modules), "TensorFlow was started"
sys.exit(status)
"""


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Runs, a search and models of other kinds."""
    monkeypatch.chdir(tmp_path)
    data = DataRecord(DataSource("digits"))
    for name, record in {
        "a run": RunRecord(model=ZooModel("mnist_net"), data=data),
        "tuned": RunRecord(model=ModelFile("x.keras"), data=data, transfer=TransferConfig()),
        "tuned/head": RunRecord(data=data, fine_tuning=FineTuningState(is_head=True)),
    }.items():
        (tmp_path / name).mkdir()
        runs.write_record(tmp_path / name, record)
    for name in ("a search", "saved", "exported"):
        (tmp_path / name).mkdir()
    (tmp_path / "a search" / store.SEARCH).write_text("{}")
    for name in ("saved/saved_model.pb", "saved/keras_metadata.pb", "exported/saved_model.pb", "m.h5", "m.weights.h5"):
        (tmp_path / name).touch()
    (tmp_path / "image.png").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("train --resume 'a search'", "Continue it with kzoo search --resume 'a search'"),
        ("finetune --resume 'a search'", "Continue it with kzoo search --resume 'a search'"),
        ("search --resume 'a run'", "Continue it with kzoo train --resume 'a run'"),
        ("search --resume tuned", "Continue it with kzoo finetune --resume tuned"),
        ("finetune --resume 'a run'", "Continue it with kzoo train --resume 'a run'"),
        ("train --resume tuned", "Continue it with kzoo finetune --resume tuned"),
        ("train --from-search 'a run'", "This is a run, not a search."),
        ("evaluate 'a search'", "its best model is "),
        ("evaluate 'a run'", "This run has no best model yet."),
        ("predict nosuch image.png", "No such model file or run directory. Received: 'nosuch'."),
        ("predict 'a run' image.png --which last", "This run has no last model yet."),
        ("evaluate nosuch digits", "No such model file or run directory. Received: 'nosuch'."),
        ("finetune nosuch digits", "No such model file or run directory. Received: 'nosuch'."),
        ("info m.h5", "Convert it: python -c"),
        ("info saved", "pip install tf_keras && python -c"),
        ("evaluate exported digits", "save it by model.save('model.keras')"),
        ("predict m.weights.h5 image.png", "name a model of kzoo list, and add --weights FILE"),
        ("weights add nosuch --name mine", "No such model file or run directory. Received: 'nosuch'."),
    ],
)
def test_one_line_that_says_what_to_do(folders, capfd, arguments, says):
    assert kzoo(shlex.split(arguments)) in (1, 2)
    (line,) = capfd.readouterr().err.splitlines()
    assert says in line


def test_the_head_of_a_run_names_the_run(folders, capfd):
    assert kzoo(["finetune", "--resume", "tuned/head"]) == 2
    assert f"Continue it with kzoo finetune --resume {folders / 'tuned'}" in capfd.readouterr().err


@pytest.mark.parametrize(
    "arguments", ["evaluate nosuch", "predict nosuch image.png", "train --resume nosuch", "info m.h5"]
)
def test_before_tensorflow_is_started(folders, fresh_python, arguments):
    fresh_python(NO_TENSORFLOW, *arguments.split(), status=2, cwd=folders)


def test_the_conversion_of_hdf5_works(tmp_path, child_environment):
    import numpy as np

    import kzoo as zoo

    model = zoo.create_model("mnist_net")
    path = tmp_path / "it's mine.h5"
    model.save(path)
    with pytest.raises(InvalidArgument) as refused:
        find_model(path)
    command = shlex.split(str(refused.value).partition("Convert it: ")[2])
    assert command[0] == "python"
    subprocess.run([sys.executable, *command[1:]], check=True, env=child_environment, capture_output=True, timeout=200)
    images = np.random.default_rng(0).random((2, 28, 28, 1), np.float32) * 255
    converted = zoo.load_model(tmp_path / "it's mine.keras")
    np.testing.assert_array_equal(converted(images), model(images))  # the same weights and operations


def test_a_model_of_any_size(tmp_path, capfd):
    from PIL import Image

    from kzoo.backend import keras

    layers = keras.layers
    inside = [keras.Input((None, None, 1)), layers.GlobalAveragePooling2D(), layers.Dense(10, activation="softmax")]
    path, image = str(tmp_path / "any.keras"), str(tmp_path / "image.png")
    keras.Sequential(inside).save(path)
    Image.new("L", (20, 30)).save(image)
    for arguments in (["predict", path, image], ["info", path], ["finetune", path, "digits"]):
        assert kzoo(arguments) == 2
        assert "--image-size" in capfd.readouterr().err.splitlines()[-1]
    assert kzoo(["predict", path, image, "--image-size", "16x24"]) == 0
    assert kzoo(["evaluate", path, "digits", "--image-size", "12"]) == 0
    assert kzoo(["info", path, "--image-size", "12"]) == 0

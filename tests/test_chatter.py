"""Keras and TensorFlow are imported quietly, and what they really complain about is passed on."""


def test_import_says_nothing(fresh_python):
    done = fresh_python("from kzoo.backend import keras, tf; print(keras.backend.backend(), tf.__name__)")
    assert done.stdout == "tensorflow tensorflow\n"
    assert done.stderr == ""


def test_only_chatter_is_held_back_and_after_an_error_nothing(fresh_python):
    code = """
import os, sys
from kzoo.chatter import without_chatter
with without_chatter():
    print("python speaks", file=sys.stderr)
    os.write(2, b"2026-01-02 03:04:05.678901: I tensorflow/core: oneDNN is on\\n")
    os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\\n")
    os.write(2, b"2026-01-02 03:04:05.678901: F tensorflow/core: fatal\\n")
print("after", file=sys.stderr)
with without_chatter():
    os.write(2, b"2026-01-02 03:04:05.678901: I tensorflow/core: a clue\\n")
    raise ImportError("broken")
"""
    said = fresh_python(code, status=1).stderr.splitlines()
    assert said[:4] == [
        "python speaks",
        "2026-01-02 03:04:05.678901: F tensorflow/core: fatal",
        "after",
        "2026-01-02 03:04:05.678901: I tensorflow/core: a clue",
    ]
    assert said[-1] == "ImportError: broken"


def test_import_works_without_a_standard_error(fresh_python):
    code = "import os; os.close(2); import kzoo.backend; print(kzoo.backend.keras.__name__)"
    assert fresh_python(code).stdout == "keras\n"


def test_reading_a_tfds_dataset_says_nothing(fresh_python, tfds_folder):
    done = fresh_python(f"from kzoo import data; print(len(data.load('mnist', 'test', data_dir={str(tfds_folder)!r})))")
    assert done.stdout == "10000\n"
    assert "oneDNN" not in done.stderr
    assert "absl" not in done.stderr


def test_batches_say_nothing(fresh_python):
    done = fresh_python("from kzoo import data; print(len(list(data.load('digits', 'test').batches(100))))")
    assert (done.stdout, done.stderr) == ("2\n", "")

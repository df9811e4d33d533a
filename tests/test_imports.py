"""What importing kzoo costs: nothing of TensorFlow until it is needed."""

import pytest

HEAVY = "{'tensorflow', 'keras', 'sklearn', 'matplotlib', 'PIL', 'tensorflow_datasets'}"


def test_a_folder_is_looked_at_without_tensorflow(fresh_python, tmp_path):
    code = """
import sys
from PIL import Image
from pathlib import Path
for number in range(8):
    path = Path(f"photos/{'ab'[number % 2]}/{number}.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.linear_gradient("L").resize((80 + number, 70)).save(path)
from kzoo.cli import run
status = run(["info", "photos", "--out", "sheet.png"])
print(status, sorted({'tensorflow', 'keras', 'sklearn', 'tensorflow_datasets'} & set(sys.modules)))
"""
    assert fresh_python(code, cwd=tmp_path).stdout.splitlines()[-1] == "0 []"


@pytest.mark.parametrize(
    "code",
    [
        "import kzoo; kzoo.list_models()",
        "import kzoo; kzoo.list_weights('resnet20_cifar')",
        "import kzoo.data",
        "from kzoo.weights import convert, formats",
        "from kzoo.train import TrainConfig; TrainConfig()",
        "from kzoo.cli import run; run(['--help'])",
        "from kzoo.cli import run; run(['list'])",
        "from kzoo.cli import run; run(['weights', 'list'])",
        "from kzoo.cli import run; run(['train', '--help'])",
        "from kzoo.cli import run; run(['search', '--help'])",
        "from kzoo.cli import run; run(['export', '--help'])",
        "from kzoo import deploy; deploy.load",
        "import kzoo.search; kzoo.search.SearchConfig()",
        "from kzoo.search import searching",
        "from kzoo.cli import run; run(['train', 'mnist_net', 'no_such_dataset', '--run-dir', 'run'])",
    ],
)
def test_nothing_heavy_is_imported(code, fresh_python, tmp_path):
    code = f"import sys\n{code}\nprint('heavy:', sorted({HEAVY} & set(sys.modules)))"
    assert fresh_python(code, cwd=tmp_path).stdout.splitlines()[-1] == "heavy: []"


def test_load_model_works_as_the_first_call_of_a_process(fresh_python, tmp_path):
    """A `.keras` file with a custom layer loads only after the module that registers the layer is imported."""
    path = tmp_path / "model.keras"
    fresh_python("import sys, kzoo; kzoo.create_model('mnist_net').save(sys.argv[1])", path)
    answer = fresh_python("import sys, kzoo; print(kzoo.load_model(sys.argv[1]).output_shape)", path)
    assert answer.stdout == "(None, 10)\n"
    assert answer.stderr == ""


def test_every_public_name_is_there():
    import kzoo

    for name in dir(kzoo):
        assert getattr(kzoo, name) is not None, name


def test_the_config_is_in_place_before_tensorflow_is_imported(fresh_python, tmp_path):
    """Reads config.json at the moment when TensorFlow is about to be imported."""
    code = """
import json, os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name in ("tensorflow", "keras"):
            train = json.load(open("run/config.json"))["train"]
            print(train["precision"], train["strategy"], flush=True)
            os._exit(0)
sys.meta_path.insert(0, Watch())
from kzoo.cli import run
run(["train", "mnist_net", "digits", "--run-dir", "run"])
"""
    precision, strategy = fresh_python(code, cwd=tmp_path).stdout.split()
    assert precision in ("float32", "mixed_bfloat16", "mixed_float16")
    assert strategy in ("one", "mirrored")

"""The wheel, in an empty environment, outside the checkout, with no network: the main job."""

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    [path] = folder.glob("*.whl")
    return path


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    packed = {name for name in names if not name.startswith(f"kzoo-{wheel.name.split('-')[1]}.dist-info/")}
    tracked = {str(path.relative_to(ROOT)) for kind in ("*.py", "*.pyi") for path in (ROOT / "kzoo").rglob(kind)}
    data = {
        "kzoo/py.typed",
        "kzoo/weights/imagenet_classes.csv",
        "kzoo/weights/records/applications.csv",
        "kzoo/weights/files/mnist_net-mnist.safetensors",
    }
    assert packed == tracked | data
    assert wheel.stat().st_size < 3_000_000


@pytest.mark.timeout(900)
def test_the_wheel_does_the_main_job_in_an_empty_environment(wheel, tmp_path):
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", wheel], check=True, timeout=800, cwd=tmp_path)

    home = tmp_path / "home"
    home.mkdir()
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "KZOO", "TFDS", "KERAS"))}
    # No route out: a namespace without a network where the system lets us have one, proxies that refuse otherwise.
    clean |= {"HOME": str(home), "https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    isolate = ["unshare", "--net"] if _may_unshare() else []

    def kzoo(*arguments):
        command = [*isolate, environment / "bin" / "kzoo", *arguments]
        done = subprocess.run(command, cwd=home, env=clean, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        return done

    kzoo("train", "mnist_net", "digits", "--epochs", "2", "--run-dir", "run")
    assert '"accuracy": 0.' in kzoo("evaluate", "run", "--json").stdout
    code = (
        "from kzoo import data; from PIL import Image; import sys\n"
        "Image.fromarray(data.load('digits', 'test').images[0, :, :, 0]).save(sys.argv[1])"
    )
    subprocess.run([python, "-c", code, home / "digit.png"], check=True, env=clean, cwd=home, timeout=100)
    assert '"probability": ' in kzoo("predict", "run", "digit.png").stdout
    pretrained = json.loads(kzoo("predict", "mnist_net", "digit.png", "--weights", "mnist", "--json").stdout)
    assert pretrained["predictions"][0]["top"][0]["label"] in set("0123456789")
    doctor = kzoo("doctor")
    assert "no problems found" in doctor.stdout
    assert doctor.stderr == ""  # TensorFlow's start-up chatter stays out


def _may_unshare() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode == 0

"""The service under load, with a real client: no request is lost, and no bad upload does harm."""

import io
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image

import kzoo
from kzoo import data, deploy

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def digits():
    return data.load("digits", "test", image_size=28)


@pytest.fixture(scope="module")
def url(digits, tmp_path_factory, child_environment):
    for module in ("fastapi", "uvicorn", "onnxruntime", "tf2onnx"):
        pytest.importorskip(module)
    folder = tmp_path_factory.mktemp("service")
    model = kzoo.create_model("mnist_net", weights="mnist")
    deploy.export(model, folder / "model.onnx", "onnx", images=digits)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [sys.executable, str(ROOT / "recipes" / "serve.py"), str(folder / "model.onnx"), str(port)]
    with (folder / "log.txt").open("w+") as log:
        process = subprocess.Popen(command, env=child_environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            for _ in range(600):
                try:
                    requests.get(f"http://127.0.0.1:{port}/", timeout=120)
                    break
                except requests.ConnectionError:
                    assert process.poll() is None, (folder / "log.txt").read_text()
                    time.sleep(0.1)
            yield f"http://127.0.0.1:{port}/predict"
        finally:
            process.terminate()
            process.wait(30)


def photo(pixels):
    content = io.BytesIO()
    Image.fromarray(pixels[:, :, 0]).save(content, "png")
    return content.getvalue()


def post(url, content):
    return requests.post(url, data=content, timeout=120)


def test_200_requests_8_at_a_time_are_answered_as_keras_does(url, digits):
    images = digits.images[np.arange(200) % len(digits)]
    model = kzoo.create_model("mnist_net", weights="mnist")
    wanted = np.asarray(model(images.astype("float32"))).argmax(axis=1)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda pixels: post(url, photo(pixels)), images))
    assert [answer.status_code for answer in answers] == [200] * 200
    assert [answer.json()["top"][0]["index"] for answer in answers] == wanted.tolist()


def test_bad_uploads_are_refused_in_a_line_between_good_ones(url, digits):
    good = photo(digits.images[0])
    bad = [b"", b"no image", good[: len(good) // 2], b"\x89PNG\r\n\x1a\n" + bytes(1000)]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda content: post(url, content), [*bad, good] * 8))
    too_large = post(url, bytes(20_000_001))
    for number, answer in enumerate(answers):
        assert answer.status_code == (200 if number % 5 == 4 else 422)
        if answer.status_code == 422:
            assert "\n" not in answer.json()["detail"]
    assert too_large.status_code == 413

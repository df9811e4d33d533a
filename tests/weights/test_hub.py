"""Weights of the Hugging Face hub, by its own client, against a server on loopback that answers as the hub does."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from faulty_server import CONTENT, Handler, serving, status

REPOSITORY = "timm/resnet18.a1_in1k"
COMMIT = "0123456789abcdef" * 2 + "01234567"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
DAMAGED = CONTENT[:-1] + b"!"


def as_the_hub(content=CONTENT, sha256=SHA256, asked=None):
    """Answer HEAD and GET of a large file, whose sha256 is its ETag; what is asked for is put into `asked`."""

    def respond(handler):
        if asked is not None:
            asked.append((handler.command, handler.path))
        if handler.path != f"/{REPOSITORY}/resolve/main/model.safetensors":
            status(404)(handler)
            return
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{sha256}"', "Accept_Ranges": "bytes"}
        handler.start(200, len(content), **headers)
        if handler.command == "GET":
            handler.wfile.write(content)

    return respond


@pytest.fixture(autouse=True)
def _head(monkeypatch):
    monkeypatch.setattr(Handler, "do_HEAD", Handler.do_GET, raising=False)


@pytest.fixture
def kzoo(child_environment, tmp_path):
    """Run a command of kzoo in a process of its own, since the hub's client reads its settings when it is imported."""

    def run(*arguments, **environment):
        keep = {k: v for k, v in child_environment.items() if not k.startswith(("HF_", "KZOO_")) and "proxy" not in k}
        homes = {"HF_HOME": str(tmp_path / "hf"), "KZOO_HOME": str(tmp_path / "home")}
        command = [sys.executable, "-m", "kzoo", "weights", *map(str, arguments)]
        environment = {**keep, **homes, "HF_HUB_DISABLE_XET": "1", **environment}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)

    return run


def endpoint(server):
    return server.url.rpartition("/folder")[0]


def test_fetched_once_found_ever_after(kzoo, tmp_path):
    asked = []
    with serving(otherwise=as_the_hub(asked=asked)) as server:
        done = kzoo("fetch", "resnet18", "a1_in1k", HF_ENDPOINT=endpoint(server))
        assert done.returncode == 0, done.stderr
    assert asked.count(("GET", f"/{REPOSITORY}/resolve/main/model.safetensors")) == 1
    path = Path(done.stdout.strip())
    assert path.read_bytes() == CONTENT
    assert path.is_relative_to(tmp_path / "hf")
    again = kzoo("path", "resnet18", "imagenet", HF_HUB_OFFLINE="1")
    assert again.stdout == done.stdout
    verified = json.loads(kzoo("verify", "--json", HF_HUB_OFFLINE="1").stdout)["weights"]
    assert [(row["model"], row["tag"], row["right"], row["by"]) for row in verified] == [
        ("mnist_net", "mnist", True, "sha256"),  # which travels with kzoo
        ("resnet18", "a1_in1k", True, "hub"),
    ]


def test_damage_is_found_by_the_hub_s_sha256(kzoo):
    with serving(otherwise=as_the_hub()) as server:
        path = Path(kzoo("fetch", "resnet18", HF_ENDPOINT=endpoint(server)).stdout.strip())
    path.chmod(0o644)
    path.resolve().write_bytes(DAMAGED)
    done = kzoo("verify")
    assert done.returncode == 1
    for content in (DAMAGED, CONTENT):
        assert hashlib.sha256(content).hexdigest() in done.stderr
    assert kzoo("path", "resnet18").returncode == 1
    with serving(otherwise=as_the_hub()) as server:
        again = kzoo("fetch", "resnet18", HF_ENDPOINT=endpoint(server))
    assert again.stdout.strip() == str(path)
    assert path.read_bytes() == CONTENT


def test_a_blob_that_repositories_share(kzoo, tmp_path):
    """Newer clients link blobs/SHA256 to a store of all repositories, where it is called by another hash."""
    with serving(otherwise=as_the_hub()) as server:
        path = Path(kzoo("fetch", "resnet18", HF_ENDPOINT=endpoint(server)).stdout.strip())
    blob, shared = path.resolve(), tmp_path / "hf" / "hub" / "blobs" / "ab" / ("ab" * 32)
    assert blob.name == SHA256
    shared.parent.mkdir(parents=True)
    blob.rename(shared)
    blob.symlink_to(shared)
    assert kzoo("verify").returncode == 0
    shared.write_bytes(DAMAGED)
    assert kzoo("verify").returncode == 1
    with serving(otherwise=as_the_hub()) as server:
        assert kzoo("fetch", "resnet18", HF_ENDPOINT=endpoint(server)).returncode == 0
    assert path.read_bytes() == CONTENT
    assert not shared.exists()


def test_a_wrong_hash_is_refused_and_deleted(kzoo, tmp_path):
    with serving(otherwise=as_the_hub(DAMAGED)) as server:
        done = kzoo("fetch", "resnet18", HF_ENDPOINT=endpoint(server))
    assert done.returncode == 1
    assert SHA256 in done.stderr
    assert "was deleted" in done.stderr.splitlines()[-1]
    assert not [path for path in (tmp_path / "hf").rglob("*") if path.is_file() and path.stat().st_size >= len(CONTENT)]
    with serving(otherwise=as_the_hub()) as server:
        assert kzoo("fetch", "resnet18", HF_ENDPOINT=endpoint(server)).returncode == 0


@pytest.mark.parametrize("why", [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}])
def test_without_a_network_it_fails_at_once_and_says_what_to_do(why, kzoo):
    done = kzoo("fetch", "resnet18", **why)
    assert done.returncode == 1
    first, last = done.stderr.splitlines()  # no line of another attempt
    assert first == f"Fetching a1_in1k for resnet18 from huggingface.co/{REPOSITORY}"
    assert last.startswith("kzoo: Cannot fetch resnet18.a1_in1k/model.safetensors from the hub.")
    assert last.endswith("From a folder that has the files: kzoo weights fetch resnet18 a1_in1k --from DIR.")


def test_what_the_hub_does_not_have(kzoo):
    with serving(otherwise=status(404)) as server:
        done = kzoo("fetch", "resnet18", HF_ENDPOINT=endpoint(server))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("kzoo: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("layout", ["resnet18.a1_in1k/model.safetensors", "model.safetensors"])
def test_a_folder_that_somebody_brought(layout, kzoo, tmp_path):
    """A clone of the repository, the folder above it, or the file alone."""
    file = tmp_path / "brought" / layout
    file.parent.mkdir(parents=True)
    file.write_bytes(CONTENT)
    done = kzoo("fetch", "resnet18", "--from", tmp_path / "brought", HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    assert (
        f"No hash of resnet18.a1_in1k/model.safetensors is known: it is taken as it is (sha256 {SHA256})" in done.stderr
    )
    assert Path(done.stdout.strip()).read_bytes() == CONTENT
    assert kzoo("path", "resnet18", HF_HUB_OFFLINE="1").stdout == done.stdout


def test_a_search_folder_does_not_take_any_model_for_any_other(kzoo, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(CONTENT)
    done = kzoo("path", "resnet18", KZOO_WEIGHTS_PATH=str(tmp_path), HF_HUB_OFFLINE="1")
    assert done.returncode == 1
    assert "kzoo weights fetch resnet18 a1_in1k" in done.stderr

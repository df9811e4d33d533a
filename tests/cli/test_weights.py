"""`kzoo weights` at a terminal, in a pipe and with --json."""

import json

import pytest

import kzoo as package
from kzoo.cli import run as kzoo


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """An empty cache, and no network: every request would fail at once."""
    monkeypatch.setenv("KZOO_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KZOO_WEIGHTS_PATH", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    return tmp_path / "home"


def test_list(capfd, last_json, real_data, monkeypatch):
    monkeypatch.setenv("KZOO_WEIGHTS_PATH", str(real_data / "weights"))
    assert kzoo(["weights", "list", "resnet20*"]) == 0
    assert capfd.readouterr().out.splitlines() == [
        "model\ttag\tnote\tclasses\ttop-1\tstated by\tsize\ton disk",
        "resnet20_cifar\tcifar10\t-\t10\t91.73 %\takamaster's page\t1.1 MB\tyes",
    ]
    assert kzoo(["weights", "list", "--json"]) == 0
    rows = last_json()["weights"]
    assert [(row["model"], row["tag"]) for row in rows] == [(r.model, r.tag) for r in package.list_weights()]
    [row] = [row for row in rows if row["model"] == "resnet20_cifar"]
    assert row["path"] == str(real_data / "weights" / "resnet20-12fca82f.th")
    assert (row["accuracy"]["top1"], row["accuracy"]["measured"], row["licence"]) == (0.9173, False, "BSD-2-Clause")
    assert row["files"][0]["sha256"].startswith("12fca82f")
    assert [row["tag"] for row in rows if row["imagenet"] and row["model"] == "resnet50_v1_5"] == ["tv2_in1k"]


def test_a_licence_that_forbids_commercial_use_is_repeated(tmp_path, capfd):
    assert kzoo(["weights", "fetch", "resnet18", "fb_swsl_ig1b_ft_in1k", "--from", str(tmp_path)]) == 1
    assert "the licence CC-BY-NC-4.0 forbids commercial use (https://github.com/facebook" in capfd.readouterr().err
    assert kzoo(["weights", "fetch", "resnet18", "imagenet", "--from", str(tmp_path)]) == 1
    assert "'a1_in1k' of resnet18" in (err := capfd.readouterr().err)
    assert "commercial use" not in err


def test_fetch_from_a_folder_then_path_and_verify(capfd, last_json, real_data, home):
    source = str(real_data / "weights")
    assert kzoo(["weights", "fetch", "resnet20_cifar", "cifar10", "--from", source]) == 0
    path = home / "weights" / "resnet20_cifar" / "cifar10" / "resnet20-12fca82f.th"
    assert capfd.readouterr().out == f"{path}\n"
    assert kzoo(["weights", "fetch", "inception_v1", "imagenet", "--from", source, "--json"]) == 0
    assert last_json() == {
        "model": "inception_v1",
        "tag": "bvlc_in1k",
        "path": str(home / "weights" / "inception_v1" / "bvlc_in1k" / "bvlc_googlenet"),
    }
    assert kzoo(["weights", "path", "resnet20_cifar"]) == 0
    assert capfd.readouterr().out == f"{path}\n"
    assert kzoo(["weights", "verify"]) == 0
    assert [line.split("\t")[:4] for line in capfd.readouterr().out.splitlines()[1:]] == [
        ["inception_v1", "bvlc_in1k", "yes", "sha256"],
        ["mnist_net", "mnist", "yes", "sha256"],
        ["resnet20_cifar", "cifar10", "yes", "sha256"],
    ]

    damaged = path.read_bytes().replace(b"state_dict", b"state_dicT")
    path.write_bytes(damaged)
    assert kzoo(["weights", "verify", "resnet*", "--json"]) == 1
    printed = capfd.readouterr()
    [row] = json.loads(printed.out.splitlines()[-1])["weights"]
    assert (row["right"], row["path"]) == (False, str(path))
    assert "Expected: 12fca82f0bebc4135bf1f32f6e3710e61d5108578464b84fd6d7f5c1b04036c8" in row["problem"]
    assert printed.err.splitlines()[-1].startswith(
        "kzoo: 1 of 1 weights are not right. resnet20-12fca82f.th has the wrong"
    )
    assert kzoo(["weights", "fetch", "resnet20_cifar", "--from", source]) == 0  # in the damaged file's place
    assert kzoo(["weights", "verify", "resnet20_cifar", "cifar10"]) == 0


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ("path resnet20_cifar", 1, "Fetch them: kzoo weights fetch resnet20_cifar cifar10 (from a folder"),
        ("verify resnet20_cifar cifar10", 1, "kzoo weights fetch resnet20_cifar cifar10"),
        ("fetch resnet44_cifar cifar10", 1, "Cannot fetch resnet44-014dd654.th."),
        ("fetch resnet20_cifar cifar100", 2, "Did you mean 'cifar10'? Valid: cifar10."),
        ("fetch resnet20 cifar10", 2, "Unknown model with pretrained weights. Received: 'resnet20'."),
        ("fetch resnet20_cifar --from no_such", 2, "--from must be a folder. Received: 'no_such'"),
        ("fetch resnet20_cifar --from .", 1, "Missing: 'resnet20-12fca82f.th'"),
        ("fetch", 2, "requires an argument"),
        ("list plain*", 2, "Unknown model with pretrained weights. Received: 'plain*'"),
        ("verify vgg61", 2, "Unknown model with pretrained weights. Received: 'vgg61'"),
        ("get resnet18", 2, 'Unknown command "get"'),
    ],
)
def test_one_line_for_what_cannot_be_done(arguments, status, said, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert kzoo(["weights", *arguments.split()]) == status
    printed = capfd.readouterr()
    assert said in printed.err.splitlines()[-1]
    assert "Traceback" not in printed.err


def test_nothing_on_disk_is_nothing_wrong(capfd):
    assert kzoo(["weights", "verify", "resnet*"]) == 0
    assert capfd.readouterr().out == "model\ttag\tright\tby\tpath\n"

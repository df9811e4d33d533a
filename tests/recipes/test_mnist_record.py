"""The tables of mnist_record.py, and the whole of it on the digits."""

import pytest

import mnist_record as recipe


def test_a_single_model_has_its_interval_and_several_have_their_range():
    nets = [{"accuracy": 0.995, "images": 10_000}, {"accuracy": 0.9962, "images": 10_000}]
    mean = [{"accuracy": 0.9975, "images": 10_000, "interval": [0.9963, 0.9983]}]
    assert recipe.results({"one net": nets, "average of 2": mean}).splitlines()[2:] == [
        "| one net | 99.56 (99.50 to 99.62) | - | 38 to 50 |",
        "| average of 2 | 99.75 | 99.63 to 99.83 | 25 |",
    ]


@pytest.mark.slow
def test_the_members_are_averaged_and_the_test_images_are_read_at_the_end(tmp_path, monkeypatch):
    common = ["--dataset", "digits", "--epochs", "3", "--runs", str(tmp_path / "runs"), "--output", str(tmp_path)]
    for what in ("choose", "measure"):
        monkeypatch.setattr("sys.argv", ["mnist_record.py", what, "--members", "2", *common])
        recipe.main()
    lines = (tmp_path / "mnist_record.md").read_text().splitlines()
    assert sum(line.startswith("| average of 2 | ") for line in lines) == 1
    assert (tmp_path / "mnist_record.png").stat().st_size > 1000

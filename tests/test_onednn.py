"""Whether oneDNN is on: by the flags of a CPU, by the user's setting, and as TensorFlow itself says."""

import json
from dataclasses import replace

import pytest

import kzoo
from kzoo.onednn import DEFAULT_ON, VARIABLE, choose, will_be_on

AVX2 = {"fpu", "avx", "avx2", "fma"}
OLD_LAPTOP = "model name\t: Core i5\nflags\t\t: fpu avx avx2 fma\n"
# What TensorFlow finds in the environment at its import, then what it says itself.
SEEN = """
import os, sys
from pathlib import Path
class Spy:
    def find_spec(name, *_):
        if name == "tensorflow":
            print("imported with", os.environ.get("TF_ENABLE_ONEDNN_OPTS"))
sys.meta_path.insert(0, Spy)
from kzoo import hardware
hardware.CPUINFO = Path(sys.argv[1])
"""
IN_FORCE = "from tensorflow.python.util._pywrap_util_port import IsMklEnabled; print('in force', IsMklEnabled())"


@pytest.fixture
def laptop(tmp_path, child_environment):
    """The path of a /proc/cpuinfo of a CPU without VNNI, and an environment where the user has set nothing."""
    path = tmp_path / "cpuinfo"
    path.write_text(OLD_LAPTOP)
    return path, {name: value for name, value in child_environment.items() if name != VARIABLE}


@pytest.mark.parametrize(
    ("flags", "environment", "chosen", "on"),
    [
        (AVX2, {}, "1", True),
        (AVX2, {VARIABLE: ""}, "1", True),  # TensorFlow takes it for not set
        (AVX2 | {"avx512f", "avx512bw"}, {}, "1", True),
        *((AVX2 | {flag}, {}, None, True) for flag in DEFAULT_ON),
        (AVX2, {VARIABLE: "0"}, None, False),
        (AVX2, {VARIABLE: "FALSE"}, None, False),
        (AVX2, {VARIABLE: "1"}, None, True),
        (AVX2, {VARIABLE: "maybe"}, None, False),  # TensorFlow's default, and it says so
        (AVX2 | {"avx_vnni"}, {VARIABLE: "0"}, None, False),
        ({"asimd", "bf16"}, {}, None, None),  # Arm
        (set(), {}, None, None),  # not Linux
    ],
)
def test_by_flags(flags, environment, chosen, on):
    assert choose(environment, flags) == chosen
    assert will_be_on({**environment, **({VARIABLE: chosen} if chosen else {})}, flags) is on


@pytest.mark.parametrize("way", ["import kzoo.backend", "from kzoo import chatter; chatter.tensorflow()"])
def test_it_is_set_before_tensorflow_is_imported(laptop, fresh_python, way):
    path, environment = laptop
    done = fresh_python(f"{SEEN}\n{way}\n{IN_FORCE}", path, env=environment)
    assert done.stdout.splitlines() == ["imported with 1", "in force True"]


def test_the_user_s_setting_stays(laptop, fresh_python):
    path, environment = laptop
    code = (
        f"{SEEN}\nfrom kzoo import onednn\nimport kzoo.backend\n{IN_FORCE}\nprint(onednn.is_on(), onednn.explanation())"
    )
    done = fresh_python(code, path, env={**environment, VARIABLE: "0"})
    assert done.stdout.splitlines() == ["imported with 0", "in force False", f"False off, by {VARIABLE}=0"]


def test_where_tensorflow_was_imported_first_a_line_says_so(laptop, fresh_python):
    """On this CPU it may be on; `TF_ENABLE_ONEDNN_OPTS=0`, taken back after the import, plays a CPU where it is not."""
    path, environment = laptop
    code = f"{SEEN}\nimport tensorflow\ndel os.environ['{VARIABLE}']\nfrom kzoo import onednn\nimport kzoo.backend"
    code += "\nprint(os.environ.get('TF_ENABLE_ONEDNN_OPTS'), onednn.is_on(), *onednn.advice(), sep='|')"
    done = fresh_python(code, path, env={**environment, VARIABLE: "0"})
    value, on, advice = done.stdout.splitlines()[1].split("|")
    assert (value, on) == ("None", "False")
    assert advice.startswith(
        f"oneDNN is off: TensorFlow was imported before kzoo. Set {VARIABLE}=1 before Python starts"
    )


def test_a_run_goes_on_with_what_it_began_with(tmp_path, child_environment, fresh_python):
    from kzoo.train import runs
    from kzoo.train.record import DataRecord, DataSource, RunRecord, ZooModel

    train = kzoo.train.TrainConfig(epochs=1, precision="float32", strategy="one")
    run = tmp_path / "run"
    run.mkdir()
    runs.create(run, RunRecord(model=ZooModel("mnist_net"), data=DataRecord(DataSource("digits")), train=train))
    record = runs.read_record(run)
    assert record.origin
    runs.write_record(run, replace(record, origin=replace(record.origin, onednn=False)))
    code = f"import sys\nfrom kzoo.cli import run\nassert run(['train', '--resume', sys.argv[1]]) == 0\n{IN_FORCE}"
    done = fresh_python(code, run, env={**child_environment, VARIABLE: "1"})
    assert done.stdout.splitlines()[-1] == "in force False"
    assert f"{VARIABLE}=1 is not used: this run began with 0, and its bits depend on it" in done.stderr
    assert "not as this run began" not in done.stderr
    assert json.loads((run / "config.json").read_text())["origin"]["onednn"] is False

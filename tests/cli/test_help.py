"""The help of the commands with many flags, and what is said of flags that other programs have."""

import re
import subprocess
import sys

import pytest

from kzoo.cli import run as kzoo
from kzoo.cli._help import GROUPS, SYNONYMS


@pytest.fixture
def help_of(child_environment):
    """A command's help on a wide terminal; in a process of its own, since a console keeps the width it began with."""

    def run(command):
        arguments = [sys.executable, "-m", "kzoo", command, "--help"]
        environment = {**child_environment, "COLUMNS": "160"}
        return subprocess.run(arguments, capture_output=True, text=True, check=True, env=environment, timeout=60).stdout

    return run


def groups_of(text):
    """The flags of a command's help by the title of their panel."""
    found, title = {}, None
    for line in text.splitlines():
        if panel := re.match("╭─ (.*?) ─", line):
            title = panel[1]
        elif flag := re.match(r"│ +(--[a-z-]+)", line):
            found.setdefault(title, []).append(flag[1])
    return found


@pytest.mark.parametrize("command", ["train", "finetune", "search"])
def test_flags_stand_in_groups(command, help_of):
    found = groups_of(help_of(command))
    flags = [flag for group in found.values() for flag in group]
    assert len(set(flags)) == len(flags) > 30
    assert set(found) <= {*GROUPS, "Run and output"}
    for title, names in GROUPS.items():
        here = {f"--{name.replace('_', '-')}" for name in names.split()} & set(flags)
        assert here == set(found.get(title, ()))
    # What no group names; a new flag that belongs elsewhere shows up here.
    others = {"--resume", "--from-search", "--config", "--run-dir", "--overwrite", "--checkpoint-seconds", "--json"}
    assert set(found["Run and output"]) <= others


def test_the_suggested_flags_are_there(help_of):
    found = [groups_of(help_of(command)) for command in ("train", "finetune", "search")]
    flags = {flag for groups in found for group in groups.values() for flag in group}
    assert {f"--{name}" for name in SYNONYMS} <= flags


def test_texts_are_paragraphs_and_defaults_are_said_once(help_of):
    said = help_of("train")
    assert "Train on the validation images too; the model of the last epoch is then the best. " in said
    assert "[default: False]" not in said
    assert "[default: ()]" not in said
    assert "[default: auto]" in said
    assert "Run and output" not in help_of("doctor")


@pytest.mark.parametrize(
    ("flags", "meant"),
    [
        ("--lr 0.1", "--learning-rate"),
        ("--lr=0.1", "--learning-rate"),
        ("--LR 0.1", "--learning-rate"),
        ("--bs 32", "--batch-size"),
        ("-b 32", "--batch-size"),
        ("--wd 0.1", "--weight-decay"),
        ("--opt sgd", "--optimizer"),
        ("--epoch 3", "--epochs"),
        ("--clipnorm 1", "--clip-norm"),
        ("--img_size 32", "--image-size"),
        ("--gpus 1", "--devices"),
    ],
)
def test_what_other_programs_call_a_flag(flags, meant, capsys):
    assert kzoo(["train", "mnist_net", "digits", *flags.split()]) == 2
    typed = flags.split("=")[0].split()[0]
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"kzoo: Unknown option: {typed}")
    assert f"Did you mean {meant}?" in line


def test_a_flag_that_the_command_does_not_have_is_not_suggested(capsys):
    assert kzoo(["evaluate", "runs/a", "--lr", "0.1"]) == 2
    assert "--learning-rate" not in capsys.readouterr().err


def test_names_are_of_one_flag():
    names = [name for others in SYNONYMS.values() for name in others.split()]
    assert len(set(names)) == len(names)
    assert not set(names) & set(SYNONYMS)


def test_completion_is_installed_for_a_shell(tmp_path, child_environment, fresh_python):
    code = "from kzoo.cli import main; main(['--install-completion', '--shell', 'bash'])"
    fresh_python(code, env={**child_environment, "HOME": str(tmp_path)})
    [script] = [path for path in tmp_path.rglob("kzoo") if path.is_file()]
    assert "--learning-rate" in script.read_text()
    assert str(script) in (tmp_path / ".bashrc").read_text()

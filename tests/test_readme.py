"""The README's examples run, and its commands exist."""

import re
import shlex
from pathlib import Path

import pytest

from kzoo.cli.commands import app

README = (Path(__file__).resolve().parent.parent / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = re.findall(
    r"^(?:\$ )?(kzoo [a-z][^`\n]*)", "\n".join(re.findall(r"```console\n(.*?)```", README, re.DOTALL)), re.MULTILINE
)


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_example(example, fresh_python, tmp_path):
    fresh_python(example, cwd=tmp_path)


def test_the_first_example_classifies(fresh_python, tmp_path):
    lines = fresh_python(EXAMPLES[0], cwd=tmp_path).stdout.splitlines()
    assert float(lines[0].split("%")[0]) > 95
    assert len(lines) == 4


def test_there_are_commands():
    named = {command.split()[1] for command in COMMANDS}
    assert named >= {"train", "finetune", "search", "evaluate", "predict", "weights"}


@pytest.mark.parametrize("command", COMMANDS)
def test_command_parses(command):
    arguments = shlex.split(command.split("#")[0].split(" > ")[0])[1:]
    app.parse_args(arguments, exit_on_error=False, print_error=False)

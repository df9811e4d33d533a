"""The commit of a checkout, as git itself says it, and nothing that a repository's configuration names is run."""

import os
import subprocess

import pytest

from kzoo.train.checkout import commit_of
from kzoo.train.record import origin

GIT = ["git", "-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "protocol.file.allow=always"]


@pytest.fixture
def git(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)

    def run(*arguments, folder=tmp_path):
        done = subprocess.run([*GIT, "-C", folder, *arguments], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    run("init", "-q")
    run("commit", "-q", "--allow-empty", "-m", "first")
    return run


def test_the_commit_is_recorded(git, tmp_path, monkeypatch):
    head = git("rev-parse", "HEAD")
    (tmp_path / "photos" / "cats").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "photos" / "cats")
    assert origin().commit == head


def test_as_git_says(git, tmp_path):
    git("checkout", "-q", "-b", "feature/one")
    git("commit", "-q", "--allow-empty", "-m", "second")
    second = git("rev-parse", "HEAD")
    assert commit_of(tmp_path) == second
    git("pack-refs", "--all")
    assert commit_of(tmp_path) == second
    git("checkout", "-q", "--detach", "HEAD~1")
    assert commit_of(tmp_path) == git("rev-parse", "HEAD") != second
    git("worktree", "add", "-q", "other", "feature/one")
    git("commit", "-q", "--allow-empty", "-m", "third", folder=tmp_path / "other")
    assert commit_of(tmp_path / "other") == git("rev-parse", "HEAD", folder=tmp_path / "other") != second


def test_of_a_submodule(git, tmp_path):
    git("init", "-q", "library")
    git("commit", "-q", "--allow-empty", "-m", "of the library", folder=tmp_path / "library")
    git("submodule", "add", "-q", tmp_path / "library", "used")
    assert commit_of(tmp_path / "used") == git("rev-parse", "HEAD", folder=tmp_path / "used")


def test_there_is_none(tmp_path, git):
    git("init", "-q", "empty")
    assert commit_of(tmp_path / "empty") is None  # a branch without a commit, not the checkout around it


def test_no_program_that_a_repository_names_is_run(git, tmp_path, monkeypatch):
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\ntouch ran\n")
    program.chmod(0o755)
    (tmp_path / "photo.txt").write_text("a photo")
    (tmp_path / ".gitattributes").write_text("*.txt filter=door diff=door\n")
    git("add", "photo.txt")
    git("commit", "-q", "-m", "second")
    for name in ("core.fsmonitor", "filter.door.clean", "diff.door.command", "core.pager", "core.sshCommand"):
        git("config", name, str(program))
    (tmp_path / "photo.txt").write_text("another")
    head = git("rev-parse", "HEAD")
    (tmp_path / "ran").unlink(missing_ok=True)
    monkeypatch.chdir(tmp_path)
    assert origin().commit == head
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "head",
    [
        "ref: refs/../../../secret",
        "ref: ../../secret",
        "ref: /etc/passwd",
        "root:x:0:0",
        "ref: refs/heads/\x00",
        b"\xff\xfe",
        "f" * 41,
        "a" * (1 << 25),
        "",
    ],
)
def test_what_git_does_not_write(tmp_path, head):
    (tmp_path / ".git").mkdir()
    (tmp_path / "secret").write_text("f" * 40)
    (tmp_path / ".git" / "HEAD").write_bytes(head if isinstance(head, bytes) else head.encode())
    assert commit_of(tmp_path) is None


def test_a_pipe_or_a_loop(tmp_path):
    (tmp_path / ".git").mkdir()
    os.mkfifo(tmp_path / ".git" / "HEAD")
    assert commit_of(tmp_path) is None
    (tmp_path / ".git" / "HEAD").unlink()
    (tmp_path / ".git" / "HEAD").symlink_to("HEAD")
    assert commit_of(tmp_path) is None
    (tmp_path / ".git" / "HEAD").unlink()
    (tmp_path / ".git" / "HEAD").symlink_to("/dev/zero")
    assert commit_of(tmp_path) is None

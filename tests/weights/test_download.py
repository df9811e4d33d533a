"""The faults of networks, servers, disks and processes: each injected by a real server or process, and survived."""

import gzip
import hashlib
import itertools
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from faulty_server import (
    CONTENT,
    answer,
    cut,
    file_at,
    ignore_range,
    other,
    pack_if_allowed,
    record_of,
    redirect,
    serving,
    stall,
    status,
    web_page,
    whole,
    without_length,
)

from kzoo.errors import WeightsError
from kzoo.weights import download, locations, store

WORKER = Path(__file__).with_name("fetch_worker.py")
DAMAGED = CONTENT[:-1] + b"!"
CHUNK = download.CHUNK


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("KZOO_HOME", str(tmp_path / "home"))
    for name in ("KZOO_WEIGHTS_PATH", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(download, "SECONDS_BEFORE_RETRY", 0.001)


def fetch(server, **changes):
    return store.fetch(record_of(file_at(server.url, server.content, **changes)))


def kept():
    """The names of what lies in the cache, the lock left out."""
    return sorted(path.name for path in locations.home().rglob("*") if path.is_file() and path.name != ".lock")


def whole_file_alone(path):
    assert path.read_bytes() == CONTENT
    assert kept() == ["weights.bin"]


@pytest.mark.parametrize(
    ("faults", "ranges"),
    [
        pytest.param([], [None], id="none"),
        pytest.param([cut(5 * CHUNK)], [None, f"bytes={5 * CHUNK}-"], id="cut"),
        pytest.param([cut(0)], [None, None], id="cut at once"),
        pytest.param([cut(2 * CHUNK)] * 7, [None] + [f"bytes={2 * i * CHUNK}-" for i in range(1, 8)], id="cut often"),
        pytest.param([cut(5 * CHUNK), ignore_range], [None, f"bytes={5 * CHUNK}-"], id="range ignored"),
        pytest.param([status(500), status(503)], [None] * 3, id="busy"),
        pytest.param([cut(CHUNK), status(429)], [None] + [f"bytes={CHUNK}-"] * 2, id="too many requests"),
        pytest.param([without_length(CONTENT)], [None], id="no length"),
        pytest.param([without_length(CONTENT[:CHUNK])], [None, f"bytes={CHUNK}-"], id="cut without length"),
        pytest.param([pack_if_allowed], [None], id="a server that likes to pack"),
        pytest.param([redirect("elsewhere.bin")], [None, None], id="redirect"),
        pytest.param([stall(CHUNK)], [None, f"bytes={CHUNK}-"], id="stall"),
    ],
)
def test_faults_that_pass(faults, ranges, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", (5.0, 0.5))
    with serving(*faults) as server:
        whole_file_alone(fetch(server))
        assert server.ranges == ranges
        fetch(server)
        assert server.ranges == ranges  # what is here is not asked for again


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        pytest.param([status(404)], "does not give weights.bin. Received: status 404", id="absent"),
        pytest.param([status(403)], "status 403", id="forbidden"),
        pytest.param([web_page], "a web page instead of weights.bin. Received: text/html", id="web page"),
        pytest.param(
            [other(CONTENT[:-1])], "another file of the name weights.bin. Received: 1,048,575 bytes", id="short"
        ),
        pytest.param([other(CONTENT + b"!")], "Received: 1,048,577 bytes", id="long"),
        pytest.param([without_length(CONTENT * 2)], "Received: more than 1,048,576 bytes", id="endless"),
        pytest.param(
            [answer(200, Content_Encoding="gzip")], "packs weights.bin. Received: Content-Encoding gzip", id="packed"
        ),
        pytest.param(
            [cut(CHUNK), answer(206, Content_Range=f"bytes 7-{len(CONTENT)}/{len(CONTENT)}")],
            "another part of weights.bin than the one asked for",
            id="another part",
        ),
        pytest.param([redirect("ftp://127.0.0.1/weights.bin")], "Cannot fetch weights.bin", id="redirected to ftp"),
        pytest.param([redirect("file:///etc/passwd")], "Cannot fetch weights.bin", id="redirected to a file"),
        pytest.param([redirect("weights.bin")] * 40, "Exceeded 30 redirects", id="redirected for ever"),
        pytest.param([status(500)] * 5, r"Received: status 500 from http://127", id="always busy"),
        pytest.param([cut(0)] * 5, "Received: a cut connection from http://127", id="always cut"),
    ],
)
def test_faults_that_do_not_pass_are_one_line(faults, said):
    with serving(*faults) as server, pytest.raises(WeightsError) as error:
        fetch(server)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert "weights.bin" not in kept()


def test_a_wrong_hash_is_refused_and_deleted_and_both_are_shown():
    with serving(content=DAMAGED) as server, pytest.raises(WeightsError) as error:
        store.fetch(record_of(file_at(server.url, CONTENT)))
    for content in (DAMAGED, CONTENT):
        assert hashlib.sha256(content).hexdigest() in str(error.value)
    assert "deleted" in str(error.value)
    assert kept() == []


@pytest.mark.parametrize(
    ("kind", "right"),
    [
        ("sha256_prefix", hashlib.sha256(CONTENT).hexdigest()[:8]),
        ("md5", hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()),
    ],
)
def test_the_other_checks(kind, right):
    only = {"size": None} | ({} if kind == "sha256" else {"sha256": None})
    wrong = right[:-1] + ("0" if right[-1] != "0" else "1")
    with serving() as server:
        with pytest.raises(WeightsError, match="has the wrong content"):
            fetch(server, **only, **{kind: wrong})
        assert kept() == []
        whole_file_alone(fetch(server, **only, **{kind: right}))


@pytest.mark.parametrize("left", [b"x" * 1000, b"x" * (len(CONTENT) - 1), b"x" * len(CONTENT), b"x" * 2 * len(CONTENT)])
def test_what_was_left_of_another_file_is_not_mixed_in(left):
    """A hidden part of any length that is not the beginning of this file costs a second download, never a wrong one."""
    with serving() as server:
        part = locations.cache_folder(record_of(file_at(server.url))) / ".weights.bin.part"
        part.parent.mkdir(parents=True)
        part.write_bytes(left)
        whole_file_alone(fetch(server))


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_what_was_left_whole_is_not_fetched_again(size):
    """Killed after the last byte and before it had its name."""
    with serving() as server:
        part = locations.cache_folder(record_of(file_at(server.url))) / ".weights.bin.part"
        part.parent.mkdir(parents=True)
        part.write_bytes(CONTENT)
        whole_file_alone(fetch(server, size=size))
        assert server.ranges == ([] if size else [f"bytes={len(CONTENT)}-"])


def test_a_cut_that_lasts_keeps_what_came_for_the_next_call():
    with serving(cut(3 * CHUNK), *[cut(0)] * 4) as server:
        with pytest.raises(WeightsError, match=f"{3 * CHUNK:,} bytes are kept"):
            fetch(server)
        assert kept() == [".weights.bin.part"]
        whole_file_alone(fetch(server))
        assert server.ranges[-1] == f"bytes={3 * CHUNK}-"


def test_nobody_answers(capfd):
    with serving() as server:
        gone = file_at(server.url)
    with pytest.raises(WeightsError, match=r"Connection refused.*kzoo weights fetch test_net test --from DIR"):
        store.fetch(record_of(gone))
    assert "trying again" not in capfd.readouterr().err  # who is offline need not wait to be told so


@pytest.fixture
def certificate(tmp_path):
    """A certificate for 127.0.0.1 that nobody else knows, and its key."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    if shutil.which("openssl") is None or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs openssl to make a certificate")
    return certificate, key


def test_an_unprotected_redirection_is_refused(certificate, monkeypatch):
    """From https to http: whoever sits on the line could answer."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))
    with serving() as plain, serving(redirect(plain.url), tls=certificate) as protected:
        with pytest.raises(WeightsError, match="Refused an unprotected redirection"):
            fetch(protected)
        assert kept() == []
        whole_file_alone(fetch(protected))


def test_a_certificate_that_nobody_knows_is_refused_at_once(certificate, monkeypatch, capfd):
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    with serving(tls=certificate) as server, pytest.raises(WeightsError, match="certificate verify failed"):
        fetch(server)
    assert "trying again" not in capfd.readouterr().err
    assert kept() == []


def worker(server, environment, *limit):
    arguments = [server.url, len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), *limit]
    command = [sys.executable, WORKER, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


@pytest.fixture
def environment(child_environment, tmp_path):
    return {**child_environment, "KZOO_HOME": str(tmp_path / "home"), "no_proxy": "127.0.0.1"}


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_download_that_was_killed_goes_on(environment):
    with serving(stall(5 * CHUNK + 100)) as server:
        part = locations.cache_folder(record_of(file_at(server.url))) / ".weights.bin.part"
        with worker(server, environment) as killed:
            wait_until(lambda: part.exists() and part.stat().st_size >= 5 * CHUNK)
            killed.send_signal(signal.SIGKILL)
        assert killed.returncode == -signal.SIGKILL
        assert kept() == [".weights.bin.part"]
        whole_file_alone(fetch(server))
        assert server.ranges == [None, f"bytes={5 * CHUNK}-"]


def test_a_download_that_is_killed_again_and_again_arrives(environment):
    """Each process gets a little further before it is killed."""
    steps = [3, 4, 7, 8, 12]  # chunks that have been written at each kill
    with serving(*[stall(CHUNK * (b - a) + 1) for a, b in itertools.pairwise([0, *steps])]) as server:
        part = locations.cache_folder(record_of(file_at(server.url))) / ".weights.bin.part"
        for step in steps:
            with worker(server, environment) as killed:
                wait_until(lambda step=step: part.exists() and part.stat().st_size >= step * CHUNK)
                killed.kill()
        whole_file_alone(fetch(server))
    assert server.ranges == [None, *(f"bytes={step * CHUNK}-" for step in steps)]


def test_who_waits_goes_on_for_who_was_killed(environment):
    with serving(stall(2 * CHUNK + 1)) as server:
        part = locations.cache_folder(record_of(file_at(server.url))) / ".weights.bin.part"
        with worker(server, environment) as first:
            wait_until(lambda: part.exists() and part.stat().st_size >= 2 * CHUNK)
            with worker(server, environment) as second:
                assert second.stderr
                assert "Another process is writing to" in second.stderr.readline()
                first.kill()
                printed, _ = second.communicate(timeout=60)
        whole_file_alone(Path(printed.strip()))
        assert server.ranges == [None, f"bytes={2 * CHUNK}-"]


def test_of_two_processes_one_fetches_and_both_have_it(environment):
    with serving(stall(CHUNK)) as server:
        with worker(server, environment) as first:
            wait_until(lambda: server.ranges)
            with worker(server, environment) as second:
                assert second.stderr
                assert "Another process is writing to" in second.stderr.readline()
                server.go_on.set()
                printed = [process.communicate(timeout=60)[0] for process in (first, second)]
        assert [first.returncode, second.returncode] == [0, 0]
        assert printed[0] == printed[1]
        whole_file_alone(Path(printed[0].strip()))
        assert server.ranges == [None]


def test_a_full_disk_is_one_line_and_does_not_stay_full(environment):
    """The system refuses to write on, here by a limit on the size of files."""
    with serving() as server, worker(server, environment, 300_000) as process:
        printed, errors = process.communicate(timeout=60)
    assert process.returncode == 1, errors
    assert "Received: File too large, while writing to" in printed
    assert "set KZOO_HOME to a folder on another disk" in printed
    assert kept() == []


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 512 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("may not mount a file system here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("fault", [whole, without_length(CONTENT)])
def test_a_disk_that_is_too_small(fault, small_disk, monkeypatch):
    """Where the size is known nothing is fetched; where it is not, what came is deleted when the disk is full."""
    monkeypatch.setenv("KZOO_HOME", str(small_disk))
    with serving(fault) as server, pytest.raises(WeightsError) as error:
        fetch(server, size=None)
    assert ("too full" if fault is whole else "No space left on device") in str(error.value)
    assert "set KZOO_HOME" in str(error.value)
    assert kept() == []


def test_a_server_that_claims_too_much():
    """More than any disk has."""
    with serving(answer(200, Content_Length=str(10**17))) as server, pytest.raises(WeightsError, match="too full"):
        fetch(server, size=None)


def test_progress_goes_to_standard_error_and_only_while_it_lasts(capfd, monkeypatch):
    from kzoo import console

    monkeypatch.setattr(console, "SECONDS_BETWEEN_LINES", 0.0)
    content = bytes(5_000_000)
    with serving(content=content) as server:
        store.fetch(record_of(file_at(server.url, content)))
    printed = capfd.readouterr()
    assert printed.out == ""
    assert f"Fetching test for test_net from {server.url}\n" in printed.err
    assert "Fetching weights.bin, MB 4/5 (0 s left)\n" in printed.err


def test_many_files_are_counted_and_only_what_is_missing_is_fetched(capfd):
    with serving() as server:
        record = record_of(*(file_at(server.url, name=f"set/{i}.bin") for i in range(5)))
        folder = store.fetch(record)
        assert folder == locations.cache_folder(record) / "set"
        assert len(server.ranges) == 5
        (folder / "3.bin").write_bytes(DAMAGED)
        (folder / "4.bin").unlink()
        assert store.find(record) is None
        assert store.fetch(record) == folder == store.find(record)
        assert len(server.ranges) == 7
    assert kept() == [f"{i}.bin" for i in range(5)]


def test_a_packed_answer_is_not_unpacked():
    """A small file could become one that fills the disk."""
    bomb = gzip.compress(bytes(10_000_000))
    with serving(answer(200, Content_Encoding="gzip", Content_Type="application/octet-stream"), content=bomb) as server:
        with pytest.raises(WeightsError, match="packs"):
            fetch(server)
        assert kept() == []

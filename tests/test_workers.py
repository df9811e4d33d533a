"""What is found before training: a wrong TF_CONFIG, ports, workers that differ. Most start real processes."""

import json
import os
import socket
import subprocess
import sys

import pytest

from kzoo import launching, workers
from kzoo.errors import InvalidArgument

TRAIN = ["-m", "kzoo", "train", "mnist_net", "digits", "--precision", "float32"]


def ends_of(commands, configs, environments):
    """The exit status and the last line of each process, all at the same time."""
    processes = [
        subprocess.Popen(
            [sys.executable, *command], env={**environment, workers.TF_CONFIG: config},
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        )
        for command, config, environment in zip(commands, configs, environments, strict=True)
    ]  # fmt: skip
    try:
        said = [process.communicate(timeout=100)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return [(process.returncode, text.splitlines()) for process, text in zip(processes, said, strict=True)]


def addresses_and_configs(count):
    addresses = [f"localhost:{port}" for port in launching.free_ports(count)]
    return addresses, [workers.config_of(addresses, index) for index in range(count)]


def test_an_evaluator_and_a_parameter_server_are_no_workers():
    for job in ("evaluator", "ps"):
        text = json.dumps({"cluster": {"worker": ["a:1"], job: ["b:1"]}, "task": {"type": "worker", "index": 0}})
        with pytest.raises(InvalidArgument, match=f"the jobs are chief and worker, not {job}"):
            workers.read_cluster(text)


def test_the_chief_comes_first():
    jobs = {"worker": ["b:1", "c:1"], "chief": ["a:1"]}
    found = workers.read_cluster(json.dumps({"cluster": jobs, "task": {"type": "worker", "index": 1}}))
    assert found == workers.Cluster(("a:1", "b:1", "c:1"), 2)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "it is no JSON object"),
        ("[]", "it is no JSON object"),
        ('{"cluster": {"worker": "a:1"}}', "its cluster must have a list of addresses for each job"),
        ('{"cluster": {"worker": ["a"]}, "task": {"index": 0}}', "an address is HOST:PORT, not 'a'"),
        ('{"cluster": {"worker": ["a:99999"]}, "task": {"index": 0}}', "an address is HOST:PORT, not 'a:99999'"),
        ('{"cluster": {"worker": ["a:1", "a:1"]}, "task": {"index": 0}}', "two workers have the address a:1"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"index": 1}}', "the task's index 1 is none of its 1 of worker"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "chief", "index": 0}}', "the task's type 'chief' is none"),
    ],
)
def test_a_wrong_config_is_one_line(text, problem):
    with pytest.raises(InvalidArgument, match="TF_CONFIG is wrong: ") as error:
        workers.find_cluster("auto", {workers.TF_CONFIG: text})
    assert problem in str(error.value)
    assert f"Received: {text}" in str(error.value)


def test_who_trains_alone_and_who_does_not():
    one, two = (workers.config_of(["a:1", "b:1"][:count], 0) for count in (1, 2))
    assert workers.find_cluster("one", {workers.TF_CONFIG: two}) is None
    assert workers.find_cluster("auto", {}) is None
    assert workers.find_cluster("auto", {workers.TF_CONFIG: one}) is None
    assert workers.find_cluster("auto", {workers.TF_CONFIG: two}) == workers.Cluster(("a:1", "b:1"), 0)
    assert workers.find_cluster("multiworker", {workers.TF_CONFIG: one}) == workers.Cluster(("a:1",), 0)
    with pytest.raises(InvalidArgument, match="finds its workers in TF_CONFIG, or in SLURM's variables"):
        workers.find_cluster("multiworker", {})


def test_other_configurations_and_versions(tmp_path, child_environment):
    """Both say what differs; nothing is written."""
    (tmp_path / "numpy-9.9.9.dist-info").mkdir()
    (tmp_path / "numpy-9.9.9.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 9.9.9\n")
    path = os.pathsep.join([str(tmp_path), child_environment["PYTHONPATH"]])
    run_dir = ["--run-dir", str(tmp_path / "run")]
    for more, environment, problem in (
        (["--seed", "7"], child_environment, "train.seed = 0 on worker 0 ({}), 7 on worker 1 ({})"),
        ([], {**child_environment, "PYTHONPATH": path}, "on worker 0 ({}), 9.9.9 on worker 1 ({})"),
    ):
        addresses, configs = addresses_and_configs(2)
        ends = ends_of([[*TRAIN, *run_dir], [*TRAIN, *run_dir, *more]], configs, [child_environment, environment])
        for status, lines in ends:
            assert (status, len(lines)) == (1, 1)
            assert lines[0].startswith("kzoo: The workers differ in the configuration. Received: ")
            assert problem.format(*addresses) in lines[0]
    assert not (tmp_path / "run").exists()


def test_a_port_in_use_and_a_worker_that_does_not_come(tmp_path, child_environment):
    addresses, configs = addresses_and_configs(2)
    impatient = f"import sys; from kzoo import cli, workers; workers.SECONDS_TO_JOIN = 2.0; cli.main({TRAIN[2:]!r})"
    with socket.socket() as other:
        host, port = addresses[0].split(":")
        other.bind((host, int(port)))
        other.listen()
        chief, worker = ends_of([["-P", "-c", impatient]] * 2, configs, [child_environment] * 2)
    assert chief[0] == worker[0] == 1
    assert chief[1] == [
        f"kzoo: The port of worker 0 ({addresses[0]}) is in use. Received: port {port} in TF_CONFIG. End the process "
        "that has it, or choose another port; kzoo launch finds free ones."
    ]
    assert worker[1] == [
        f"kzoo: Worker 0 ({addresses[0]}) has ended, or is not a worker of kzoo. Received: 2 workers in TF_CONFIG. "
        "Start all of them, and see that its addresses are theirs."
    ]
    alone = ends_of([["-P", "-c", impatient]], configs[:1], [child_environment])
    assert alone[0][0] == 1
    assert alone[0][1][0].startswith(f"kzoo: Worker 1 ({addresses[1]}) has not come within 2 s. Received: 2 workers")


def test_workers_of_other_clusters(child_environment):
    addresses, configs = addresses_and_configs(3)
    configs = [workers.config_of(addresses[:2], 0), workers.config_of([addresses[0], addresses[2]], 1)]
    for status, lines in ends_of([TRAIN] * 2, configs, [child_environment] * 2):
        assert (status, len(lines)) == (1, 1)
        assert lines[0].startswith("kzoo: TF_CONFIG is wrong on worker 1: it names ")


def test_slurm_s_variables_give_each_task_its_own_address(monkeypatch):
    """In SLURM's order of the hosts: node10 stands after node9."""
    monkeypatch.setenv("TF_CONFIG", "")  # which is written, and put back at the end
    variables = {
        "SLURM_STEP_NUM_TASKS": "3", "SLURM_STEP_NODELIST": "node[9-10]", "SLURM_STEP_TASKS_PER_NODE": "2,1",
        "SLURM_PROCID": "2", "SLURM_JOB_ID": "7",
    }  # fmt: skip
    found = workers.find_cluster("multiworker", variables)
    assert found == workers.Cluster(("node9:10448", "node9:10449", "node10:10448"), 2)
    with pytest.raises(InvalidArgument, match="SLURM's variables do not say which workers there are"):
        workers.find_cluster("multiworker", {**variables, "SLURM_STEP_TASKS_PER_NODE": "2"})

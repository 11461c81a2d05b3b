"""Which workers there are, and waiting for them."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading

import pytest
import tensorflow as tf

from efficientdet_aimmo.distribution import cluster, replicas, strategies
from hparams import config as config_lib
from tfrecord_tools import command

TWO = "10.0.0.1:5000,10.0.0.2:5000"


def _error(*arguments: object) -> str:
    with pytest.raises(command.UserError) as caught:
        cluster.find(*arguments)  # type: ignore[arg-type]
    assert caught.value.exit_code == command.ExitCode.USAGE
    return str(caught.value)


def test_flags_give_the_workers() -> None:
    found = cluster.find(TWO, 1, None)
    assert found.workers == ("10.0.0.1:5000", "10.0.0.2:5000")
    assert found.index == 1
    assert cluster.find("[::1]:1, host-a:65535", 0, None).workers == (
        "[::1]:1",
        "host-a:65535",
    )


def test_tf_config_gives_the_workers() -> None:
    text = json.dumps(
        {
            "cluster": {"worker": ["a:1", "b:2"]},
            "task": {"type": "worker", "index": 1},
        }
    )
    found = cluster.find(None, None, text)
    assert (found.workers, found.index) == (("a:1", "b:2"), 1)


@pytest.mark.parametrize(
    ("workers", "index", "said"),
    [
        (TWO, None, "--worker_index=N"),
        (None, 0, "--worker=HOST:PORT"),
        (None, None, "or both in TF_CONFIG"),
        (TWO, 2, "Expected --worker_index from 0 to 1"),
        (TWO, -1, "Expected --worker_index from 0 to 1"),
        ("a:1,b", 0, "'b' is no address"),
        ("a:1,b:0", 0, "'b:0' is no address"),
        ("a:1,b:65536", 0, "'b:65536' is no address"),
        ("a:1,,b:1", 0, "'' is no address"),
        ("a:1,a:1", 0, "names a worker twice"),
    ],
)
def test_wrong_flags(workers: str | None, index: int | None, said: str) -> None:
    assert said in _error(workers, index, None)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker"}}',
        '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]},'
        ' "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:1"]},'
        ' "task": {"type": "evaluator", "index": 0}}',
    ],
)
def test_wrong_tf_config(text: str) -> None:
    assert '"task": {"type": "worker", "index": N}' in _error(None, None, text)


def test_both_say_the_same_thing() -> None:
    assert "say the same thing" in _error(TWO, 0, "{}")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for one in sockets:
        one.close()
    return ports


def test_two_workers_find_each_other() -> None:
    names = tuple(f"127.0.0.1:{port}" for port in _free_ports(2))
    # The second keeps listening, as TensorFlow does after it has waited.
    other = socket.create_server(("127.0.0.1", int(names[1].split(":")[1])))
    waiting = threading.Thread(
        target=cluster.wait_for_all,
        args=(cluster.Cluster(workers=names, index=0), 30.0),
    )
    with other:
        waiting.start()
        waiting.join(timeout=20)
    assert not waiting.is_alive()


def test_worker_that_does_not_come() -> None:
    names = tuple(f"127.0.0.1:{port}" for port in _free_ports(2))
    with pytest.raises(command.UserError, match=names[1]) as caught:
        cluster.wait_for_all(cluster.Cluster(workers=names, index=0), 0.2)
    assert caught.value.exit_code == command.ExitCode.STOPPED
    assert "wait_for_workers" in str(caught.value)


def test_port_that_is_taken() -> None:
    with socket.create_server(("", 0)) as taken:
        name = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(command.UserError, match="cannot listen") as caught:
            cluster.wait_for_all(
                cluster.Cluster(workers=(name, "127.0.0.1:1"), index=0), 0.2
            )
    assert caught.value.exit_code == command.ExitCode.DEVICE


def test_a_deadline_ends_what_holds_the_interpreter() -> None:
    program = (
        "import ctypes\n"
        "from efficientdet_aimmo.distribution import deadline\n"
        "with deadline.exits_after(60, 3): pass\n"
        "with deadline.exits_after(1, 75):\n"
        "    ctypes.PyDLL(None).sleep(60)\n"  # keeps Python's global lock
    )
    ended = subprocess.run([sys.executable, "-c", program], timeout=50)
    assert ended.returncode == command.ExitCode.STOPPED


def _request(**given: object) -> strategies.Request:
    names = (
        "worker",
        "worker_index",
        "tf_config",
        "tpu",
        "tpu_zone",
        "gcp_project",
    )
    return strategies.Request(**{**dict.fromkeys(names), **given})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("runtime", "given", "said"),
    [
        ({}, {"worker": TWO}, "--worker=10.0.0.1"),
        ({"strategy": "gpus"}, {"worker_index": 0}, "--strategy=multi-gpus"),
        ({"strategy": "gpus"}, {"tpu": "mine"}, "--strategy=tpu beside it"),
        ({"virtual_devices": 2}, {}, "--strategy=gpus"),
        (
            {"strategy": "multi-gpus", "virtual_devices": 2},
            {"worker": TWO, "worker_index": 0},
            "Expected 1",
        ),
    ],
)
def test_what_the_strategy_does_not_read_is_refused(
    runtime: dict[str, object], given: dict[str, object], said: str
) -> None:
    settings = config_lib.Runtime(**runtime)  # type: ignore[arg-type]
    with pytest.raises(command.UserError, match=said) as caught:
        strategies.make(settings, _request(**given))
    assert caught.value.exit_code == command.ExitCode.USAGE


@pytest.mark.parametrize("name", ["gpus", "multi-gpus"])
def test_no_gpu(name: str) -> None:
    with pytest.raises(command.UserError, match="found no GPU") as caught:
        strategies.make(
            config_lib.Runtime(strategy=name),
            _request()
            if name == "gpus"
            else _request(worker=TWO, worker_index=0),
        )
    assert caught.value.exit_code == command.ExitCode.DEVICE


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (
            "Graph execution error:\n\nDetected at node CollectiveReduceV2"
            ' defined at (most recent call last):\n  File "worker.py", line 1\n'
            "\nCollective ops is aborted by: Connection reset by peer\n"
            "Additional GRPC error information",
            "(Collective ops is aborted by: Connection reset by peer)",
        ),
        ("first\nlast\n", "(last)"),
        ("", "()"),
    ],
)
def test_lost_worker_is_told_without_the_trace(message: str, said: str) -> None:
    error = replicas.lost_peer(tf.errors.UnavailableError(None, None, message))
    assert error.exit_code == command.ExitCode.STOPPED
    assert said in str(error)

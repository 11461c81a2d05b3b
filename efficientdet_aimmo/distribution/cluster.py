"""The workers of a run on several machines: which, and are they there."""

from __future__ import annotations

import dataclasses
import json
import re
import socket
import time

from tfrecord_tools import command

_ADDRESS = re.compile(r"(\[[0-9a-fA-F:]+\]|[^:\s,]+):(\d{1,5})")
_PAUSE = 0.5  # seconds between two tries to reach a worker


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cluster:
    """The workers of a run.

    Attributes:
      workers: host:port of each, the same list everywhere.
      index: this one's place in the list, from 0.
    """

    workers: tuple[str, ...]
    index: int


def _usage(message: str) -> command.UserError:
    return command.UserError(command.ExitCode.USAGE, message)


def find(
    workers: str | None, index: int | None, tf_config: str | None
) -> Cluster:
    """Returns the cluster that --worker and --worker_index, or TF_CONFIG, give.

    Args:
      workers: host:port,host:port,... or None.
      index: this worker's place in it, or None.
      tf_config: the environment variable, JSON, or None.

    Raises:
      UserError: neither is given, or both, or it is no cluster.
    """
    if workers is None and index is None and tf_config:
        return _parse_tf_config(tf_config)
    if workers is None or index is None:
        raise _usage(
            "--strategy=multi-gpus needs --worker=HOST:PORT,HOST:PORT (all"
            " workers, the same list everywhere) and --worker_index=N (this"
            " one's place in it, from 0), or both in TF_CONFIG."
        )
    if tf_config:
        raise _usage(
            f"--worker={workers} and TF_CONFIG say the same thing. Give one of"
            " them."
        )
    names = tuple(name.strip() for name in workers.split(","))
    return _checked(names, index, f"--worker={workers}")


def _parse_tf_config(text: str) -> Cluster:
    expected = (
        'Expected {"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type":'
        ' "worker", "index": N}}.'
    )
    try:
        content = json.loads(text)
        cluster, task = content["cluster"], content["task"]
        names, kind = tuple(cluster["worker"]), task["type"]
        index = int(task["index"])
    except (ValueError, KeyError, TypeError) as error:
        raise _usage(
            f"TF_CONFIG={text} cannot be read ({type(error).__name__}:"
            f" {error}). {expected}"
        ) from error
    if set(cluster) != {"worker"} or kind != "worker":
        raise _usage(
            f"TF_CONFIG={text} has other tasks than workers. Worker 0 is the"
            f" chief here, and measures. {expected}"
        )
    return _checked(names, index, f"TF_CONFIG={text}")


def _checked(names: tuple[str, ...], index: int, given: str) -> Cluster:
    for name in names:
        match = _ADDRESS.fullmatch(name)
        if match is None or not 0 < int(match.group(2)) < 65536:
            raise _usage(
                f"{given}: {name!r} is no address. Expected HOST:PORT."
            )
    if len(set(names)) < len(names):
        raise _usage(f"{given} names a worker twice.")
    if not 0 <= index < len(names):
        raise _usage(
            f"{given} has {len(names)} workers, and this one is number {index}."
            f" Expected --worker_index from 0 to {len(names) - 1}."
        )
    return Cluster(workers=names, index=index)


def _parts(address: str) -> tuple[str, int]:
    match = _ADDRESS.fullmatch(address)
    assert match is not None  # checked when the cluster was made
    return match.group(1).strip("[]"), int(match.group(2))


def wait_for_all(cluster: Cluster, patience: float) -> None:
    """Returns when every worker listens at its address.

    Called before TensorFlow connects to them, which waits for ever. Until then
    this one listens at its own address.

    Args:
      cluster: the workers.
      patience: seconds.

    Raises:
      UserError: a worker is not there in time, or the address of this one
        cannot be used.
    """
    own = cluster.workers[cluster.index]
    try:
        listener = socket.create_server(("", _parts(own)[1]))
    except OSError as error:
        raise command.UserError(
            command.ExitCode.DEVICE,
            f"Worker {cluster.index} cannot listen at {own} ({error.strerror})."
            " Give a port that is free, in --worker of all workers.",
        ) from error
    end = time.monotonic() + patience
    with listener:
        for address in cluster.workers:
            if address != own:
                _wait_for(address, end, patience)


def _wait_for(address: str, end: float, patience: float) -> None:
    while True:
        try:
            left = max(end - time.monotonic(), _PAUSE)
            socket.create_connection(_parts(address), timeout=left).close()
            return
        except OSError as error:
            if time.monotonic() + _PAUSE > end:
                raise command.UserError(
                    command.ExitCode.STOPPED,
                    f"Worker {address} cannot be reached ({error}); waited"
                    f" {patience:g} s. Start all workers within this time"
                    " (wait_for_workers), and check addresses and firewall.",
                ) from error
            time.sleep(_PAUSE)

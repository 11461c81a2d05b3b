"""What a process takes of its machine, and what is left there."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Iterator
from typing import NamedTuple

import tensorflow as tf
from tensorflow.python.client import device_lib


class Gpu(NamedTuple):
    """Memory of a GPU, bytes."""

    name: str
    peak: int  # most that TensorFlow had in use at a time
    limit: int  # what TensorFlow may use


class Room(NamedTuple):
    """Memory of the host that is left, bytes, and what says so."""

    free: int
    limited_by: str


class Machine:
    """This machine as its system files and TensorFlow describe it."""

    def __init__(self, root: str) -> None:
        """Looks below a file system's root; "/" but in tests."""
        self._root = pathlib.Path(root)

    def clock(self) -> float:
        """Returns a time in seconds."""
        return time.perf_counter()

    def resident(self) -> int:
        """Returns the bytes of memory that this process has now."""
        return self._status("VmRSS")

    def peak(self) -> int:
        """Returns the most bytes of memory that this process ever had."""
        return self._status("VmHWM")

    def _status(self, name: str) -> int:
        text = (self._root / "proc/self/status").read_text()
        return _kib(text, name)

    def room(self) -> Room:
        """Returns what this process can have more before something is killed.

        That is what the system has, or a control group's limit if that is
        less. Files that are only cached count as free.
        """
        text = (self._root / "proc/meminfo").read_text()
        system = Room(_kib(text, "MemAvailable"), "the system")
        return min([system, *self._group_rooms()], key=lambda room: room.free)

    def _group_rooms(self) -> Iterator[Room]:
        """Yields the room in each control group that has a limit."""
        groups = self._root / "proc/self/cgroup"
        if not groups.exists():  # a system without control groups
            return
        for line in groups.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":  # version 2
                top = self._root / "sys/fs/cgroup"
                names = ("memory.max", "memory.current", "inactive_file")
            elif "memory" in controllers.split(","):
                top = self._root / "sys/fs/cgroup/memory"
                names = (
                    "memory.limit_in_bytes",
                    "memory.usage_in_bytes",
                    "total_inactive_file",
                )
            else:
                continue
            # Limits of the groups above hold too. In a container the path may
            # be the host's: then the container's own group is the top.
            own = pathlib.PurePosixPath(path.lstrip("/"))
            for part in (own, *own.parents):
                room = _group_room(top / part, *names)
                if room is not None:
                    yield room

    def gpus(self) -> list[Gpu]:
        """Returns the GPUs of which TensorFlow has used any memory."""
        names = _gpu_names()
        if not names:
            return []
        limits = {
            _short(device.name): device.memory_limit
            for device in device_lib.list_local_devices()
        }
        peaks = {
            name: tf.config.experimental.get_memory_info(name)["peak"]
            for name in names
        }
        return [
            Gpu(name, peak, limits[name])
            for name, peak in peaks.items()
            if peak > 0
        ]

    def forget_gpu_peaks(self) -> None:
        """Lets the peaks of the GPUs begin with what is in use now."""
        for name in _gpu_names():
            tf.config.experimental.reset_memory_stats(name)


def _gpu_names() -> list[str]:
    return [_short(gpu.name) for gpu in tf.config.list_logical_devices("GPU")]


def _short(name: str) -> str:
    """Returns GPU:0 for /device:GPU:0, with or without a worker before it."""
    return name.rpartition("device:")[2]


def _kib(text: str, name: str) -> int:
    """Returns the bytes in a line of 'Name:   123 kB'."""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return 1024 * int(value.split()[0])
    raise ValueError(f"no line {name}: in {text[:40]!r}")


def _group_room(
    folder: pathlib.Path, limit_name: str, usage_name: str, cached_name: str
) -> Room | None:
    """Returns the room in a control group, None without a limit."""
    try:
        limit = (folder / limit_name).read_text().strip()
        usage = int((folder / usage_name).read_text())
        lines = (folder / "memory.stat").read_text().splitlines()
    except OSError:  # no such group here, or the root, which has no limit
        return None
    if limit == "max":
        return None
    stat = dict(line.split(" ", 1) for line in lines)
    free = int(limit) - usage + int(stat.get(cached_name, 0))
    return Room(max(0, free), f"{folder / limit_name}")

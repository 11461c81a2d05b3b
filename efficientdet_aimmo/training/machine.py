"""What a process takes of its machine, and what is left there."""

from __future__ import annotations

import pathlib
import time
from typing import NamedTuple

import tensorflow as tf
from tensorflow.python.client import device_lib

from efficientdet_aimmo import host_memory


class Gpu(NamedTuple):
    """Memory of a GPU, bytes."""

    name: str
    peak: int  # most that TensorFlow had in use at a time
    limit: int  # what TensorFlow may use


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
        return host_memory.kib(text, name)

    def room(self) -> host_memory.Room:
        """Returns what this process can have more before something is killed.

        That is what the system has, or a control group's limit if that is
        less. Files that are only cached count as free.
        """
        return host_memory.room(self._root)

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

"""TensorBoard's events, each of which is in the file or the run ends."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from tfrecord_tools import command, storage

# Of a record's frame: the length and its checksum before, a checksum after.
_LENGTH = struct.Struct("<Q4x")
_AFTER_BYTES = 4


class Events:
    """One file of events in a folder.

    TensorFlow drops a large event, as a picture, without a word where the disk
    is full. So after every flush the events in the file are counted. Whatever
    does not get there raises UserError.
    """

    def __init__(self, folder: str | None) -> None:
        """Begins a file.

        Args:
          folder: where; None writes nothing anywhere.
        """
        self._folder = folder or ""
        self._path: str | None = None
        self._num_written = self._num_found = 0
        self._end = 0  # bytes that the events found take
        if folder is None:
            self._writer = tf.summary.create_noop_writer()
            return
        before = set(_names(folder))
        with self._errors():
            self._writer = tf.summary.create_file_writer(folder)
        # An object store says itself whether it has taken an object.
        if not storage.is_remote(folder):
            (name,) = set(_names(folder)) - before
            self._path = storage.join(folder, name)
        self._num_written = 1  # the version of the format

    @contextlib.contextmanager
    def at(self, step: int) -> Iterator[None]:
        """Lets scalar() and image() add to a step; flushes and checks after."""
        with self._errors():
            with self._writer.as_default(step=step):  # flushes at its end
                yield
            self._check()

    def scalar(self, name: str, value: float) -> None:
        """Adds a point to a curve."""
        tf.summary.scalar(name, value)
        self._num_written += 1

    def image(self, name: str, picture: np.ndarray) -> None:
        """Adds a picture, [h, w, 3] uint8."""
        tf.summary.image(name, picture[None])
        self._num_written += 1

    def close(self) -> None:
        """Flushes and closes the file."""
        with self._errors():
            self._writer.close()
            self._check()

    def _check(self) -> None:
        """Raises OSError if not every event is in the file."""
        if self._path is None:
            return
        size = os.path.getsize(self._path)
        with open(self._path, "rb") as file:
            while self._end < size:
                file.seek(self._end)
                head = file.read(_LENGTH.size)
                if len(head) < _LENGTH.size:
                    break
                length = _LENGTH.unpack(head)[0] + _LENGTH.size + _AFTER_BYTES
                if self._end + length > size:
                    break
                self._end += length
                self._num_found += 1
        if self._num_found != self._num_written or self._end != size:
            raise OSError(
                f"{self._path} holds {self._num_found} whole events of"
                f" {self._num_written}"
            )

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            with storage.as_os_errors(self._folder):
                yield
        except OSError as error:
            raise command.UserError(
                command.ExitCode.DISK,
                f"TensorBoard's events cannot be written to {self._folder}"
                f" ({error.strerror or error}). The checkpoints are intact:"
                " make room and give the same command.",
            ) from error


def _names(folder: str) -> list[str]:
    return [name for name in storage.names(folder) if ".tfevents." in name]

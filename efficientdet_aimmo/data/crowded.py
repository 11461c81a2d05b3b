"""The records with the most objects, for steps at their worst."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from efficientdet_aimmo.data import pipeline
from tfrecord_tools import storage

# A record in a file: its length in 8 bytes, their checksum in 4, its content,
# and the checksum of that in 4.
# https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
_BEFORE = 12
_AROUND = 16

_ROUNDS = 1 << 40  # more than anybody takes


class Crowd(NamedTuple):
    """A record with many objects.

    file: its shard.
    number: of the record in the file, from 0.
    offset: of its content in the file, bytes.
    length: of its content, bytes.
    num_boxes: its objects.
    """

    file: str
    number: int
    offset: int
    length: int
    num_boxes: int


def find(files: Sequence[str], count: int) -> list[Crowd]:
    """Returns the records with the most objects, the fullest first.

    Of those with equally many the first in order are taken. Reads all files;
    records that cannot be read or parsed are left out.

    Args:
      files: record files of a split, sorted.
      count: most records to return.
    """
    found = (crowd for file in files for crowd in _scan(file))
    return heapq.nlargest(count, found, key=lambda crowd: crowd.num_boxes)


def _scan(file: str) -> list[Crowd]:
    def step(
        start: tf.Tensor, record: tf.Tensor
    ) -> tuple[tf.Tensor, tuple[tf.Tensor, ...]]:
        length = tf.cast(tf.strings.length(record), tf.int64)
        return start + length + _AROUND, (start + _BEFORE, length, record)

    def measure(
        number: tf.Tensor, read: tuple[tf.Tensor, ...]
    ) -> tuple[tf.Tensor, ...]:
        offset, length, record = read
        labels = pipeline.parse_objects(record).labels
        return number, offset, length, tf.size(labels)

    # After an error TFRecord reading gives up on the rest of the file.
    records = tf.data.TFRecordDataset(file).ignore_errors()
    rows = (
        records.scan(tf.constant(0, tf.int64), step)
        .enumerate()
        .map(measure, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .ignore_errors()
    )
    return [
        Crowd(file, *(int(value) for value in row))
        for row in rows.as_numpy_iterator()
    ]


def line(crowds: Sequence[Crowd]) -> tf.data.Dataset:
    """Returns (epoch, place, (file, number, record)), for batches_of.

    The records come in the order given, over and over: a round is an epoch.
    Each is read from its place in its file.
    """

    def content(file: bytes, offset: np.int64, length: np.int64) -> bytes:
        return storage.read_range(file.decode(), int(offset), int(length))

    def read(
        epoch: tf.Tensor, place: tf.Tensor, where: tuple[tf.Tensor, ...]
    ) -> tuple[tf.Tensor, tf.Tensor, tuple[tf.Tensor, ...]]:
        file, number, offset, length = where
        record = tf.numpy_function(content, (file, offset, length), tf.string)
        return epoch, place, (file, number, tf.ensure_shape(record, []))

    columns = list(zip(*crowds, strict=True))
    where = tf.data.Dataset.from_tensor_slices(
        (
            tf.constant(columns[0]),
            *(tf.constant(column, tf.int64) for column in columns[1:4]),
        )
    )

    def one_round(epoch: tf.Tensor) -> tf.data.Dataset:
        epochs = tf.data.Dataset.from_tensors(epoch).repeat()
        return tf.data.Dataset.zip(
            (epochs, tf.data.Dataset.range(len(crowds)), where)
        )

    return (
        tf.data.Dataset.range(_ROUNDS)
        .flat_map(one_round)
        .map(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    )

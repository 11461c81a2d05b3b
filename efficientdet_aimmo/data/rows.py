"""The rows of a batch: those that can be used, and copies where one cannot.

The line of images is fixed, so a bad record keeps its place: its row is filled
with a copy of another row of the same batch. Nothing is remembered for that, so
a resumed run fills the same rows with the same copies.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf


class Drawn(NamedTuple):
    """Records of the line, each with its place in it and on the disk.

    With a leading axis [B] where they are the rows of a batch.
    """

    epoch: tf.Tensor  # int64
    place: tf.Tensor  # int64, within the epoch
    file: tf.Tensor  # string
    number: tf.Tensor  # int64, of the record in the file
    record: tf.Tensor  # string, empty where the file is damaged before it


def read_file(file: tf.Tensor, num_records: tf.Tensor) -> tf.data.Dataset:
    """Returns (file, number, record) of exactly num_records records.

    What cannot be read to the end of the file are empty records.
    """
    lost = tf.data.Dataset.from_tensors("").repeat()
    # After an error TFRecord reading gives up on the rest of the file.
    records = tf.data.TFRecordDataset(file).ignore_errors().concatenate(lost)
    names = tf.data.Dataset.from_tensors(file).repeat()
    numbers = tf.data.Dataset.range(num_records)
    return tf.data.Dataset.zip((names, numbers, records))


def fill(
    parts: Sequence[tf.Tensor], kept: tf.Tensor, num_rows: int
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Returns a whole batch, copies where a row is missing.

    A missing row is a copy of the nearest row before it that is there; the
    first ones look for it from the batch's end, as if the batch were a circle.

    Args:
      parts: the rows that are there, each [N, ...], N at least 1.
      kept: [N] int32, their places in the batch, rising.
      num_rows: rows of the whole batch.

    Returns:
      The parts, each [num_rows, ...], and [num_rows] bool: which are copies.
    """
    rows = tf.range(num_rows)
    source = tf.searchsorted(kept, rows, side="right") - 1
    source = tf.where(source < 0, tf.size(kept) - 1, source)
    is_copy = tf.gather(kept, source) != rows

    def copied() -> list[tf.Tensor]:
        return [tf.gather(part, source) for part in parts]

    # Images are large: they are moved only where one is missing.
    filled = tf.cond(tf.reduce_any(is_copy), copied, lambda: list(parts))
    for part in filled:
        part.set_shape([num_rows, *part.shape[1:]])
    return filled, is_copy


def prepare(
    drawn: Drawn, example: Callable[[Drawn], Sequence[tf.Tensor]]
) -> tf.data.Dataset:
    """Returns one element: the parts of all rows, and where copies stand in.

    Args:
      drawn: the rows of a batch, with a static number of them.
      example: from one record to its parts; what it fails on is a bad record.

    Returns:
      A dataset of one element: a list of parts [B, ...], and [B] string, empty,
      or `place_of` the record whose row holds a copy. Without any row to copy
      all rows are zero and all have a place.
    """
    num_rows = drawn.record.shape[0]
    good = (
        tf.data.Dataset.from_tensor_slices((tf.range(num_rows), drawn))
        .map(
            lambda row, one: (row, tuple(example(one))),
            num_parallel_calls=len(os.sched_getaffinity(0)),
            deterministic=True,
        )
        .ignore_errors()
        .batch(num_rows)
    )
    # One row of zeros that is at no place of the batch.
    nothing = tf.nest.map_structure(
        lambda spec: tf.zeros([1, *spec.shape[1:]], spec.dtype),
        good.element_spec[1],
    )
    no_rows = tf.data.Dataset.from_tensors((tf.constant([-1]), nothing))

    def whole(
        kept: tf.Tensor, parts: Sequence[tf.Tensor]
    ) -> tuple[tuple[tf.Tensor, ...], tf.Tensor]:
        filled, is_copy = fill(parts, kept, num_rows)
        place = tf.strings.join(
            [drawn.file, tf.strings.as_string(drawn.number)], _BETWEEN
        )
        return tuple(filled), tf.where(is_copy, place, "")

    return good.concatenate(no_rows).take(1).map(whole)


_BETWEEN = "#"


def place_of(text: str) -> tuple[str, int]:
    """Returns file and number of the record that a row's text names."""
    file, _, number = text.rpartition(_BETWEEN)
    return file, int(number)

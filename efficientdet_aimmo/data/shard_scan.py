"""Reads a shard from end to end and checks what its records say of objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfrecord_tools import command, object_faults, schema

_AT_ONCE = 256
# Of a record that is no example. TensorFlow's message quotes it, and where its
# bytes are no text, Python cannot make an error of TensorFlow's own of it.
PARSE_ERRORS = (tf.errors.InvalidArgumentError, UnicodeDecodeError)
_CORNERS = (schema.YMIN, schema.XMIN, schema.YMAX, schema.XMAX)


class Scan(NamedTuple):
    """What a shard holds.

    num_records: that can be read.
    max_boxes: most in one record.
    unparsed: number of each record that is no example, and what it is instead.
    damage: why the shard cannot be read to its end, empty if it can.
    """

    num_records: int
    max_boxes: int
    unparsed: tuple[tuple[int, str], ...]
    damage: str


def scan(file: str, classes: Sequence[str]) -> Scan:
    """Returns what a shard holds; images are not decoded.

    Raises:
      UserError: a record with an object that is none, with its place.
    """
    damage = ""
    records = tf.data.TFRecordDataset(file)
    try:
        return _scan(file, records, classes, damage)
    except tf.errors.DataLossError as error:
        damage = reason(error)
    # Once more, and as far as it goes: a batch that is cut short is lost.
    return _scan(file, records.ignore_errors(), classes, damage)


def reason(error: tf.errors.OpError | UnicodeDecodeError) -> str:
    """Returns what went wrong, without places in a graph and bytes."""
    if isinstance(error, UnicodeDecodeError):
        return "Could not parse example input"
    text = str(error.message).split("\n", maxsplit=1)[0]
    text = text.rpartition("}} ")[2].partition(" [Op:")[0]
    return text.partition(", value: ")[0]


def _scan(
    file: str, records: tf.data.Dataset, classes: Sequence[str], damage: str
) -> Scan:
    count = most = 0
    unparsed: list[tuple[int, str]] = []
    for batch in records.batch(_AT_ONCE):
        try:
            most = max(most, _check(file, count, batch, classes))
        except PARSE_ERRORS:
            for i, record in enumerate(batch, start=count):
                try:
                    most = max(most, _check(file, i, record[None], classes))
                except PARSE_ERRORS as error:
                    why = f"cannot be parsed: {reason(error)}"
                    unparsed.append((i, why))
        count += len(batch)
    return Scan(count, most, tuple(unparsed), damage)


def _check(
    file: str, first: int, records: tf.Tensor, classes: Sequence[str]
) -> int:
    """Checks records from number `first` on; returns the most boxes in one.

    Raises:
      UserError: an object that is none.
      InvalidArgumentError: a record that is no example, as TensorFlow says it.
    """
    features: dict[str, tf.io.RaggedFeature | tf.io.FixedLenFeature] = {
        key: tf.io.RaggedFeature(tf.float32) for key in _CORNERS
    }
    features[schema.LABEL] = tf.io.RaggedFeature(tf.int64)
    features[schema.SOURCE_ID] = tf.io.FixedLenFeature([], tf.string)
    parsed = tf.io.parse_example(records, features)
    labels = parsed[schema.LABEL].to_list()
    corners = [parsed[key].to_list() for key in _CORNERS]
    ids = parsed[schema.SOURCE_ID].numpy()
    for i, record_labels in enumerate(labels):
        faults = object_faults.find(
            np.asarray(record_labels, np.int64),
            np.asarray([c[i] for c in corners], np.float64).reshape(4, -1),
            classes,
        )
        if faults:
            raise command.UserError(
                command.ExitCode.DATA,
                f"{file}, record {first + i} (source_id"
                f" {ids[i].decode(errors='replace')}): {faults[0].text}.",
            )
    return max(map(len, labels))

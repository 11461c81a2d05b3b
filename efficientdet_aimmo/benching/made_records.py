"""Records to measure with, written without a conversion."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfrecord_tools import schema


class Shards(NamedTuple):
    """Files of records, and how many each holds."""

    files: list[str]
    num_records: list[int]


def _example(encoded: bytes, number: int) -> bytes:
    """Returns a record with eight objects."""
    low = np.linspace(0.0, 0.5, 8)
    feature = {
        key: tf.train.Feature(float_list=tf.train.FloatList(value=values))
        for key, values in (
            (schema.YMIN, low),
            (schema.XMIN, low),
            (schema.YMAX, low + 0.3),
            (schema.XMAX, low + 0.3),
        )
    }
    feature[schema.LABEL] = tf.train.Feature(
        int64_list=tf.train.Int64List(value=[1] * 8)
    )
    texts = {schema.ENCODED: encoded, schema.SOURCE_ID: str(number).encode()}
    for key, text in texts.items():
        feature[key] = tf.train.Feature(
            bytes_list=tf.train.BytesList(value=[text])
        )
    example = tf.train.Example(features=tf.train.Features(feature=feature))
    return bytes(example.SerializeToString())


def write(
    folder: str | pathlib.Path,
    images: Sequence[bytes],
    count: int,
    num_shards: int,
) -> Shards:
    """Writes records of a few images, over and over."""
    folder = pathlib.Path(folder)
    folder.mkdir()
    records = [_example(image, i) for i, image in enumerate(images)]
    shards = Shards([], [])
    for shard in range(num_shards):
        path = str(folder / f"train-{shard:05d}.tfrecord")
        numbers = range(shard, count, num_shards)
        with tf.io.TFRecordWriter(path) as writer:
            for number in numbers:
                writer.write(records[number % len(records)])
        shards.files.append(path)
        shards.num_records.append(len(numbers))
    return shards

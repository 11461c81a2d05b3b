"""The tf.train.Example of one image."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from tfrecord_tools import images, prepare, schema


def _bytes(values: Sequence[bytes]) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def _ints(values: Sequence[int]) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def _floats(values: Sequence[float]) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def serialize(
    image: images.Encoded,
    objects: Sequence[prepare.StoredObject],
    filename: str,
    source_id: int,
    classes: Sequence[str],
) -> bytes:
    """Returns the serialised Example, the same bytes for the same values.

    Args:
      image: the image as stored.
      objects: its objects, boxes in pixels of the image as stored.
      filename: the image's path below its folder.
      source_id: the image's number, its id in the ground truth's JSON too.
      classes: the class names in the order of their ids.
    """
    height, width = image.height, image.width
    features = {
        schema.ENCODED: _bytes([image.content]),
        schema.FORMAT: _bytes([image.format.encode()]),
        schema.FILENAME: _bytes([filename.encode()]),
        schema.HEIGHT: _ints([height]),
        schema.WIDTH: _ints([width]),
        schema.SOURCE_ID: _bytes([str(source_id).encode()]),
        schema.SHA256: _bytes([image.sha256.encode()]),
        schema.YMIN: _floats([o.box[0] / height for o in objects]),
        schema.XMIN: _floats([o.box[1] / width for o in objects]),
        schema.YMAX: _floats([o.box[2] / height for o in objects]),
        schema.XMAX: _floats([o.box[3] / width for o in objects]),
        schema.LABEL: _ints([o.label for o in objects]),
        schema.TEXT: _bytes([classes[o.label - 1].encode() for o in objects]),
        schema.AREA: _floats([o.area for o in objects]),
        schema.IS_CROWD: _ints([int(o.is_crowd) for o in objects]),
        schema.DIFFICULT: _ints([int(o.is_difficult) for o in objects]),
        schema.TRUNCATED: _ints([int(o.is_truncated) for o in objects]),
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return bytes(example.SerializeToString(deterministic=True))

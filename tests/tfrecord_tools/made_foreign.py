"""Records as the official EfficientDet's tools write them, made by hand."""

from __future__ import annotations

import hashlib
import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from tfrecord_tools import command, validate

# Text, id, and x_min, y_min, x_max, y_max in pixels.
Object = tuple[str, int, tuple[float, float, float, float]]
WIDTH, HEIGHT = 40, 30


def jpeg(seed: int, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """Returns a JPEG that differs with the seed."""
    colours = np.random.default_rng(seed).integers(0, 256, (2, 2, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(colours).resize((width, height)).save(file, "JPEG")
    return file.getvalue()


def feature(values: Sequence[Any]) -> tf.train.Feature:
    """Returns values as the list of their kind; none are an empty int list."""
    first = values[0] if values else 0
    if isinstance(first, (str, bytes)):
        content = [v.encode() if isinstance(v, str) else v for v in values]
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=content))
    if isinstance(first, float):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def _common(
    number: int, name: str, objects: Sequence[Object]
) -> dict[str, tf.train.Feature]:
    content = jpeg(number)
    found = {
        "image/height": feature([HEIGHT]),
        "image/width": feature([WIDTH]),
        "image/filename": feature([name]),
        "image/source_id": feature([str(number)]),
        "image/key/sha256": feature([hashlib.sha256(content).hexdigest()]),
        "image/encoded": feature([content]),
        "image/format": feature(["jpeg"]),
        "image/object/class/label": feature([o[1] for o in objects]),
    }
    sides = (("xmin", WIDTH), ("ymin", HEIGHT), ("xmax", WIDTH))
    for place, (key, side) in enumerate((*sides, ("ymax", HEIGHT))):
        found[f"image/object/bbox/{key}"] = tf.train.Feature(
            float_list=tf.train.FloatList(
                value=[o[2][place] / side for o in objects]
            )
        )
    found["image/object/class/text"] = tf.train.Feature(
        bytes_list=tf.train.BytesList(value=[o[0].encode() for o in objects])
    )
    return found


def coco_record(
    number: int, objects: Sequence[Object], crowd: Sequence[int] | None = None
) -> dict[str, tf.train.Feature]:
    """Returns what create_coco_tfrecord writes of an image."""
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for _, _, b in objects]
    return {
        **_common(number, f"{number:012d}.jpg", objects),
        "image/caption": tf.train.Feature(bytes_list=tf.train.BytesList()),
        "image/object/is_crowd": feature(crowd or [0] * len(objects)),
        "image/object/area": tf.train.Feature(
            float_list=tf.train.FloatList(value=areas)
        ),
    }


def pascal_record(
    number: int, objects: Sequence[Object]
) -> dict[str, tf.train.Feature]:
    """Returns what create_pascal_tfrecord writes of an image."""
    zeros = feature([0] * len(objects))
    return {
        **_common(number, f"{number}.jpg", objects),
        "image/object/difficult": zeros,
        "image/object/truncated": zeros,
        "image/object/view": tf.train.Feature(
            bytes_list=tf.train.BytesList(value=[b"Unspecified"] * len(objects))
        ),
    }


def write(
    path: pathlib.Path, records: Sequence[Mapping[str, tf.train.Feature]]
) -> None:
    """Writes a file of records."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            example = tf.train.Example(
                features=tf.train.Features(feature=record)
            )
            writer.write(example.SerializeToString())


def validate_folder(folder: pathlib.Path, *flags: str) -> int:
    """Runs the command in this process; returns its exit code."""
    argv = ["validate", f"--data_dir={folder}", "--num_workers=1", *flags]
    return command.run(validate.main, validate.FLAGS, "usage", argv)

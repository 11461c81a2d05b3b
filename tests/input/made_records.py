"""Small data sets written for a test, the manifest with them."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from PIL import Image

from tfrecord_tools import schema

CLASSES = ("car", "bus")
Box = tuple[float, float, float, float]


def jpeg(pixels: np.ndarray) -> bytes:
    """Returns pixels [h, w, 3] or [h, w] as a JPEG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return file.getvalue()


def smooth_pixels(seed: int, height: int, width: int) -> np.ndarray:
    """Returns [height, width, 3] uint8 that JPEG keeps well."""
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 256, (3, 3, 3), np.uint8)
    resized = Image.fromarray(corners).resize(
        (width, height), Image.Resampling.BILINEAR
    )
    return np.asarray(resized)


@dataclasses.dataclass(frozen=True)
class Record:
    """One image and its objects, boxes in sides of the image."""

    source_id: int
    boxes: Sequence[Box]
    labels: Sequence[int]
    crowd: Sequence[int] | None = None  # None: the key is absent
    difficult: Sequence[int] | None = None
    encoded: bytes = jpeg(smooth_pixels(0, 48, 64))

    def serialize(self) -> bytes:
        """Returns the tf.train.Example."""
        corners = np.reshape(np.array(self.boxes, float), (-1, 4)).T
        keys = (schema.YMIN, schema.XMIN, schema.YMAX, schema.XMAX)
        feature = {
            key: tf.train.Feature(
                float_list=tf.train.FloatList(value=values.tolist())
            )
            for key, values in zip(keys, corners, strict=True)
        }
        for key, text in (
            (schema.ENCODED, self.encoded),
            (schema.SOURCE_ID, str(self.source_id).encode()),
        ):
            feature[key] = tf.train.Feature(
                bytes_list=tf.train.BytesList(value=[text])
            )
        numbers = {schema.LABEL: self.labels}
        if self.crowd is not None:
            numbers[schema.IS_CROWD] = self.crowd
        if self.difficult is not None:
            numbers[schema.DIFFICULT] = self.difficult
        for key, integers in numbers.items():
            feature[key] = tf.train.Feature(
                int64_list=tf.train.Int64List(value=integers)
            )
        example = tf.train.Example(features=tf.train.Features(feature=feature))
        return bytes(example.SerializeToString())


def _split(
    folder: pathlib.Path, name: str, shards: Sequence[Sequence[Record]]
) -> schema.Split:
    """Writes the shards of a split; returns what the manifest says of them."""
    written = []
    for i, records in enumerate(shards):
        path = folder / f"{name}-{i:05d}-of-{len(shards):05d}.tfrecord"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for record in records:
                writer.write(record.serialize())
        content = path.read_bytes()
        written.append(
            schema.Shard(
                name=path.name,
                records=len(records),
                bytes=len(content),
                sha256=hashlib.sha256(content).hexdigest(),
            )
        )
    everything = [record for records in shards for record in records]
    labels = [label for record in everything for label in record.labels]
    return schema.Split(
        images=len(everything),
        objects={c: labels.count(i) for i, c in enumerate(CLASSES, 1)},
        max_boxes_per_image=max(len(r.boxes) for r in everything),
        shards=tuple(written),
    )


def write(
    folder: pathlib.Path, splits: Mapping[str, Sequence[Sequence[Record]]]
) -> schema.Manifest:
    """Writes a data set: for each split a list of shards of records."""
    manifest = schema.Manifest(
        classes=CLASSES,
        image_size=None,
        splits={n: _split(folder, n, shards) for n, shards in splits.items()},
        accounts={},
        rejects={},
        filters={},
        mapping={},
        split_rule={},
        arguments={},
    )
    save(folder, manifest)
    return manifest


def save(folder: pathlib.Path, manifest: schema.Manifest) -> None:
    """Writes the manifest beside the records."""
    (folder / schema.MANIFEST_NAME).write_text(manifest.to_json())


def files(folder: pathlib.Path, split: str) -> list[str]:
    """Returns the shards of a split."""
    return sorted(str(path) for path in folder.glob(f"{split}*.tfrecord"))

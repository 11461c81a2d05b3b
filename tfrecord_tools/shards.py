"""Writes the records of a split into shards."""

from __future__ import annotations

import collections
import hashlib
import os
import pathlib
from collections.abc import Sequence

import tensorflow as tf

from tfrecord_tools import command, schema

# Small enough that workers share the files evenly and shuffling by file means
# something, large enough that opening one costs nothing beside reading it.
TARGET_BYTES = 192 * 1024 * 1024
_BLOCK_BYTES = 1024 * 1024


def count(num_images: int, mean_bytes: float, num_shards: int | None) -> int:
    """Returns the number of shards for a split.

    Args:
      num_images: records of the split.
      mean_bytes: size of one record.
      num_shards: the number that was asked for; None follows TARGET_BYTES.
    """
    if num_shards is None:
        num_shards = max(1, round(num_images * mean_bytes / TARGET_BYTES))
    return min(num_shards, num_images)


def slices(num_images: int, num_shards: int) -> list[int]:
    """Returns each image's shard: runs whose lengths differ by at most 1."""
    return [i * num_shards // num_images for i in range(num_images)]


def name(split: str, index: int, num_shards: int) -> str:
    """Returns a shard's file name."""
    return f"{split}-{index:05d}-of-{num_shards:05d}.tfrecord"


def file_sha256(path: pathlib.Path) -> str:
    """Returns the SHA-256 of a file's content, as hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


class SplitWriter:
    """Writes one split, shard after shard, and counts what it writes."""

    def __init__(
        self, folder: pathlib.Path, split: str, classes: Sequence[str]
    ) -> None:
        """Prepares to write.

        Args:
          folder: where the shards go.
          split: name of the split.
          classes: class names in the order of their ids.
        """
        self._folder = folder
        self._split = split
        self._classes = classes
        self._writer: tf.io.TFRecordWriter | None = None
        self._shard = -1
        self._records: list[int] = []
        self._parts: list[pathlib.Path] = []
        self._objects: collections.Counter[int] = collections.Counter()
        self._max_boxes = 0

    def write(self, shard: int, record: bytes, labels: Sequence[int]) -> None:
        """Writes one record.

        Args:
          shard: index of its shard; not below that of the record before it.
          record: the serialised Example.
          labels: the ids of its objects.

        Raises:
          command.UserError: the disk refuses.
        """
        try:
            if shard != self._shard:
                self._close_shard()
                self._shard = shard
                part = self._folder / f"{self._split}.{len(self._parts)}.part"
                self._writer = tf.io.TFRecordWriter(str(part))
                self._parts.append(part)
                self._records.append(0)
            assert self._writer is not None
            self._writer.write(record)
        except tf.errors.OpError as error:
            raise _disk_error(self._folder, error) from error
        self._records[-1] += 1
        self._objects.update(labels)
        self._max_boxes = max(self._max_boxes, len(labels))

    def finish(self) -> schema.Split:
        """Gives the shards their names and returns what was written.

        Shards are numbered here, as one whose images were all rejected does not
        exist.

        Raises:
          command.UserError: the disk refuses.
        """
        self.close()
        found = []
        for index, part in enumerate(self._parts):
            final = part.with_name(name(self._split, index, len(self._parts)))
            os.replace(part, final)
            found.append(
                schema.Shard(
                    name=final.name,
                    records=self._records[index],
                    bytes=final.stat().st_size,
                    sha256=file_sha256(final),
                )
            )
        return schema.Split(
            images=sum(self._records),
            objects={
                name: self._objects[label]
                for label, name in enumerate(self._classes, start=1)
            },
            max_boxes_per_image=self._max_boxes,
            shards=tuple(found),
        )

    def close(self) -> None:
        """Closes the last shard.

        Raises:
          command.UserError: the disk refuses.
        """
        try:
            self._close_shard()
        except tf.errors.OpError as error:
            raise _disk_error(self._folder, error) from error

    def _close_shard(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.close()


def _disk_error(
    folder: pathlib.Path, error: tf.errors.OpError
) -> command.UserError:
    return command.UserError(
        command.ExitCode.DISK,
        f"{folder} cannot be written: {error.message}. Make room, or choose"
        " another --output_dir, and run the same command again.",
    )

"""Says of a record that could not be used what is wrong with it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import tensorflow as tf

from efficientdet_aimmo.data import decode, pipeline, shard_scan
from tfrecord_tools import command

_Batch = TypeVar("_Batch")


@dataclasses.dataclass(frozen=True)
class BadRecord:
    """A record that cannot be used.

    Attributes:
      shard: name of its file.
      record: its number in the file, from 0.
      image_id: as the record says; empty where that cannot be read.
      reason: what is wrong.
    """

    shard: str
    record: int
    image_id: str
    reason: str

    def __str__(self) -> str:
        name = f"image {self.image_id}" if self.image_id else "an image"
        return f"{name} ({self.shard}, record {self.record}) {self.reason}"


class Examiner:
    """Examines records one by one; remembers where files break off."""

    def __init__(self) -> None:
        self._ends: dict[str, tuple[int, str]] = {}

    def examine(self, file: str, number: int) -> BadRecord | None:
        """Returns what is wrong with a record, None if nothing is."""
        name = os.path.basename(file)
        if file not in self._ends:
            try:
                found = next(
                    iter(tf.data.TFRecordDataset(file).skip(number)), None
                )
            except tf.errors.OpError as error:
                self._ends[file] = _end(file, shard_scan.reason(error))
            else:
                if found is not None:
                    return _examine(name, number, found)
                self._ends[file] = _end(file, "the file ends there")
        count, why = self._ends[file]
        if number < count:
            records = tf.data.TFRecordDataset(file).skip(number)
            return _examine(name, number, next(iter(records)))
        reason = f"cannot be read: the shard breaks off after record {count}"
        return BadRecord(name, number, "", f"{reason} ({why})")


def _end(file: str, why: str) -> tuple[int, str]:
    records = tf.data.TFRecordDataset(file).ignore_errors()
    return int(records.reduce(0, lambda count, _: count + 1)), why


def _examine(name: str, number: int, record: tf.Tensor) -> BadRecord | None:
    image_id = ""
    try:
        encoded, source_id = pipeline.parse_image(record)
        image_id = source_id.numpy().decode(errors="replace")
        pipeline.parse_objects(record)
    except shard_scan.PARSE_ERRORS as error:
        why = f"cannot be parsed: {shard_scan.reason(error)}"
        return BadRecord(name, number, image_id, why)
    try:
        decode.decode_image(encoded)
    except tf.errors.InvalidArgumentError as error:
        why = f"cannot be decoded: {shard_scan.reason(error)}"
        return BadRecord(name, number, image_id, why)
    return None


def whole(
    elements: Iterable[_Batch],
    files: Sequence[str],
    is_of_others: Callable[[Exception], bool] = lambda _: False,
) -> Iterator[_Batch]:
    """Yields the elements of a data set that no record may be missing from.

    Args:
      elements: what is made of the records of files.
      files: where they come from.
      is_of_others: says of an error that it is none of the records'.

    Raises:
      UserError: a record is bad; it is named.
    """
    try:
        yield from elements
    except (tf.errors.OpError, UnicodeDecodeError) as error:
        if is_of_others(error):
            raise
        raise _failure(error, files) from error


def _failure(
    error: tf.errors.OpError | UnicodeDecodeError, files: Sequence[str]
) -> command.UserError:
    """Returns what to say of an error in reading files: the first bad record.

    Their records are all read and decoded again until one fails.
    """
    said = shard_scan.reason(error)
    for file in files:
        number = 0
        try:
            for number, record in enumerate(tf.data.TFRecordDataset(file)):
                bad = _examine(os.path.basename(file), number, record)
                if bad is not None:
                    return _refusal(str(bad))
        except tf.errors.OpError as again:
            said = f"{file}: {shard_scan.reason(again)}"
            break
    return _refusal(f"the records cannot be read ({said})")


def _refusal(what: str) -> command.UserError:
    return command.UserError(
        command.ExitCode.DATA,
        f"{what[0].upper()}{what[1:]}. Every record counts where a model is"
        " measured: convert the images again.",
    )

"""Reads records of any tool, with their checksums."""

from __future__ import annotations

import itertools
import re
from collections.abc import Generator, Iterator, Sequence
from typing import Any, NamedTuple

import tensorflow as tf
from google.protobuf import message

from tfrecord_tools import record_exam, schema, shard_files

_BUFFER_BYTES = 1 << 22


class Raw(NamedTuple):
    """A record's place and its bytes; or, if content is None, the damage."""

    file: shard_files.ShardFile
    number: int
    content: bytes | None
    damage: str


def features(content: bytes) -> dict[str, tuple[str, list[Any]]] | None:
    """Returns kind and values by key of a serialised tf.train.Example.

    Keys that no check looks at are left out. None if it is no Example.
    """
    try:
        example = tf.train.Example.FromString(content)
    except message.DecodeError:
        return None
    found: dict[str, tuple[str, list[Any]]] = {}
    for key, feature in example.features.feature.items():
        kind = feature.WhichOneof("kind")
        if key in record_exam.KEYS and kind is not None:
            values = list(getattr(feature, kind).value)
            found[key] = (kind.removesuffix("_list"), values)
    return found


def record_name(path: str, number: int) -> str:
    """Returns the file name in a record, or "" where there is none."""
    position, length = next(
        itertools.islice(shard_files.offsets(path), number, None)
    )
    with open(path, "rb") as file:
        file.seek(position)
        found = features(file.read(length)) or {}
    _, values = found.get(schema.FILENAME, ("", []))
    return values[0].decode(errors="backslashreplace") if values else ""


def records(files: Sequence[shard_files.ShardFile]) -> Iterator[Raw]:
    """Yields the records of all files in order, their checksums checked.

    A file is left at the first damage; that is yielded too.
    """
    # As few data sets as possible: each costs 16 ms, and there are data sets
    # of thousands of files. Where a file's records end is known beforehand.
    for whole, group in itertools.groupby(files, _is_whole):
        waiting = list(group)
        while waiting:
            last = yield from _read(waiting if whole else waiting[:1])
            waiting = waiting[last + 1 :]


def _is_whole(file: shard_files.ShardFile) -> bool:
    return file.num_records is not None


def _plain(text: str) -> str:
    """Returns TensorFlow's message without the operation's names."""
    return re.sub(r"^\{\{.*?\}\} | \[Op:.*", "", text.splitlines()[0])


def _read(
    files: list[shard_files.ShardFile],
) -> Generator[Raw, None, int]:
    """Yields until the first damage; returns the index of the last file."""
    index = number = 0
    contents = tf.data.TFRecordDataset(
        [file.path for file in files], buffer_size=_BUFFER_BYTES
    ).as_numpy_iterator()
    try:
        for content in contents:
            while number == files[index].num_records:
                index, number = index + 1, 0
            yield Raw(files[index], number, content, "")
            number += 1
    except tf.errors.OpError as error:
        while number == files[index].num_records:
            index, number = index + 1, 0
        yield Raw(files[index], number, None, _plain(error.message))
        return index
    return len(files) - 1

"""Files of records: which there are, how long, and of which split.

Imports no TensorFlow, as worker processes import it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import hashlib
import os
import re
import struct
from collections.abc import Iterator

from tfrecord_tools import command

_BLOCK_BYTES = 1 << 20
# The framing of TFRecord: length, its checksum, the data, their checksum.
# https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
_HEADER_BYTES = 12
_FOOTER_BYTES = 4
_NUMBERING = re.compile(r"-\d+-of-\d+(?=\.|$)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardFile:
    """One file; sha256 and num_records are what is in it, not what should be.

    num_records is None if the framing breaks off.
    """

    path: str
    bytes: int
    sha256: str
    num_records: int | None

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return os.path.basename(self.path)


def find(pattern: str) -> list[str]:
    """Returns the files that a pattern matches, sorted.

    Raises:
      command.UserError: there is none.
    """
    files = sorted(f for f in glob.glob(pattern) if os.path.isfile(f))
    if not files:
        raise command.UserError(
            command.ExitCode.DATA,
            f"No file matches {pattern}. Expected files of records, as in"
            " --input_pattern='OUT/*.tfrecord', or their folder as"
            " --data_dir=OUT.",
        )
    folders = {os.path.dirname(file) for file in files}
    if len(folders) > 1:
        shown = ", ".join(sorted(folders)[:3])
        raise command.UserError(
            command.ExitCode.DATA,
            f"{pattern} matches files of {len(folders)} folders ({shown}). A"
            " data set is one folder; check one at a time.",
        )
    return files


def split_name(name: str) -> str:
    """Returns the split that a file's name tells of: train-00000-of-00002."""
    stem = _NUMBERING.split(name, maxsplit=1)[0]
    if stem == name:
        stem = os.path.splitext(name)[0]
    return stem or name


def offsets(path: str) -> Iterator[tuple[int, int]]:
    """Yields where each record's data begin and how long they are, in bytes.

    Reads the lengths alone, not their checksums.

    Raises:
      ValueError: the file ends within a record.
    """
    size = os.path.getsize(path)
    position = 0
    with open(path, "rb") as file:
        while position < size:
            file.seek(position)
            header = file.read(_HEADER_BYTES)
            length = -1
            if len(header) == _HEADER_BYTES:
                (length,) = struct.unpack_from("<Q", header)
            end = position + _HEADER_BYTES + length + _FOOTER_BYTES
            if length < 0 or end > size:
                raise ValueError(f"{path} ends within a record")
            yield position + _HEADER_BYTES, length
            position = end


def measure(path: str) -> ShardFile:
    """Returns what is known of a file without reading its records."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    num_records: int | None = None
    with contextlib.suppress(ValueError):
        num_records = sum(1 for _ in offsets(path))
    return ShardFile(
        path=path,
        bytes=os.path.getsize(path),
        sha256=digest.hexdigest(),
        num_records=num_records,
    )

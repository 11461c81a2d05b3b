"""What a format finds in a folder: where each image's annotation lies.

Standard library only, as worker processes import it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfrecord_tools import accounts, annotation, command, files, storage


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One image's annotation, not read yet.

    Attributes:
      file: what messages call it; unless it is set aside or absent, the file's
        path below the input folder.
      aside: where its content was set aside: file, offset and length in bytes.
      is_absent: there is no file, which says that the image has no object.
      image: the image's path below the image folder, if that is known.
      split: the split that the data set itself puts it in.
    """

    file: str
    aside: tuple[str, int, int] | None = None
    is_absent: bool = False
    image: str | None = None
    split: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
    """What it takes to read an entry.

    Attributes:
      format: name of the format.
      folder: the input folder.
      names: the class name of each number, in formats that write numbers.
    """

    format: str
    folder: str
    names: Mapping[int, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """A data set's annotations and images.

    Attributes:
      reading: how the entries are read.
      entries: the annotations.
      images: paths below the image folder.
      annotations: paths below the input folder of all files that were read or
        will be.
      class_names: names in the data set's own order; None if only the
        annotations tell.
      has_splits: the data set says what to train and to validate on.
      faults: what is of no use before an entry could be made of it.
      loose: the account of objects that belong to no entry.
      facts: what was found out, for the manifest; reading adds to it.
    """

    reading: Reading
    entries: list[Entry]
    images: list[str]
    annotations: list[str]
    class_names: tuple[str, ...] | None = None
    has_splits: bool = False
    faults: list[tuple[str, annotation.AnnotationFault]] = dataclasses.field(
        default_factory=list
    )
    loose: accounts.Account = dataclasses.field(
        default_factory=accounts.Account
    )
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)


def read_file(folder: str, path: str) -> bytes:
    """Returns the content of a file below the input folder.

    Raises:
      annotation.AnnotationFault: it cannot be read, or must not be.
    """
    reason = files.fault(folder, path)
    if reason is not None:
        raise annotation.AnnotationFault(
            f"annotation_{reason}",
            "a file inside --input_dir with a plain name was expected",
        )
    try:
        return storage.read_bytes(storage.join(folder, path))
    except OSError as error:
        raise annotation.AnnotationFault(
            "annotation_unreadable", f"{error.strerror}"
        ) from error


def read(folder: str, entry: Entry) -> bytes:
    """Returns an entry's content.

    Args:
      folder: the input folder.
      entry: what to read.

    Raises:
      annotation.AnnotationFault: it cannot be read, or must not be.
    """
    if entry.is_absent:
        return b""
    if entry.aside is None:
        return read_file(folder, entry.file)
    path, offset, length = entry.aside
    try:
        return storage.read_range(path, offset, length)
    except OSError as error:
        raise annotation.AnnotationFault(
            "annotation_unreadable", f"{error.strerror}"
        ) from error


def in_two_splits(count: int, example: str) -> command.UserError:
    """Returns the error for images that a data set puts into two splits."""
    return command.UserError(
        command.ExitCode.DATA,
        f"The data set puts {count} images into both train and val, such as"
        f" {files.printable(example)}. Validation would measure what was learnt"
        " by heart: correct its lists, give --train_list and --val_list, or"
        " --eval_on_train if that is wanted.",
    )

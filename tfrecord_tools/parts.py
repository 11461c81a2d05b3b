"""Parts: one shard's images, and what their files hold once they are whole.

A part is the unit of progress. Once its entry is in the folder, its files are
whole and are not made again. What is in an entry follows from the part's images
alone, so any engine, and any number of attempts, gives the same one.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from typing import Any

from tfrecord_tools import prepare, storage, stored_files

ENTRY = ".entry"
RECORDS = ".records"
TRUTH = ".truth"
UNFINISHED = ".unfinished"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Item:
    """One image to write.

    Attributes:
      image: its path below the image folder.
      source_id: its number, from 1 on.
      num_objects: how many its annotation has, whatever becomes of them.
      task: what a worker needs to prepare it.
    """

    image: str
    source_id: int
    num_objects: int
    task: prepare.Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """The images of one shard."""

    split: str
    index: int
    items: tuple[Item, ...]

    @property
    def name(self) -> str:
        """What the part's files are called, without an ending."""
        return f"{self.split}.{self.index:05d}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """What a finished part holds; JSON can hold all of it.

    Attributes:
      split: the part's split.
      index: its place among the split's parts.
      num_images: how many were written.
      bytes: size of the file of records; 0 if there is none.
      sha256: of that file, or "".
      truth_sha256: of the file of boxes.
      files_sha256: of the images and labels stored as files, or "".
      objects: how many were written, by label as text.
      max_boxes: most objects in one image.
      num_clipped: boxes cut at the image's edge.
      source_sizes: number of images by "WIDTHxHEIGHT" before resizing.
      image_account: Account.to_json() of the part's images.
      object_account: likewise of its objects.
    """

    split: str
    index: int
    num_images: int
    bytes: int
    sha256: str
    truth_sha256: str
    files_sha256: str
    objects: dict[str, int]
    max_boxes: int
    num_clipped: int
    source_sizes: dict[str, int]
    image_account: dict[str, Any]
    object_account: dict[str, Any]

    @property
    def name(self) -> str:
        """The name of the part."""
        return f"{self.split}.{self.index:05d}"


def records_name(name: str) -> str:
    """Returns what the file of a part's records is called."""
    return name + RECORDS


def records_path(folder: str, name: str) -> str:
    """Returns where a part's records are."""
    return storage.join(folder, records_name(name))


def truth_path(folder: str, name: str) -> str:
    """Returns where a part's boxes are, one image a line."""
    return storage.join(folder, name + TRUTH)


def truth(folder: str, name: str) -> Iterator[dict[str, Any]]:
    """Yields what a finished part says of each of its images."""
    content = storage.read_bytes(truth_path(folder, name))
    for line in content.splitlines():
        yield json.loads(line)


def finished(folder: str, parts: Iterable[Part]) -> dict[str, Entry]:
    """Returns the entries that are there, by part's name; their files as well.

    An entry whose files are not what it says is not among them.
    """
    found = {}
    there = set(storage.names(folder))
    for part in parts:
        if part.name + ENTRY in there:
            entry = read_entry(folder, part)
            if entry is not None and _is_whole(folder, entry):
                found[part.name] = entry
    return found


def read_entry(folder: str, part: Part) -> Entry | None:
    """Returns a part's entry; None if it is not one."""
    path = storage.join(folder, part.name + ENTRY)
    try:
        entry = Entry(**json.loads(storage.read_bytes(path)))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    is_it = (entry.split, entry.index) == (part.split, part.index)
    return entry if is_it else None


def _is_whole(folder: str, entry: Entry) -> bool:
    try:
        if storage.sha256(truth_path(folder, entry.name)) != entry.truth_sha256:
            return False
        stored = [line["stored"] for line in truth(folder, entry.name)]
        if entry.files_sha256 != stored_files.digest_of(
            folder, entry.split, stored, entry.files_sha256
        ):
            return False
        if not entry.sha256:
            return True
        path = records_path(folder, entry.name)
        return storage.sha256(path) == entry.sha256
    except FileNotFoundError:
        return False


def remove_unfinished(folder: str, entries: dict[str, Entry]) -> None:
    """Removes the files of parts that have no entry."""
    for name in storage.names(folder):
        part = ".".join(name.split(".")[:2])
        is_ours = any(e in name for e in (ENTRY, RECORDS, TRUTH))
        if is_ours and (part not in entries or name.endswith(UNFINISHED)):
            storage.remove(storage.join(folder, name))

"""Finds ids, images and names that are there twice, or in two splits."""

from __future__ import annotations

import array
import collections
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tfrecord_tools import (
    coco_file,
    findings,
    reading,
    record_checks,
    record_exam,
    shard_files,
)

_NUMBER_BITS = 40  # of a place; the rest is the file's index


def place(file: int, number: int) -> int:
    """Returns one number for a record: its file's index and its place there."""
    return file << _NUMBER_BITS | number


class Marks:
    """Finds equal 64-bit numbers, in 16 bytes for each number added."""

    def __init__(self) -> None:
        self._values = array.array("Q")
        self._places = array.array("Q")

    def add(self, value: int, place: int) -> None:
        """Adds a number and where it was found."""
        self._values.append(value)
        self._places.append(place)

    def repeated(self) -> Iterator[list[int]]:
        """Yields the places of each number that was added more than once."""
        values = np.array(self._values, np.uint64)
        order = np.argsort(values, kind="stable")
        is_same = np.diff(values[order]) == 0
        places = np.array(self._places, np.uint64)[order]
        edges = np.flatnonzero(np.diff(np.r_[False, is_same, False]))
        groups = [
            places[first : last + 1].tolist()
            for first, last in edges.reshape(-1, 2)
        ]
        yield from sorted(groups)


class Repeats:
    """What of all records may not be there twice, in 50 bytes for each."""

    def __init__(
        self, files: Sequence[shard_files.ShardFile], splits: Sequence[str]
    ) -> None:
        """Starts with no record.

        Args:
          files: all files, by the index in a record's place.
          splits: the split of each.
        """
        self._files = files
        self._splits = splits
        self._ids: dict[str, Marks] = collections.defaultdict(Marks)
        self._images = Marks()
        self._names = Marks()

    def add(self, split: str, checked: record_checks.Checked) -> None:
        """Adds a record."""
        if checked.source_id is not None:
            self._ids[split].add(checked.source_id, checked.place)
        if checked.content_digest:
            self._images.add(checked.content_digest, checked.place)
        if checked.file_name:
            name = coco_file.digest(checked.file_name)
            self._names.add(name, checked.place)

    def _split(self, place: int) -> str:
        return self._splits[place >> _NUMBER_BITS]

    def _where(self, place: int) -> str:
        file = self._files[place >> _NUMBER_BITS]
        number = place & ((1 << _NUMBER_BITS) - 1)
        name = reading.record_name(file.path, number)
        return record_exam.where(file.name, number, name)

    def check(
        self,
        split_rule: Mapping[str, Any],
        is_ours: bool,
        found: findings.Findings,
    ) -> None:
        """Reports what is there twice.

        Args:
          split_rule: the manifest's, {} without one.
          is_ours: whether file names are paths, each of one image.
          found: where it goes.
        """
        for marks in self._ids.values():
            for first, *others in marks.repeated():
                for other in others:
                    self._report(
                        found, "source_id", first, other, "the same source_id"
                    )
        if split_rule.get("eval_on_train"):
            found.add(
                "leak",
                "val has the images of train, as --eval_on_train asked for: its"
                " figures say nothing of other images",
                is_warning=True,
            )
            return
        leaked = self._check_images(found)
        for first, *others in self._names.repeated():
            for other in others:
                if self._split(other) == self._split(first) or other in leaked:
                    continue
                text = "the same file name"
                self._report(found, "leak", first, other, text, not is_ours)

    def _check_images(self, found: findings.Findings) -> set[int]:
        """Reports equal images; returns the places of those in two splits."""
        leaked = set()
        text = "the same image"
        for first, *others in self._images.repeated():
            for other in others:
                if self._split(other) == self._split(first):
                    self._report(found, "same_image", first, other, text, True)
                else:
                    leaked.add(other)
                    self._report(found, "leak", first, other, text)
        return leaked

    def _report(
        self,
        found: findings.Findings,
        kind: str,
        first: int,
        other: int,
        what: str,
        is_warning: bool = False,
    ) -> None:
        sentence = ""
        if found.has_room(kind, is_warning):
            # Only now, as names are read from the files again.
            places = self._where(other), self._where(first)
            sentence = f"{places[0]} has {what} as {places[1]}"
        found.add(kind, sentence, is_warning)

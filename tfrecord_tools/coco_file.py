"""A COCO JSON file as arrays: some 50 bytes for each object, not 1000.

So the ground truth of 100,000 images can be compared with their records.
"""

from __future__ import annotations

import array
import dataclasses
import hashlib
import math
from typing import Any, NamedTuple

import numpy as np

from tfrecord_tools import json_stream

MAX_FAULTS = 100  # kept as sentences; the file is of another kind then


class Truth(NamedTuple):
    """What the file says of one image.

    Attributes:
      height: pixels of the image as stored.
      width: likewise.
      name_digest: of the file name, see digest().
      labels: [N] int64 category ids.
      boxes: [N, 4] float64, y_min, x_min, y_max, x_max, pixels as stored.
      is_crowd: [N] bool.
      is_difficult: [N] bool, as ground_truth.Writer marks them.
    """

    height: int
    width: int
    name_digest: int
    labels: np.ndarray
    boxes: np.ndarray
    is_crowd: np.ndarray
    is_difficult: np.ndarray


def digest(text: str) -> int:
    """Returns 64 bits that tell texts apart: a name in the space of a number.

    For a million names the chance that two are alike is below 1e-7.
    """
    content = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(
        hashlib.blake2b(content, digest_size=8).digest(), "big"
    )


@dataclasses.dataclass
class _Columns:
    """Values in the order of the file."""

    image_ids: array.array
    sizes: array.array  # height, width
    names: array.array
    object_images: array.array
    labels: array.array
    boxes: array.array
    crowds: array.array
    difficult: array.array


class CocoFile:
    """The images and objects of a file, to be looked up by image id.

    Attributes:
      categories: name by id.
      faults: what is wrong with entries of the file, as sentences.
      num_faults: how many there are.
      was_asked_for: [I] bool, for each image whether find() was called.
    """

    def __init__(self, path: str) -> None:
        """Reads a file.

        Raises:
          ValueError: it is not JSON, or no COCO data set.
          OSError: it cannot be read.
        """
        self.categories: dict[int, str] = {}
        self.faults: list[str] = []
        self.num_faults = 0
        found = _Columns(*(array.array(code) for code in "qqQqqdbb"))
        try:
            with open(path, encoding="utf-8") as file:
                for key, item in json_stream.items(file):
                    self._add(key, item, found)
        except RecursionError as error:
            raise ValueError("its lists are nested too deeply") from error
        if not found.image_ids:
            raise ValueError("it has no images")
        self._sort(found)

    def _fault(self, sentence: str) -> None:
        self.num_faults += 1
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(sentence)

    def _add(self, key: str, item: Any, found: _Columns) -> None:
        if key not in ("images", "annotations", "categories"):
            return
        what = f"{key[:-1]} {item.get('id') if isinstance(item, dict) else ''}"
        try:
            if key == "categories":
                self.categories[_integer(item["id"])] = str(item["name"])
            elif key == "images":
                row = [_integer(item[k]) for k in ("id", "height", "width")]
                # Where images are files too, file_name is the stored one's.
                name = item.get("original", item["file_name"])
                found.names.append(digest(str(name)))
                found.image_ids.append(row[0])
                found.sizes.extend(row[1:])
            else:
                numbers = [float(value) for value in item["bbox"]]
                if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
                    raise ValueError(f"bbox {item['bbox']!r}")
                image = _integer(item["image_id"])
                label = _integer(item["category_id"])
                crowd = bool(item.get("iscrowd", 0))
                difficult = bool(item.get("difficult", 0))
                x, y, width, height = numbers
                found.object_images.append(image)
                found.labels.append(label)
                found.boxes.extend((y, x, y + height, x + width))
                found.crowds.append(crowd)
                found.difficult.append(difficult)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            self._fault(f"{what}: {type(error).__name__}: {error}")

    def _sort(self, found: _Columns) -> None:
        ids = np.array(found.image_ids, np.int64)
        order = np.argsort(ids, kind="stable")
        self.image_ids = ids[order]
        twice = self.image_ids[1:][np.diff(self.image_ids) == 0]
        for number in np.unique(twice):
            self._fault(f"image id {number} is given twice")
        self._sizes = np.array(found.sizes, np.int64).reshape(-1, 2)[order]
        self._names = np.array(found.names, np.uint64)[order]
        owners = np.array(found.object_images, np.int64)
        order = np.argsort(owners, kind="stable")
        self._owners = owners[order]
        self._labels = np.array(found.labels, np.int64)[order]
        self._boxes = np.array(found.boxes, np.float64).reshape(-1, 4)[order]
        self._crowds = np.array(found.crowds, bool)[order]
        self._difficult = np.array(found.difficult, bool)[order]
        known = np.isin(self._owners, self.image_ids)
        for number in np.unique(self._owners[~known]):
            self._fault(f"annotations are of image id {number}, not in images")
        self.was_asked_for = np.zeros(len(self.image_ids), bool)

    def find(self, image_id: int | None) -> Truth | None:
        """Returns what the file says of an image; None if it is not there."""
        if image_id is None:
            return None
        at = int(np.searchsorted(self.image_ids, image_id))
        if at == len(self.image_ids) or self.image_ids[at] != image_id:
            return None
        self.was_asked_for[at] = True
        first, last = np.searchsorted(self._owners, [image_id, image_id + 1])
        return Truth(
            height=int(self._sizes[at, 0]),
            width=int(self._sizes[at, 1]),
            name_digest=int(self._names[at]),
            labels=self._labels[first:last],
            boxes=self._boxes[first:last],
            is_crowd=self._crowds[first:last],
            is_difficult=self._difficult[first:last],
        )


def _integer(value: Any) -> int:
    if type(value) is not int:
        raise ValueError(f"{value!r} is no whole number")
    return value

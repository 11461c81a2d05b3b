"""The figures of a written data set, from its COCO JSON, in bounded memory."""

from __future__ import annotations

import array
import collections
import contextlib
import dataclasses
import hashlib
import heapq
import math
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TextIO

import numpy as np

from tfrecord_tools import json_stream, storage

# Sides of boxes, as the root of their area, in pixels; COCO calls objects
# below 32 small and those from 96 on large.
SIZE_EDGES = (8, 16, 32, 64, 96, 192, 384)
COUNT_EDGES = (1, 2, 3, 5, 9, 17, 33)
# AIMMO: milliseconds, then the camera.
_CAMERA = re.compile(r"\d{6,}_(.+)")


class Sample(NamedTuple):
    """One object chosen for the contact sheet; box is x, y, width, height.

    Samples of the least rank are kept: a hash, so each object has the same
    chance and the choice is the same every time.
    """

    rank: int
    split: str
    image: int
    label: int
    box: tuple[float, float, float, float]


@dataclasses.dataclass
class Figures:
    """What a split's COCO JSON shows.

    Attributes:
      image_ids: in the order of the file, which is that of the records.
      sizes: for each class id the number of boxes by SIZE_EDGES.
      per_image: number of images by their objects, by COUNT_EDGES.
      cameras: images by camera, as far as it is known.
      drives: images by drive, or by folder.
    """

    image_ids: array.array
    sizes: dict[int, list[int]]
    per_image: list[int]
    cameras: collections.Counter[str]
    drives: collections.Counter[str]


class _Samples:
    """The samples of each class: those with the least ranks."""

    def __init__(self, num_samples: int) -> None:
        self._num_samples = num_samples
        # heapq keeps the least first, here that of the greatest rank.
        self._heaps: dict[int, list[tuple[int, Sample]]] = {}

    def add(self, sample: Sample) -> None:
        heap = self._heaps.setdefault(sample.label, [])
        item = (-sample.rank, sample)
        if len(heap) < self._num_samples:
            heapq.heappush(heap, item)
        elif item > heap[0]:
            heapq.heapreplace(heap, item)

    def by_class(self) -> dict[int, list[Sample]]:
        return {
            label: sorted(sample for _, sample in heap)
            for label, heap in sorted(self._heaps.items())
        }


def collect(
    folder: str, splits: Sequence[str], num_samples: int
) -> tuple[dict[str, Figures], dict[int, list[Sample]]]:
    """Returns the figures of each split, and samples of each class id.

    A split without a COCO JSON is left out.

    Args:
      folder: where <split>.json are.
      splits: their names.
      num_samples: objects to choose of each class.

    Raises:
      ValueError: a file is not what ground_truth.Writer writes.
    """
    samples = _Samples(num_samples)
    figures = {}
    for split in splits:
        path = storage.join(folder, f"{split}.json")
        if storage.is_file(path):
            with _text(path) as file:
                figures[split] = _figures(file, split, samples)
    return figures, samples.by_class()


def _bin(edges: Sequence[int], value: float) -> int:
    return sum(value >= edge for edge in edges)


@contextlib.contextmanager
def _text(path: str) -> Iterator[TextIO]:
    """Opens a file; one in an object store is fetched first."""
    with tempfile.TemporaryDirectory() as folder:
        local = path
        if storage.is_remote(path):
            local = os.path.join(folder, os.path.basename(path))
            storage.copy(path, local)
        with open(local, encoding="utf-8") as file:
            yield file


def _figures(file: TextIO, split: str, samples: _Samples) -> Figures:
    found = Figures(
        image_ids=array.array("q"),
        sizes={},
        per_image=[0] * (len(COUNT_EDGES) + 1),
        cameras=collections.Counter(),
        drives=collections.Counter(),
    )
    owners = array.array("q")
    for key, item in json_stream.items(file):
        if key == "images":
            found.image_ids.append(item["id"])
            _count_origin(item, found)
        elif key == "annotations":
            _, _, width, height = item["bbox"]
            counts = found.sizes.setdefault(
                item["category_id"], [0] * (len(SIZE_EDGES) + 1)
            )
            counts[_bin(SIZE_EDGES, math.sqrt(width * height))] += 1
            owners.append(item["image_id"])
            samples.add(_sample(split, item))
    _, counts_per_image = np.unique(
        np.array(owners, np.int64), return_counts=True
    )
    found.per_image[0] = len(found.image_ids) - len(counts_per_image)
    for number, images in collections.Counter(
        counts_per_image.tolist()
    ).items():
        found.per_image[_bin(COUNT_EDGES, number)] += images
    return found


def _count_origin(item: dict[str, Any], found: Figures) -> None:
    """Counts camera and drive; without a field for them by the name."""
    folder, name = os.path.split(item.get("original", item["file_name"]))
    stem = os.path.splitext(name)[0]
    named = _CAMERA.fullmatch(stem)
    camera = item.get("camera") or (named and named[1])
    if camera:
        found.cameras[str(camera)] += 1
    drive = item.get("drive") or folder
    if drive:
        found.drives[str(drive)] += 1


def _sample(split: str, item: dict[str, Any]) -> Sample:
    text = f"{split}:{item['id']}".encode()
    rank = hashlib.blake2b(text, digest_size=8).digest()
    x, y, width, height = item["bbox"]
    return Sample(
        rank=int.from_bytes(rank, "big"),
        split=split,
        image=item["image_id"],
        label=item["category_id"],
        box=(x, y, width, height),
    )

"""Finds images that look the same on both sides of a split.

The hash is the difference hash (N. Krawetz, "Kind of Like That", 2013) in both
directions: an image is shrunk to 9x9 in grey; 64 bits say whether a pixel is
lighter than its left neighbour, 64 more whether it is than the one above. The
distance of two images is the number of bits in which they differ.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from tfrecord_tools import images, pool, progress, storage

_SIDE = 8
NUM_BITS = 2 * _SIDE * _SIDE
_BATCH = 16  # images per message to a worker
_ROWS, _COLUMNS = 1024, 4096  # of a block of distances, 16 MB
_MAX_EXAMPLES = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
    """What the flags say about near-duplicates.

    Attributes:
      is_on: look for them.
      max_distance: bits in which two images may differ and count as the same.
      move: put them on one side.
    """

    is_on: bool
    max_distance: int
    move: bool


OFF = Check(is_on=False, max_distance=0, move=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
    """Two images of different splits, and in how many bits they differ."""

    distance: int
    first: str
    second: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """The near-duplicates across splits.

    Attributes:
      num_pairs: how many there are.
      num_images: per split, how many of its images are in a pair.
      examples: the nearest of them.
      links: the groups of two images, for each pair of groups that has any.
    """

    num_pairs: int
    num_images: dict[str, int]
    examples: tuple[Pair, ...]
    links: frozenset[tuple[str, str]]


def image_hash(path: str, max_pixels: int) -> bytes | None:
    """Returns the hash of an image, 16 bytes; None if it cannot be read."""
    try:
        small = images.read_small(path, max_pixels, (_SIDE + 1, _SIDE + 1))
    except images.ImageFault:
        return None  # writing says what is wrong with it
    pixels = np.asarray(small, np.int16)
    beside = pixels[:_SIDE, 1:] > pixels[:_SIDE, :-1]
    below = pixels[1:, :_SIDE] > pixels[:-1, :_SIDE]
    return np.packbits([beside, below]).tobytes()


def _hash_all(
    folder: str, max_pixels: int, batch: Sequence[str]
) -> list[bytes | None]:
    return [image_hash(storage.join(folder, p), max_pixels) for p in batch]


def hash_images(
    folder: str, paths: Sequence[str], max_pixels: int, num_workers: int
) -> dict[str, bytes]:
    """Returns the hash of each image that can be read.

    Args:
      folder: the image folder.
      paths: the images below it.
      max_pixels: larger images are not read.
      num_workers: processes.
    """
    batches = [paths[i : i + _BATCH] for i in range(0, len(paths), _BATCH)]
    results = itertools.chain.from_iterable(
        pool.run_in_order(
            functools.partial(_hash_all, folder, max_pixels),
            batches,
            min(num_workers, max(1, len(batches))),
        )
    )
    shown = progress.shown(results, len(paths), "Looking for near-duplicates")
    found = zip(paths, shown, strict=True)
    return {path: value for path, value in found if value is not None}


def find(
    hashes: Mapping[str, bytes],
    sides: Mapping[str, str],
    groups: Mapping[str, str],
    max_distance: int,
) -> Found:
    """Returns the pairs of images on different sides that look the same.

    All pairs are compared: the product of vectors of 1 and -1 is the number of
    equal bits less that of different ones, and a matrix product of 78,000 by
    78,000 takes seconds whatever the images are like.

    Args:
      hashes: the hash of each image.
      sides: the split of each image.
      groups: the group of each image.
      max_distance: largest distance of a pair.
    """
    members: dict[str, list[str]] = collections.defaultdict(list)
    for path in sorted(hashes):
        members[sides[path]].append(path)
    vectors = {name: _vectors(hashes, paths) for name, paths in members.items()}
    num_pairs = 0
    in_pair: dict[str, set[str]] = {name: set() for name in members}
    nearest: list[Pair] = []
    links: set[tuple[str, str]] = set()
    for one, other in itertools.combinations(sorted(members), 2):
        for rows, columns, distances in _near(
            vectors[one], vectors[other], max_distance
        ):
            first = [members[one][i] for i in np.unique(rows)]
            second = [members[other][i] for i in np.unique(columns)]
            in_pair[one].update(first)
            in_pair[other].update(second)
            num_pairs += len(rows)
            best = np.argsort(distances, kind="stable")[:_MAX_EXAMPLES]
            nearest += [
                Pair(
                    distance=int(distances[i]),
                    first=members[one][rows[i]],
                    second=members[other][columns[i]],
                )
                for i in best
            ]
            nearest = sorted(nearest, key=dataclasses.astuple)[:_MAX_EXAMPLES]
            links |= _links(
                [groups[p] for p in members[one]],
                [groups[p] for p in members[other]],
                rows,
                columns,
            )
    return Found(
        num_pairs=num_pairs,
        num_images={name: len(paths) for name, paths in in_pair.items()},
        examples=tuple(nearest),
        links=frozenset(links),
    )


def _vectors(hashes: Mapping[str, bytes], paths: Sequence[str]) -> np.ndarray:
    """Returns the bits of the hashes as 1 and -1: [N, NUM_BITS] float32."""
    joined = b"".join(hashes[path] for path in paths)
    bits = np.unpackbits(np.frombuffer(joined, np.uint8))
    return bits.reshape(-1, NUM_BITS).astype(np.float32) * 2 - 1


def _near(
    first: np.ndarray, second: np.ndarray, max_distance: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yields row, column and distance of near pairs, block by block."""
    least = NUM_BITS - 2 * max_distance
    for top in range(0, len(first), _ROWS):
        for start in range(0, len(second), _COLUMNS):
            block = (
                first[top : top + _ROWS] @ second[start : start + _COLUMNS].T
            )
            if block.max() < least:
                continue
            rows, columns = np.nonzero(block >= least)
            distances = (NUM_BITS - block[rows, columns]).astype(np.int64) // 2
            yield rows + top, columns + start, distances


def _links(
    first: Sequence[str],
    second: Sequence[str],
    rows: np.ndarray,
    columns: np.ndarray,
) -> set[tuple[str, str]]:
    pairs = np.unique(np.stack([rows, columns], 1), axis=0).tolist()
    return {
        (min(first[i], second[j]), max(first[i], second[j])) for i, j in pairs
    }

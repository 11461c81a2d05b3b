"""Puts groups that look the same on one side of a split."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from tfrecord_tools import command, duplicates, split

_MAX_MOVED = 100  # that the manifest names


@dataclasses.dataclass(frozen=True, kw_only=True)
class Move:
    """One group that changed sides: its images, from where, and where to."""

    group: str
    num_images: int
    origin: str
    target: str


def settle(
    assignment: split.Assignment,
    groups: Mapping[str, str],
    hashes: Mapping[str, bytes],
    max_distance: int,
) -> tuple[split.Assignment, list[Move]]:
    """Returns the assignment without near-duplicates across its splits.

    Groups that are linked by near-duplicates, directly or over others, all go
    to the split that has most of their images; of equal ones, to the first.

    Args:
      assignment: the splits, or the folds.
      groups: the group of each image; the images of a group stay together.
      hashes: the hash of each image.
      max_distance: largest distance of near-duplicates.

    Raises:
      command.UserError: a split would lose all its images.
    """
    before = assignment.sides
    sides = dict(before)
    links: set[tuple[str, str]] = set()
    # What has moved may look like something that was on its own side before.
    while found := duplicates.find(hashes, sides, groups, max_distance).links:
        links |= found
        _join(sides, groups, list(assignment.splits), links)
    splits: dict[str, tuple[str, ...]] = {
        name: tuple(sorted(i for i, s in sides.items() if s == name))
        for name in assignment.splits
    }
    for name, members in splits.items():
        if not members:
            raise command.UserError(
                command.ExitCode.DATA,
                f"--move_duplicates would leave no image in split {name!r}: all"
                f" its {len(assignment.splits[name])} images look like images"
                " of other splits. Lower --duplicate_distance"
                f" ({max_distance}), leave --move_duplicates out, or divide by"
                " other groups (--group_regex). Nothing was written.",
            )
    return dataclasses.replace(assignment, splits=splits), _moves(
        before, sides, groups
    )


def _join(
    sides: dict[str, str],
    groups: Mapping[str, str],
    names: list[str],
    links: Iterable[tuple[str, str]],
) -> None:
    """Puts each set of linked groups on one side."""
    roots: dict[str, str] = {}

    def root(group: str) -> str:
        while roots.setdefault(group, group) != group:
            roots[group] = roots[roots[group]]
            group = roots[group]
        return group

    for one, other in sorted(links):
        low, high = sorted((root(one), root(other)))
        roots[high] = low
    members: dict[str, list[str]] = collections.defaultdict(list)
    for image in sides:
        if groups[image] in roots:
            members[root(groups[image])].append(image)
    for paths in members.values():
        sizes = collections.Counter(sides[image] for image in paths)
        target = max(names, key=lambda name: sizes[name])
        sides.update((image, target) for image in paths)


def _moves(
    before: Mapping[str, str],
    after: Mapping[str, str],
    groups: Mapping[str, str],
) -> list[Move]:
    numbers = collections.Counter(
        (groups[image], side, after[image])
        for image, side in before.items()
        if side != after[image]
    )
    return [
        Move(group=group, num_images=number, origin=origin, target=target)
        for (group, origin, target), number in sorted(numbers.items())
    ]


def as_dict(moves: list[Move]) -> dict[str, Any]:
    """Returns the moves for the manifest."""
    return {
        "groups": len(moves),
        "images": sum(move.num_images for move in moves),
        "examples": [dataclasses.asdict(m) for m in moves[:_MAX_MOVED]],
    }

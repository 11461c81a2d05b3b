"""Completes a split: near-duplicates, folds, and what came of it."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any

from tfrecord_tools import choosing, duplicates, moving, split


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
    """How images are read to be hashed; max_pixels refuses larger ones."""

    folder: str
    max_pixels: int
    num_workers: int


def finish(
    chosen: choosing.Chosen,
    table: choosing.Table,
    choice: split.Choice,
    check: duplicates.Check,
    reading: Reading,
) -> split.Assignment:
    """Returns the final splits; the rule says what came of it.

    Args:
      chosen: the images of each split or fold.
      table: what is known of the images.
      choice: the split's rule.
      check: what to do about near-duplicates.
      reading: how to read the images.

    Raises:
      command.UserError: moving near-duplicates would empty a split.
    """
    assignment, report = chosen.assignment, None
    if check.is_on and len(assignment.splits) > 1:
        hashes = duplicates.hash_images(
            reading.folder,
            sorted(assignment.images),
            reading.max_pixels,
            reading.num_workers,
        )
        joined = split.join_folds(choice, assignment)
        found = duplicates.find(
            hashes, joined.sides, chosen.groups, check.max_distance
        )
        report = {
            "distance": check.max_distance,
            "not_readable": len(assignment.images) - len(hashes),
            "pairs": found.num_pairs,
            "images": found.num_images,
            "examples": [dataclasses.asdict(p) for p in found.examples],
        }
        if check.move:
            # Between all folds: they must still divide the data.
            assignment, moves = moving.settle(
                assignment, chosen.groups, hashes, check.max_distance
            )
            report["moved"] = moving.as_dict(moves)
    assignment = split.join_folds(choice, assignment)
    rule = dict(assignment.rule)
    if len(assignment.splits) > 1:
        rule |= _outcome(assignment, chosen.groups, table, choice)
        rule["near_duplicates"] = report
    return dataclasses.replace(assignment, rule=rule)


def _outcome(
    assignment: split.Assignment,
    groups: dict[str, str],
    table: choosing.Table,
    choice: split.Choice,
) -> dict[str, Any]:
    """Returns shares, groups and missing classes of each split."""
    members = {
        name: {groups[image] for image in part}
        for name, part in assignment.splits.items()
    }
    # A folder that stands for an unknown drive says little.
    known = {
        groups[image]
        for image in assignment.images
        if choice.group_regex or table.value(image, choosing.DRIVE) is not None
    }
    occurrences = collections.Counter(
        group for keys in members.values() for group in keys & known
    )
    shared = sorted(group for group, n in occurrences.items() if n > 1)
    num_images = len(assignment.images)
    asked = asked_shares(choice)
    outcome: dict[str, Any] = {
        "shares": {
            name: {
                "asked": asked.get(name),
                "reached": round(len(part) / num_images, 4),
                "groups": len(members[name]),
            }
            for name, part in assignment.splits.items()
        },
        "missing_classes": _missing(assignment, groups, table),
    }
    if choice.is_by_group:
        outcome["groups"] = {
            name: sorted(keys)
            for name, keys in members.items()
            if name != split.TRAIN
        }
    elif shared:
        outcome["groups_in_several_splits"] = {
            "count": len(shared),
            "examples": shared[:20],
        }
    return outcome


def asked_shares(choice: split.Choice) -> dict[str, float]:
    """Returns the share asked for each split that has one."""
    targets = choice.targets or {}
    if choice.num_folds is None:
        return targets
    test = targets.get(split.TEST, 0.0)
    fold = (1 - test) / choice.num_folds
    shares = {split.TRAIN: 1 - test - fold, split.VAL: fold}
    return shares | ({split.TEST: test} if test else {})


def _missing(
    assignment: split.Assignment,
    groups: dict[str, str],
    table: choosing.Table,
) -> dict[str, dict[str, int]]:
    """Returns, per split, each class it lacks and how many groups have it."""
    holders: dict[str, set[str]] = collections.defaultdict(set)
    there: dict[str, set[str]] = collections.defaultdict(set)
    for image, name in assignment.sides.items():
        for class_name, number in table.objects(image).items():
            if number:
                holders[class_name].add(groups[image])
                there[name].add(class_name)
    lost = {
        name: {c: len(holders[c]) for c in sorted(holders) if c not in classes}
        for name in assignment.splits
        for classes in [there[name]]
    }
    return {name: classes for name, classes in lost.items() if classes}

"""Chooses images by what annotations say, by number, and into splits."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from tfrecord_tools import (
    balancing,
    command,
    duplicates,
    grouping,
    label_map,
    prepare,
    selection,
    split,
)

DRIVE = "drive"
NUM_OBJECTS = "num_objects"
_UNKNOWN_CAMERA = "unknown"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selection:
    """What the flags say about which images and objects are used."""

    filters: selection.Filters = selection.NONE
    max_images: int | None = None
    camera_shares: Mapping[str, float] = dataclasses.field(default_factory=dict)
    check: duplicates.Check = duplicates.OFF

    def arguments(self) -> dict[str, Any]:
        """Returns all of it for the manifest."""
        filters = self.filters
        return {
            "image_filter": [f.text for f in filters.images],
            "object_filter": [f.text for f in filters.objects],
            "keep_fake": filters.keep_fake,
            "max_images": self.max_images,
            "camera_share": dict(self.camera_shares),
            "check_duplicates": self.check.is_on,
            "move_duplicates": self.check.move,
            "duplicate_distance": self.check.max_distance,
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chosen:
    """The images of each split or fold.

    Attributes:
      assignment: the splits, or the folds.
      groups: the group of each image that passed the filters.
      left_out: why an image is in no split, for all others.
      report: counts before and after, for the manifest.
    """

    assignment: split.Assignment
    groups: dict[str, str]
    left_out: dict[str, str]
    report: dict[str, Any]


def check_selection(wanted: Selection) -> None:
    """Checks that the flags do not contradict each other.

    Raises:
      command.UserError: they do.
    """
    message = ""
    if wanted.camera_shares and wanted.max_images is None:
        message = "--camera_share needs --max_images: of how many images?"
    elif wanted.check.move and not wanted.check.is_on:
        message = (
            "--move_duplicates and --nocheck_duplicates exclude each other."
        )
    if message:
        raise command.UserError(command.ExitCode.USAGE, message)


class Table:
    """What is known of each usable image."""

    def __init__(
        self,
        usable: Mapping[str, prepare.Summary],
        labels: label_map.LabelMap,
    ) -> None:
        self._usable = usable
        self._classes = labels.classes
        self.counts: dict[str, tuple[int, ...]] = {}
        for image, summary in usable.items():
            row = [0] * len(labels.classes)
            for name, number in summary.class_counts.items():
                label = labels.label(name)
                if label is not None:
                    row[label - 1] += number
            self.counts[image] = tuple(row)

    def value(self, image: str, field: str) -> str | None:
        """Returns a field of an image, or None."""
        summary = self._usable[image]
        if field == NUM_OBJECTS:
            return str(sum(self.counts[image]))
        if field == DRIVE:
            return summary.drive
        return summary.fields.get(field)

    def objects_without(self, filters: selection.Filters) -> dict[str, int]:
        """Returns how many objects lack the field of a filter."""
        fields = {item.field: 0 for item in filters.objects}
        for summary in self._usable.values():
            for field in fields:
                fields[field] += summary.num_read - summary.seen.get(field, 0)
        return {field: number for field, number in fields.items() if number}

    @property
    def class_names(self) -> dict[str, int]:
        """Number of objects per annotated class, all images together."""
        counts: collections.Counter[str] = collections.Counter()
        for summary in self._usable.values():
            counts.update(summary.class_counts)
        return dict(counts)

    def camera(self, image: str) -> str:
        """Returns the camera of an image."""
        fields = self._usable[image].fields
        return fields.get(selection.CAMERA, _UNKNOWN_CAMERA)

    def seen(self, fields: Iterable[str]) -> collections.Counter[str]:
        """Returns how many images have each field, and each of its values."""
        counts: collections.Counter[str] = collections.Counter()
        for field in fields:
            for image in self._usable:
                value = self.value(image, field)
                if value is not None:
                    counts.update((field, f"{field}:{value}"))
        return counts

    def objects(self, image: str) -> dict[str, int]:
        """Returns the number of an image's objects per class."""
        return dict(zip(self._classes, self.counts[image], strict=True))

    def totals(self, images: Iterable[str]) -> dict[str, Any]:
        """Returns the number of images, of objects per class, per camera."""
        images = list(images)
        rows = [(0,) * len(self._classes), *(self.counts[i] for i in images)]
        sums = [sum(column) for column in zip(*rows, strict=True)]
        cameras = collections.Counter(map(self.camera, images))
        return {
            "images": len(images),
            "objects": dict(zip(self._classes, sums, strict=True)),
            "cameras": dict(sorted(cameras.items())),
        }


def choose(
    table: Table,
    drives: Mapping[str, str],
    wanted: Selection,
    choice: split.Choice,
    given: Mapping[str, str] | None,
) -> Chosen:
    """Returns the images of each split.

    Images are filtered, then max_images of them are chosen, then whole groups
    are divided; where lists or the data set itself say which image is in which
    split, max_images are chosen from these.

    Args:
      table: what is known of the images.
      drives: the drive of each.
      wanted: filters and numbers.
      choice: the split's rule.
      given: the data set's own split of an image, or None.

    Raises:
      command.UserError: nothing is left, or the flags cannot be met.
    """
    left_out = _filtered(table, drives, wanted.filters)
    kept = [image for image in drives if image not in left_out]
    if drives and not kept:
        reasons = collections.Counter(left_out.values())
        shown = ", ".join(f"{r} {n}" for r, n in sorted(reasons.items()))
        raise command.UserError(
            command.ExitCode.DATA,
            f"--{selection.IMAGE_FLAG} leaves none of {len(drives)} images"
            f" ({shown}). Nothing was written.",
        )
    groups = grouping.keys(choice.group_regex, {i: drives[i] for i in kept})
    objects = {image: table.objects(image) for image in kept}
    assignment = None
    pool = set(kept)
    if not choice.is_by_group:
        assignment = split.assign(choice, groups, given=given)
        pool = assignment.images
        left_out |= dict.fromkeys(set(kept) - pool, "not_in_split")
    picked = _picked(table, pool, wanted, choice.seed)
    left_out |= dict.fromkeys(pool - picked, "max_images")
    if assignment is None:
        inside = {image: groups[image] for image in kept if image in picked}
        assignment = split.assign(choice, inside, objects)
    assignment = assignment.only(picked)
    split.check_filled(assignment, len(drives))
    return Chosen(
        assignment=assignment,
        groups=groups,
        left_out=left_out,
        report=_report(table, wanted, drives, kept, picked),
    )


def _filtered(
    table: Table, images: Iterable[str], filters: selection.Filters
) -> dict[str, str]:
    """Returns why each image that a filter leaves out is left out."""
    left_out: dict[str, str] = {}
    for image in images:
        for item in filters.images:
            reason = item.reason(table.value(image, item.field))
            if reason is not None:
                left_out[image] = reason
                break
    return left_out


def _picked(
    table: Table, pool: set[str], wanted: Selection, seed: int
) -> set[str]:
    if wanted.max_images is None:
        return pool
    cameras = {image: table.camera(image) for image in pool}
    candidates = {
        image: balancing.Candidate(
            camera=cameras[image], counts=table.counts[image]
        )
        for image in pool
    }
    return balancing.choose(
        candidates, wanted.max_images, wanted.camera_shares, seed
    )


def _report(
    table: Table,
    wanted: Selection,
    found: Iterable[str],
    kept: Iterable[str],
    picked: Iterable[str],
) -> dict[str, Any]:
    filters = wanted.filters
    if not (filters.images or filters.objects or wanted.max_images):
        return {}
    found = list(found)
    missing = {
        item.field: sum(table.value(i, item.field) is None for i in found)
        for item in filters.images
    }
    return {
        "images_without_field": {f: n for f, n in missing.items() if n},
        "objects_without_field": table.objects_without(filters),
        "found": table.totals(found),
        "filtered": table.totals(kept),
        "selected": table.totals(picked),
    }


def check_classes_left(table: Table, images: Iterable[str]) -> None:
    """Checks that the chosen images have objects of each class that is there.

    Raises:
      command.UserError: a class has none left.
    """
    found = table.totals(table.counts)["objects"]
    left = table.totals(images)["objects"]
    lost = [f"{n!r} ({found[n]})" for n in found if not left[n]]
    if lost:
        raise command.UserError(
            command.ExitCode.DATA,
            f"The chosen images show no object of class {', '.join(lost)}; in"
            " brackets, how many all usable images show. Filter less, list"
            " other images, or give --allow_empty_classes. Nothing was"
            " written.",
        )
